"""Figures as bars: emotion from -1 to 1, tension, the register mixture and resonance from 0 to 1.

A bar is as long as its figure; an unknown figure has no bar, its track is dashed and the word for unknown stands there.
"""

from __future__ import annotations

import math

from scenepipe.drawing.look import Look
from scenepipe.drawing.pen import BODY, HEAD, SMALL, Pen
from scenepipe.drawing.words import encounters, said, signed, visible
from scenepipe.scene import Reading, Scene

NAME, FIGURE = 156, 86
"""Pixels left of the track for the name and right of it for the figure."""
ROW, HIGH = 26, 10
MOST_CAUSES, MOST_REGISTERS = 6, 10
MINUS = "\u2212"


def emotion_panel(scene: Scene, look: Look, room: float) -> Pen:
    """Valence, arousal and dominance, each from the middle to its side."""
    pen = Pen("emotion", room, look.label["emotion"])
    spoken = []
    for row, name in enumerate(("valence", "arousal", "dominance")):
        reading: Reading[float] = getattr(scene.emotion, name) if scene.emotion is not None else Reading[float]()
        _signed_bar(pen, HEAD + ROW * row, look.label[name], reading, look)
        figure = look.label["unknown"] if reading.value is None else signed(reading.value)
        spoken.append(f"{look.label[name]} {figure}")
    if scene.emotion is not None:
        pen.text(room, 20, look.label["in_brackets"], "quiet", size=SMALL, anchor="end")
    for share, scale in ((0.0, f"{MINUS}1"), (0.5, "0"), (1.0, "+1")):
        at = NAME + share * (room - NAME - FIGURE)
        pen.text(at, HEAD + 3 * ROW, scale, "quiet", size=10, anchor="middle")
    pen.height = HEAD + 3 * ROW
    pen.say(f"{look.label['emotion']}: {', '.join(spoken)}")
    return pen


def _signed_bar(pen: Pen, y: float, name: str, reading: Reading[float], look: Look) -> None:
    left, long = _track(pen, y, name, reading.value, look)
    if reading.value is None:
        return
    middle = left + long / 2
    end = middle + long / 2 * min(max(reading.value, -1.0), 1.0)
    bar = pen.rect("figure bar", min(middle, end), y, abs(end - middle), HIGH)
    bar.set("data-value", f"{reading.value:g}")
    pen.line("axis", (middle, y - 3), (middle, y + HIGH + 3))
    pen.text(pen.room, y + HIGH, f"{signed(reading.value)} ({reading.confidence:.2f})", anchor="end", size=SMALL)


def _track(pen: Pen, y: float, name: str, value: float | None, look: Look, kind: str = "") -> tuple[float, float]:
    """Name and empty track of one row, the figure's word where it is unknown; left edge and length of the track."""
    left, long = NAME, pen.room - NAME - FIGURE
    pen.text(0, y + HIGH, name, kind, room=NAME - 10)
    if value is None:
        pen.line("nothing", (left, y + HIGH / 2), (left + long, y + HIGH / 2))
        pen.text(pen.room, y + HIGH, look.label["unknown"], "quiet", size=SMALL, anchor="end")
    else:
        pen.rect("track", left, y, long, HIGH, radius=2)
    return left, long


def _bar(pen: Pen, y: float, name: str, value: float, look: Look, kind: str = "figure", figure: str = "") -> None:
    left, long = _track(pen, y, name, value, look)
    bar = pen.rect(f"{kind} bar", left, y, long * min(max(value, 0.0), 1.0), HIGH, radius=2)
    bar.set("data-value", f"{value:g}")
    pen.text(pen.room, y + HIGH, figure or f"{value:.2f}", size=SMALL, anchor="end", room=FIGURE)


def tension_panel(scene: Scene, look: Look, room: float) -> Pen:
    """The level, and below it each cause with what it gave."""
    pen = Pen("tension", room, look.label["tension"])
    level: Reading[float] = scene.tension.level if scene.tension is not None else Reading[float]()
    causes = [cause for cause in scene.tension.causes if math.isfinite(cause.amount)] if scene.tension else []
    if level.value is None:
        _track(pen, HEAD, look.label["level"], None, look)
    else:
        figure = f"{level.value:.2f} ({level.confidence:.2f})"
        _bar(pen, HEAD, look.label["level"], level.value, look, "accent", figure)
    y = HEAD + ROW
    strongest = sorted(causes, key=lambda cause: -cause.amount)[:MOST_CAUSES]
    for cause in strongest:
        _cause(pen, y, said(cause.name, look.language), cause.amount)
        y += 20
    if len(causes) > MOST_CAUSES:
        pen.text(NAME, y + 9, look.label["more"].format(len(causes) - MOST_CAUSES), "quiet", size=SMALL)
        y += 20
    pen.height = y - 6
    known = look.label["unknown"] if level.value is None else f"{level.value:.2f}"
    why = ", ".join(f"{said(cause.name, look.language)} {cause.amount:.2f}" for cause in strongest)
    pen.say(f"{look.label['tension']}: {known}{f' ({why})' if why else ''}")
    return pen


def _cause(pen: Pen, y: float, name: str, amount: float) -> None:
    long = pen.room - NAME - FIGURE
    pen.text(0, y + 9, name, "quiet", size=SMALL, room=NAME - 10)
    bar = pen.rect("accent cause", NAME, y + 3, long * min(max(amount, 0.0), 1.0), 4, radius=2)
    bar.set("data-value", f"{amount:g}")
    pen.text(pen.room, y + 9, f"{amount:.2f}", "quiet", size=SMALL, anchor="end", room=FIGURE)


def registers_panel(scene: Scene, look: Look, room: float) -> Pen | None:
    """The mixture, heaviest first, and what is left to the base; None where nothing was routed."""
    if scene.registers is None:
        return None
    pen = Pen("registers", room, look.label["registers"])
    ordered = sorted(scene.registers.weights.items(), key=lambda pair: (-pair[1], pair[0]))
    shares = [(visible(look.titles.get(name, name)), weight, "figure") for name, weight in ordered[:MOST_REGISTERS]]
    if len(ordered) > MOST_REGISTERS:
        rest = ordered[MOST_REGISTERS:]
        shares.append((look.label["more"].format(len(rest)), math.fsum(weight for _, weight in rest), "figure"))
    shares.append((look.label["base"], scene.registers.base, "base"))
    for row, (name, weight, kind) in enumerate(shares):
        _bar(pen, HEAD + ROW * row, name, weight, look, kind)
    pen.height = HEAD + ROW * len(shares) - 12
    pen.say(f"{look.label['registers']}: " + ", ".join(f"{name} {weight:.2f}" for name, weight, _ in shares))
    return pen


def resonance_panel(scene: Scene, look: Look, room: float) -> Pen | None:
    """How strongly the scene has been met before; None where nothing was recalled."""
    met = scene.resonance
    if met is None:
        return None
    pen = Pen("resonance", room, look.label["resonance"])
    if not met.encounters or met.strength is None:
        pen.text(0, HEAD + HIGH, look.label["never_met"], "quiet", size=BODY)
        pen.say(f"{look.label['resonance']}: {look.label['never_met']}")
    else:
        count = encounters(met.encounters, look.language)
        _bar(pen, HEAD, count, met.strength, look)
        pen.say(f"{look.label['resonance']}: {met.strength:.2f}, {count}")
    pen.height = HEAD + ROW - 12
    return pen
