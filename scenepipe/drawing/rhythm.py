"""Rhythm as beats: a row per line of the text, a beat per syllable, pauses between them, the rhyme at the end.

A stressed syllable is a large dot, an unstressed one a small dot, one of which nothing is known a ring, one that may be
either a ring with a dot: no unknown stress looks like a weak one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scenepipe.drawing.beats import EITHER, STRESSED, UNKNOWN, UNSTRESSED, Beats, beats_of
from scenepipe.drawing.look import Look
from scenepipe.drawing.measure import wrap
from scenepipe.drawing.pen import HEAD, SMALL, Pen
from scenepipe.drawing.words import count_of, grouped, metre_name, visible
from scenepipe.scene import Rhythm, Scene

PITCH, ROW, MOST_ROWS = 13, 21, 16
_LEFT, _RIGHT = 26, 50
_NAMES = {STRESSED: "stressed", UNSTRESSED: "unstressed", EITHER: "either", UNKNOWN: "stress_unknown"}


def rhythm_panel(scene: Scene, look: Look, room: float) -> Pen:
    """Beats of the first lines, what the beats mean, and the counts in words."""
    pen = Pen("rhythm", room, look.label["rhythm"])
    rhythm = scene.rhythm or Rhythm()
    lines = beats_of(scene.text, rhythm, most=MOST_ROWS)
    if lines:
        y = _rows(pen, lines, len(rhythm.syllables_per_line), look)
        y = _legend(pen, lines, look, y + 10) + 24
    else:
        pen.text(0, HEAD + 12, look.label["unknown"], "quiet")
        y = HEAD + 36.0
    facts = [*_counts(rhythm, look), *_readings(rhythm, look)] if scene.rhythm is not None else []
    for line in wrap(" · ".join(facts), room, SMALL, most=4):
        pen.text(0, y, line, "quiet", size=SMALL)
        y += 18
    pen.height = y - 8
    pen.say(f"{look.label['rhythm']}: {', '.join(facts) or look.label['unknown']}")
    return pen


def _rows(pen: Pen, lines: Sequence[Beats], total: int, look: Look) -> float:
    """Draw at most `MOST_ROWS` rows; returns the middle of the row after the last. A long line goes on in the next row."""
    most = int((pen.room - _LEFT - _RIGHT) / PITCH)
    y, left = HEAD + 8.0, MOST_ROWS
    for number, line in enumerate(lines, 1):
        rows = max(1, -(-len(line.marks) // most))
        if rows > left and number > 1:
            return _more(pen, y, total - number + 1, look)
        _ends(pen, number, line, y, look)
        for row in range(min(rows, left)):
            _row(pen, line, row * most, most, y + ROW * row)
        y += ROW * min(rows, left)
        left -= min(rows, left)
    return _more(pen, y, total - len(lines), look) if total > len(lines) else y


def _more(pen: Pen, y: float, lines: int, look: Look) -> float:
    pen.text(_LEFT, y + 4, look.label["more"].format(count_of("line", lines, look.language)), "quiet", size=SMALL)
    return y + ROW


def _ends(pen: Pen, number: int, line: Beats, y: float, look: Look) -> None:
    """The line's number before its beats; its syllables and its rhyme after them."""
    pen.text(_LEFT - 9, y + 4, str(number), "quiet", size=10, anchor="end")
    count = grouped(line.syllables, look.language)
    pen.text(pen.room - 18, y + 4, count, size=SMALL, anchor="end", room=_RIGHT - 18)
    if line.rhyme == UNSTRESSED:
        pen.text(pen.room, y + 4, "–", "quiet", anchor="end")
    elif line.rhyme:
        pen.text(pen.room, y + 4, line.rhyme, "accent", bold=True, anchor="end", room=18)


def _row(pen: Pen, line: Beats, first: int, most: int, y: float) -> None:
    for place, mark in enumerate(line.marks[first : first + most]):
        _beat(pen, mark, _LEFT + PITCH * (place + 0.5), y)
        if first + place + 1 in line.pauses:
            x = _LEFT + PITCH * (place + 1)
            pen.line("pause", (x, y - 6), (x, y + 6))


def _beat(pen: Pen, mark: str, x: float, y: float) -> None:
    if mark == STRESSED:
        pen.dot("strong", x, y, 5)
    elif mark == UNSTRESSED:
        pen.dot("weak", x, y, 2.2)
    else:
        pen.ring("open", x, y, 3.5)
        if mark == EITHER:
            pen.dot("weak", x, y, 1.5)


def _legend(pen: Pen, lines: Sequence[Beats], look: Look, y: float) -> float:
    """One line at ``y``, its baseline, which is returned."""
    used = {mark if mark in _NAMES else UNKNOWN for line in lines for mark in line.marks}
    x = 6.0
    for mark, name in _NAMES.items():
        if mark in used:
            _beat(pen, mark, x, y - 4)
            x += 10 + pen.text(x + 10, y, look.label[name], "quiet", size=SMALL) + 14
    if any(line.pauses for line in lines):
        pen.line("pause", (x, y - 9), (x, y + 1))
        pen.text(x + 8, y, look.label["pause"], "quiet", size=SMALL)
    return y


def _counts(rhythm: Rhythm, look: Look) -> Iterator[str]:
    if rhythm.syllables.value is None:
        yield f"{look.label['syllables']}: {look.label['unknown']}"
    else:
        yield count_of("syllable", rhythm.syllables.value, look.language)
    yield count_of("word", rhythm.words, look.language)
    yield count_of("line", rhythm.lines, look.language)
    yield count_of("pause", len(rhythm.pauses), look.language)


def _readings(rhythm: Rhythm, look: Look) -> Iterator[str]:
    for name, reading in (("metre", rhythm.metre), ("rhyme", rhythm.rhyme)):
        value = look.label["unknown"]
        if reading.value is not None:
            words = metre_name(reading.value, look.language) if name == "metre" else visible(reading.value)
            value = f"{words[:60]} ({reading.confidence:.2f})"
        yield f"{look.label[name]}: {value}"
