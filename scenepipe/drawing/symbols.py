"""The hyperscene: symbols that are not in the text, as chips, and what each colour says about where a symbol came from."""

from __future__ import annotations

from collections.abc import Iterator

from scenepipe.drawing.look import Look
from scenepipe.drawing.measure import shorten, width
from scenepipe.drawing.palette import ORIGINS
from scenepipe.drawing.pen import BODY, HEAD, SMALL, Pen
from scenepipe.drawing.words import visible
from scenepipe.scene import Scene, Symbol

MOST_CHIPS = 24
_HIGH, _GAP, _LONGEST = 26, 8, 260


def symbols_panel(scene: Scene, look: Look, room: float) -> Pen:
    """Chips of the associated symbols with their scores, strongest first within the hyperscene's order; then the legend."""
    pen = Pen("symbols", room, look.label["associated"])
    far = associated(scene)
    if scene.hyperscene is None or not far:
        pen.text(0, HEAD + 12, look.label["unknown" if scene.hyperscene is None else "none"], "quiet")
        pen.height = HEAD + 20
    else:
        pen.height = _chips(pen, far, look)
    if any(True for _ in _origins(scene)):
        pen.height = _legend(pen, scene, look, pen.height + 22)
    said = ", ".join(f"{symbol.key} {symbol.score:.2f}" for symbol in far[:MOST_CHIPS])
    pen.say(f"{look.label['associated']}: {said or look.label['none']}")
    return pen


def associated(scene: Scene) -> list[Symbol]:
    """Symbols of the hyperscene that the text does not contain."""
    return [symbol for symbol in scene.hyperscene or () if symbol.origin != "text"]


def _chips(pen: Pen, far: list[Symbol], look: Look) -> float:
    x, y = 0.0, float(HEAD)
    for symbol in far[:MOST_CHIPS]:
        name, score = shorten(visible(symbol.key), _LONGEST, BODY), f"{symbol.score:.2f}"
        wide = 40 + width(name, BODY) + width(score, SMALL)
        if x and x + wide > pen.room:
            x, y = 0.0, y + _HIGH + _GAP
        frame = pen.frame(f"from-{symbol.origin}", x, y, wide, _HIGH, radius=_HIGH / 2)
        if symbol.polarity < 0:
            frame.set("class", f"{frame.get('class')} dashed")
        pen.dot(f"dot-{symbol.origin}", x + 13, y + _HIGH / 2, 4)
        pen.text(x + 23, y + 17.5, name)
        pen.text(x + wide - 11, y + 17.5, score, "quiet", size=SMALL, anchor="end")
        x += wide + _GAP
    if len(far) > MOST_CHIPS:
        pen.text(0, y + _HIGH + 20, look.label["more"].format(len(far) - MOST_CHIPS), "quiet", size=SMALL)
        y += 24
    return y + _HIGH


def _legend(pen: Pen, scene: Scene, look: Look, y: float) -> float:
    """One line; returns its lower edge."""
    x = 0.0
    for origin in _origins(scene):
        pen.dot(f"dot-{origin}", x + 4, y - 4, 4)
        x += 14 + pen.text(x + 14, y, look.label[f"origin_{origin}"], "quiet", size=SMALL) + 16
    if any(symbol.polarity < 0 for symbol in (*(scene.symbols or ()), *(scene.hyperscene or ()))):
        pen.rect("mark-negated", x, y - 11, 20, 14, radius=2)
        pen.line("axis dashed", (x, y + 3), (x + 20, y + 3))
        pen.text(x + 27, y, look.label["negated"], "quiet", size=SMALL)
    return y + 6


def _origins(scene: Scene) -> Iterator[str]:
    there = {symbol.origin for symbol in (*(scene.symbols or ()), *(scene.hyperscene or ()))}
    return (origin for origin in ORIGINS if origin in there)
