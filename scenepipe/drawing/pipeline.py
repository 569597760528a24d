"""Draws a pipeline on this machine: Mermaid text, or an SVG that is readable on light and dark ground.

Stages are boxes from top to bottom; along each arrow stand the fields that the stage above has filled; beside a stage
stand the resources it uses. A nested pipeline is a dashed frame around its stages.
"""

from __future__ import annotations

import re
import textwrap
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scenepipe.scene import STAGE_FIELDS

if TYPE_CHECKING:
    from scenepipe.pipeline import Pipeline

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Box:
    """One stage: name, fields read and written (in Scene order), resources used, the nested pipeline it is in."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    uses: tuple[str, ...] = ()
    group: str | None = None


@dataclass(frozen=True)
class Drawing:
    """A pipeline as it is drawn. ``resources`` holds a label by kind: ``backend``, ``archive``, ``encoder``, ``model``."""

    name: str
    boxes: tuple[Box, ...]
    resources: dict[str, str]


def describe(pipeline: Pipeline, *, labels: Mapping[str, str] | None = None, model: str | None = None) -> Drawing:
    """What there is to draw of a pipeline; nothing is opened.

    Args:
        labels: by kind, what to call a resource; the name or class of the object otherwise.
        model: id of the base model.
    """
    kept = pipeline.resources
    there = {kind: getattr(kept, kind) for kind in ("backend", "archive", "encoder")}
    resources = {k: (labels or {}).get(k) or _label(found) for k, found in there.items() if found is not None}
    if kept.registers and "backend" in resources:
        resources["backend"] += f" ({', '.join(kept.registers)})"
    if model is not None:
        resources["model"] = model
    return Drawing(pipeline.name, tuple(_boxes(pipeline, frozenset(resources))), resources)


def _label(resource: Any) -> str:
    return str(getattr(resource, "name", None) or type(resource).__name__)


def _boxes(pipeline: Pipeline, has: frozenset[str], group: str | None = None) -> Iterator[Box]:
    for step in pipeline.steps:
        if hasattr(step.stage, "steps"):
            yield from _boxes(step.stage, has, f"{group}/{step.name}" if group else step.name)
        else:
            uses = tuple(
                kind for kind in ("backend", "archive", "encoder", "model") if kind in (step.needs | step.uses) & has
            )
            yield Box(step.name, _ordered(step.reads), _ordered(step.writes), uses, group)


def _wrapped(fields: Sequence[str]) -> tuple[str, ...]:
    return tuple(textwrap.wrap(", ".join(fields), 50, break_long_words=False))


def _ordered(fields: frozenset[str]) -> tuple[str, ...]:
    return tuple(name for name in STAGE_FIELDS if name in fields)


# --- Mermaid ---------------------------------------------------------------------------------------------------------


def mermaid(drawing: Drawing) -> str:
    """Mermaid ``flowchart`` text. Ids are numbers, so no name can be mistaken for syntax."""
    lines = ["---", f"title: {_yaml(drawing.name)}", "---", "flowchart TD", '    text(["text"])']
    group: str | None = None
    for index, box in enumerate(drawing.boxes):
        if box.group != group:
            lines += ["    end"] if group is not None else []
            lines += [f'    subgraph g{index}["{_entities(box.group)}"]'] if box.group is not None else []
            group = box.group
        lines.append(f'    s{index}["{_box_label(box)}"]')
    lines += ["    end"] if group is not None else []
    lines.append('    reply(["scene"])')
    lines += [f'    r_{kind}[("{kind}<br/>{_entities(label)}")]' for kind, label in drawing.resources.items()]
    lines += _arrows(drawing)
    return "\n".join(lines) + "\n"


def _arrows(drawing: Drawing) -> Iterator[str]:
    nodes = ["text", *(f"s{i}" for i in range(len(drawing.boxes))), "reply"]
    labels = ["text", *("<br/>".join(map(_entities, _wrapped(box.writes))) for box in drawing.boxes)]
    for above, below, label in zip(nodes, nodes[1:], labels, strict=False):
        yield f'    {above} -->|"{label}"| {below}' if label else f"    {above} --> {below}"
    for index, box in enumerate(drawing.boxes):
        yield from (f"    s{index} -.- r_{kind}" for kind in box.uses)


def _box_label(box: Box) -> str:
    reads = f"<br/>reads {'<br/>'.join(map(_entities, _wrapped(box.reads)))}" if box.reads else ""
    return f"<b>{_entities(box.name)}</b>{reads}"


def _entities(text: str) -> str:
    """Mermaid's own escapes for everything that could end a label or be markup; one line."""
    folded = " ".join(_NOT_XML.sub(" ", text).split())
    return re.sub(r"[\"#<>&`\\;|{}\[\]]", lambda found: f"#{ord(found[0])};", folded)


def _yaml(text: str) -> str:
    return "'" + " ".join(_NOT_XML.sub(" ", text).split()).replace("'", "''") + "'"


# --- SVG -------------------------------------------------------------------------------------------------------------

_WIDTH, _BOX_X, _BOX_W, _CHIP_W, _GAP, _LINE = 760, 40, 400, 220, 26, 17
_STYLE = """
svg { color: #1f2328; }
text { fill: currentColor; font-family: system-ui, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif; font-size: 13px; }
.name { font-weight: 600; font-size: 15px; }
.title { font-weight: 600; font-size: 17px; }
.quiet { fill: #57606a; font-size: 12px; }
.box { fill: #f6f8fa; stroke: #8c959f; }
.chip { fill: #ddf4ff; stroke: #0969da; }
.frame { fill: none; stroke: #8c959f; stroke-dasharray: 5 4; }
.arrow { fill: none; stroke: #8c959f; stroke-width: 1.5; }
.head { fill: #8c959f; }
.tie { stroke: #0969da; stroke-dasharray: 3 3; }
@media (prefers-color-scheme: dark) {
  svg { color: #e6edf3; }
  .quiet { fill: #9198a1; }
  .box { fill: #161b22; stroke: #6e7681; }
  .chip { fill: #10233d; stroke: #4493f8; }
  .frame, .arrow { stroke: #6e7681; }
  .head { fill: #6e7681; }
  .tie { stroke: #4493f8; }
}
"""
# Colours stand twice instead of in variables: Inkscape, librsvg and resvg read no var().


@dataclass(frozen=True)
class _Placed:
    """A box with its lines and its place; pixels."""

    box: Box
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    y: int

    @property
    def height(self) -> int:
        return max(34 + _LINE * len(self.reads), 8 + 30 * len(self.box.uses))

    @property
    def bottom(self) -> int:
        return self.y + self.height

    @property
    def next_y(self) -> int:
        return self.bottom + _GAP + _LINE * max(1, len(self.writes))


def svg(drawing: Drawing) -> str:
    """A standalone SVG: transparent ground, colours follow the reader's light or dark scheme."""
    placed = _place(drawing.boxes)
    height = placed[-1].next_y + 48 if placed else 160
    root = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {_WIDTH} {height}",
            "role": "img",
            "width": str(_WIDTH),
            "height": str(height),
            "aria-labelledby": "title",
        },
    )
    ET.SubElement(root, "title", {"id": "title"}).text = f"pipeline {_clean(drawing.name)}"
    ET.SubElement(root, "style").text = _STYLE
    _text(root, _BOX_X, 34, drawing.name, "title")
    centre = _BOX_X + _BOX_W // 2
    _pill(root, centre, 52, "text")
    _arrow(root, centre, 82, 112, ())
    _frames(root, placed)
    ends = [*(item.y for item in placed[1:]), height - 48]
    for item, end in zip(placed, ends, strict=False):
        _stage(root, item, end, drawing.resources)
    _pill(root, centre, height - 48, "scene")
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _place(boxes: Sequence[Box]) -> list[_Placed]:
    placed: list[_Placed] = []
    for box in boxes:
        reads, writes = _wrapped(box.reads), _wrapped(box.writes)
        y = placed[-1].next_y if placed else 112
        starts_frame = box.group is not None and (not placed or placed[-1].box.group != box.group)
        placed.append(_Placed(box, reads, writes, y + (22 if starts_frame else 0)))
    return placed


def _stage(root: ET.Element, item: _Placed, end: int, resources: dict[str, str]) -> None:
    group = ET.SubElement(root, "g", {"class": "stage"})
    ET.SubElement(
        group,
        "rect",
        {
            "class": "box",
            "x": str(_BOX_X),
            "y": str(item.y),
            "rx": "8",
            "width": str(_BOX_W),
            "height": str(item.height),
        },
    )
    _text(group, _BOX_X + 14, item.y + 22, _short(item.box.name, 44), "name")
    for line, words in enumerate(item.reads):
        _text(group, _BOX_X + 14, item.y + 40 + _LINE * line, ("reads " if line == 0 else "") + words, "quiet")
    for line, kind in enumerate(item.box.uses):
        _chip(group, item.y + 6 + 30 * line, kind, resources[kind])
    _arrow(group, _BOX_X + _BOX_W // 2, item.bottom, end, item.writes)


def _chip(root: ET.Element, y: int, kind: str, label: str) -> None:
    x = _BOX_X + _BOX_W + 40
    tie = {"class": "tie", "x1": str(_BOX_X + _BOX_W), "x2": str(x), "y1": str(y + 12), "y2": str(y + 12)}
    ET.SubElement(root, "line", tie)
    shape = {"class": "chip", "x": str(x), "y": str(y), "rx": "12", "width": str(_CHIP_W + 40), "height": "24"}
    ET.SubElement(root, "rect", shape)
    text = _text(root, x + 12, y + 16, _short(f"{kind}: {label}", 38), "quiet")
    ET.SubElement(text, "title").text = _clean(label)


def _frames(root: ET.Element, placed: Sequence[_Placed]) -> None:
    start = 0
    for index, item in enumerate(placed):
        last = index + 1 == len(placed) or placed[index + 1].box.group != item.box.group
        if last and item.box.group is not None:
            top = placed[start].y - 24
            ET.SubElement(
                root,
                "rect",
                {
                    "class": "frame",
                    "x": str(_BOX_X - 14),
                    "y": str(top),
                    "rx": "10",
                    "width": str(_BOX_W + 28),
                    "height": str(item.bottom + 5 - top),
                },
            )
            _text(root, _BOX_X, top + 15, _short(item.box.group, 50), "quiet")
        if last:
            start = index + 1


def _arrow(root: ET.Element, x: int, top: int, bottom: int, labels: Sequence[str]) -> None:
    ET.SubElement(root, "line", {"class": "arrow", "x1": str(x), "x2": str(x), "y1": str(top), "y2": str(bottom - 6)})
    ET.SubElement(
        root, "polygon", {"class": "head", "points": f"{x - 5},{bottom - 8} {x + 5},{bottom - 8} {x},{bottom}"}
    )
    for line, words in enumerate(labels):
        _text(root, x + 14, top + 18 + _LINE * line, words, "quiet")


def _pill(root: ET.Element, centre: int, y: int, label: str) -> None:
    shape = {"class": "box", "x": str(centre - 45), "y": str(y), "rx": "15", "width": "90", "height": "30"}
    ET.SubElement(root, "rect", shape)
    _text(root, centre, y + 20, label).set("text-anchor", "middle")


def _text(root: ET.Element, x: int, y: int, words: str, kind: str = "") -> ET.Element:
    element = ET.SubElement(root, "text", {"x": str(x), "y": str(y)} | ({"class": kind} if kind else {}))
    element.text = _clean(words)
    return element


def _clean(text: str) -> str:
    """Without the characters that XML 1.0 has no way to write."""
    return _NOT_XML.sub("\ufffd", text)


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
