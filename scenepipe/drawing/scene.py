"""A scene as one SVG: self-contained (no script, no font, no reference), readable on light and dark ground.

From top to bottom: the text with its symbols marked, the symbols it called, the linkage; then two columns, field and rhythm
in the left one, emotion, tension and registers in the right one, Δ-code and resonance where there is room; the echoes last.
What no stage has read is drawn as unknown; registers, resonance and echoes are left out where there are none.
"""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from scenepipe.drawing.bars import emotion_panel, registers_panel, resonance_panel, tension_panel
from scenepipe.drawing.delta import delta_panel
from scenepipe.drawing.echoes import echoes_panel
from scenepipe.drawing.linkage import linkage_panel
from scenepipe.drawing.look import Look
from scenepipe.drawing.marked import text_panel
from scenepipe.drawing.measure import shorten
from scenepipe.drawing.palette import Scheme, style_sheet
from scenepipe.drawing.pen import BODY, SMALL, Pen, clean, number
from scenepipe.drawing.radar import field_panel
from scenepipe.drawing.rhythm import rhythm_panel
from scenepipe.drawing.symbols import symbols_panel
from scenepipe.drawing.words import language_of, visible
from scenepipe.scene import Scene

WIDTH, MARGIN, GUTTER, GAP = 920, 40, 48, 30
COLUMN = (WIDTH - 2 * MARGIN - GUTTER) / 2
_SPOKEN_TEXT = 600

Panel = Callable[[Scene, Look, float], Pen | None]
_HEAD: tuple[Panel, ...] = (text_panel, symbols_panel, linkage_panel)
_LEFT: tuple[Panel, ...] = (field_panel, rhythm_panel)
_RIGHT: tuple[Panel, ...] = (emotion_panel, tension_panel, registers_panel)
_EITHER: tuple[Panel, ...] = (delta_panel, resonance_panel)
_FOOT: tuple[Panel, ...] = (echoes_panel,)


def draw_scene(
    scene: Scene,
    *,
    language: Literal["ru", "en"] | None = None,
    scheme: Scheme = "auto",
    titles: Mapping[str, str] | None = None,
) -> str:
    """The scene as an SVG document, `WIDTH` pixels wide; the same scene gives the same bytes.

    Args:
        language: of the labels; the scene's own where it is not given.
        scheme: ``auto`` follows the reader's light or dark scheme; the other two stay as they are, for print and for
            programs that read no media queries.
        titles: of registers, by name.
    """
    look = Look(language or language_of(scene), titles or {})
    page = Pen("page", WIDTH)
    y = _header(page, scene, look)
    y = _column(page, _drawn(_HEAD, scene, look, WIDTH - 2 * MARGIN), MARGIN, y)
    y = _two_columns(page, scene, look, y)
    y = _column(page, _drawn(_FOOT, scene, look, WIDTH - 2 * MARGIN), MARGIN, y)
    height = _footer(page, scene, y)
    return _document(page, scene, look, scheme, height)


def _drawn(panels: Sequence[Panel], scene: Scene, look: Look, room: float) -> list[Pen]:
    return [pen for panel in panels if (pen := panel(scene, look, room)) is not None]


def _two_columns(page: Pen, scene: Scene, look: Look, y: float) -> float:
    """What may stand on either side goes where there is more room."""
    places = (MARGIN, MARGIN + COLUMN + GUTTER)
    ends = [
        _column(page, _drawn(side, scene, look, COLUMN), x, y) for side, x in zip((_LEFT, _RIGHT), places, strict=True)
    ]
    for panel in _drawn(_EITHER, scene, look, COLUMN):
        side = ends.index(min(ends))
        ends[side] = _column(page, [panel], places[side], ends[side])
    return max(ends)


def _column(page: Pen, panels: Sequence[Pen], x: float, y: float) -> float:
    """Panels one under the other; where the next may begin."""
    for panel in panels:
        page.place(panel, x, y)
        y += panel.height + GAP
    return y


def _header(page: Pen, scene: Scene, look: Look) -> float:
    page.text(MARGIN, 44, look.label["scene"], "quiet", bold=True)
    if scene.language is not None:
        found = f"{scene.language.code} ({scene.language.confidence:.2f})"
        page.text(WIDTH - MARGIN, 44, found, "quiet", size=SMALL, anchor="end")
    return 72


def _footer(page: Pen, scene: Scene, y: float) -> float:
    """What analysed the scene, small; returns the page's height."""
    if scene.analysis is None:
        return y
    parts = [visible(part) for part in (scene.analysis.encoder, scene.analysis.codebook) if part]
    page.text(MARGIN, y + 6, " · ".join([visible(scene.id), *parts]), "quiet", size=11, room=WIDTH - 2 * MARGIN)
    return y + 36


def _document(page: Pen, scene: Scene, look: Look, scheme: Scheme, height: float) -> str:
    root_class, unique = f"scene-{scheme}", hashlib.sha256(scene.id.encode("utf-8", "replace")).hexdigest()[:10]
    root = ET.Element("svg", {
        "xmlns": "http://www.w3.org/2000/svg", "class": root_class, "role": "graphics-document document",
        "width": str(WIDTH), "height": number(height), "viewBox": f"0 0 {WIDTH} {number(height)}",
        "lang": look.language, "aria-labelledby": f"title-{unique}", "aria-describedby": f"desc-{unique}",
    })  # fmt: skip
    title = ET.SubElement(root, "title", {"id": f"title-{unique}"})
    title.text = clean(f"{look.label['scene']}: {shorten(visible(scene.text[: _SPOKEN_TEXT * 4]), 560, BODY)}")
    ET.SubElement(root, "desc", {"id": f"desc-{unique}"}).text = _said(page)
    ET.SubElement(root, "style").text = style_sheet(root_class, scheme)
    root.append(Pen("ground", WIDTH).rect("ground", 0, 0, WIDTH, height, radius=10))
    root.append(page.element)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _said(page: Pen) -> str:
    """Every panel's label in one description."""
    labels = [group.get("aria-label", "") for group in page.element.iter("g")]
    return ". ".join(label if len(label) <= _SPOKEN_TEXT else label[:_SPOKEN_TEXT] + "…" for label in labels if label)
