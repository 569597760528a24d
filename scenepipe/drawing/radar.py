"""The semantic field as a radar: one spoke per axis, the weight along it."""

from __future__ import annotations

import math

from scenepipe.drawing.look import Look
from scenepipe.drawing.pen import HEAD, SMALL, Anchor, Pen
from scenepipe.drawing.words import axis_name, visible
from scenepipe.scene import Scene, SemanticField

RADIUS, MOST_AXES = 90, 12
"""Pixels; with more axes the names would touch."""
SCALES = (0.25, 0.5, 0.75, 1.0)
_TOP, _APART = 34, 12


def field_panel(scene: Scene, look: Look, room: float) -> Pen:
    """The axes in their declared order, clockwise from the top; the outer ring is the next of `SCALES`."""
    pen = Pen("field", room, look.label["field"])
    field = scene.field
    if field is None or not field.weights:
        pen.text(0, HEAD + 12, look.label["unknown"], "quiet")
        pen.height = HEAD + 20
        pen.say(f"{look.label['field']}: {look.label['unknown']}")
        return pen
    weights = shown_axes(field)
    scale = next(step for step in SCALES if step >= max(weights.values()))
    centre = (room / 2, HEAD + _TOP + RADIUS)
    _grid(pen, centre, len(weights), scale)
    points = [_at(centre, i, len(weights), weight / scale) for i, weight in enumerate(weights.values())]
    pen.polygon("fill area", points).set("fill-opacity", "0.75")
    pen.polygon("line outline radar", points)
    for index, (axis, weight) in enumerate(weights.items()):
        if weight:
            pen.dot("figure", *points[index], 3)
        _name(pen, centre, index, len(weights), axis_name(axis, look.language), weight)
    pen.height = HEAD + 2 * (_TOP + RADIUS) + 6
    pen.text(room, 20, visible(field.axes), "quiet", size=SMALL, anchor="end", room=120)
    if len(field.weights) > len(weights):
        pen.text(0, pen.height, look.label["more"].format(len(field.weights) - len(weights)), "quiet", size=SMALL)
    pen.say(_said(weights, look))
    return pen


def shown_axes(field: SemanticField) -> dict[str, float]:
    """All weights, or the `MOST_AXES` heaviest, in their declared order."""
    heaviest = sorted(field.weights, key=lambda axis: -field.weights[axis])[:MOST_AXES]
    return {axis: weight for axis, weight in field.weights.items() if axis in set(heaviest)}


def _said(weights: dict[str, float], look: Look) -> str:
    ordered = sorted(weights.items(), key=lambda pair: -pair[1])
    return f"{look.label['field']}: " + ", ".join(f"{axis_name(a, look.language)} {w:.2f}" for a, w in ordered)


def _at(centre: tuple[float, float], index: int, count: int, share: float) -> tuple[float, float]:
    angle = 2 * math.pi * index / count
    return centre[0] + RADIUS * share * math.sin(angle), centre[1] - RADIUS * share * math.cos(angle)


def _grid(pen: Pen, centre: tuple[float, float], count: int, scale: float) -> None:
    for share in (0.5, 1.0):
        pen.ring("grid", *centre, RADIUS * share)
    for index in range(count):
        pen.line("grid", centre, _at(centre, index, count, 1.0))
    angle = math.pi / count
    for share in (0.5, 1.0):
        x, y = centre[0] + RADIUS * share * math.sin(angle), centre[1] - RADIUS * share * math.cos(angle)
        pen.text(x + 2, y + 10, f"{scale * share:g}", "quiet", size=10)


def _name(pen: Pen, centre: tuple[float, float], index: int, count: int, name: str, weight: float) -> None:
    """The axis beside the end of its spoke, its weight below it."""
    x, y = _at(centre, index, count, 1 + 13 / RADIUS)
    aside = x - centre[0]
    figure = f"{weight:.2f}"
    if abs(aside) < RADIUS * 0.2:
        pen.text(
            x, y + (12 if y > centre[1] else -4), f"{name} {figure}", size=SMALL, anchor="middle", room=pen.room / 2
        )
        return
    room = pen.room - x if aside > 0 else x
    anchor: Anchor = "start" if aside > 0 else "end"
    pen.text(x, y, name, size=SMALL, anchor=anchor, room=room)
    pen.text(x, y + 14, figure, "quiet", size=SMALL, anchor=anchor)
