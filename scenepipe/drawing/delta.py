"""The Δ-code as a cell of its codebook: 64 cells in rows of eight, so that near numbers stand near."""

from __future__ import annotations

from scenepipe.drawing.look import Look
from scenepipe.drawing.measure import wrap
from scenepipe.drawing.pen import BODY, HEAD, SMALL, Pen
from scenepipe.drawing.words import visible
from scenepipe.scene import Delta, Scene

SIDE, CELL, GAP = 8, 13, 3
_LEFT = 24
_WIDE = _LEFT + SIDE * (CELL + GAP) + 22


def delta_panel(scene: Scene, look: Look, room: float) -> Pen:
    """The grid with this scene's cell filled and the next best one framed; code, gloss and margin in words beside it."""
    pen = Pen("delta", room, look.label["delta"])
    delta = scene.delta
    if delta is None:
        pen.text(0, HEAD + 12, look.label["unknown"], "quiet")
        pen.height = HEAD + 20
        pen.say(f"{look.label['delta']}: {look.label['unknown']}")
        return pen
    gloss = visible(delta.gloss.get(look.language) or next(iter(delta.gloss.values()), ""))
    if on_grid := max(delta.code, delta.alternative) < SIDE * SIDE and min(delta.code, delta.alternative) >= 0:
        _grid(pen, delta)
    x = _WIDE if on_grid else 0
    pen.text(x, HEAD + 18, visible(str(delta)), size=20, bold=True, room=room - x)
    lines = wrap(gloss, room - x, BODY, most=3)
    for row, line in enumerate(lines):
        pen.text(x, HEAD + 42 + 18 * row, line)
    y = HEAD + 48 + 18 * len(lines)
    pen.text(x, y, f"{look.label['margin']} {delta.margin:.3f}", "quiet", size=SMALL, room=room - x)
    if on_grid:
        pen.frame("other", x + 1, y + 11, 9, 9)
    beside = f"{look.label['alternative']} Δ{delta.alternative}"
    pen.text(x + (18 if on_grid else 0), y + 20, beside, "quiet", size=SMALL, room=room - x - 18)
    pen.height = max(y + 26, HEAD + SIDE * (CELL + GAP) + 4) if on_grid else y + 26
    pen.say(
        f"{look.label['delta']}: {visible(str(delta))}, {gloss}, {look.label['margin']} {delta.margin:.3f}, {beside}"
    )
    return pen


def _grid(pen: Pen, delta: Delta) -> None:
    for code in range(SIDE * SIDE):
        row, column = divmod(code, SIDE)
        x, y = _LEFT + column * (CELL + GAP), HEAD + row * (CELL + GAP)
        if not column:
            pen.text(_LEFT - 7, y + CELL - 3, str(code), "quiet", size=10, anchor="end")
        cell = pen.rect("accent cell" if code == delta.code else "track cell", x, y, CELL, CELL, radius=2)
        cell.set("data-code", str(code))
        if code == delta.alternative and code != delta.code:
            pen.frame("other", x + 0.75, y + 0.75, CELL - 1.5, CELL - 1.5, radius=2)
