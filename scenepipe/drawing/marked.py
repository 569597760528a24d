"""The text with its symbols marked: a tint behind each span, under it a line in the colour of its
origin; a negated symbol has a tint of its own and a dashed line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from scenepipe.drawing.look import Look
from scenepipe.drawing.measure import Cluster, clusters, is_rtl
from scenepipe.drawing.pen import SMALL, Pen
from scenepipe.drawing.words import grouped, visible
from scenepipe.scene import Scene, Span, Symbol

SIZE, LEADING, STANZA = 20, 34, 16
"""Pixels: the text's em, from line to line, an empty line."""
MOST_CHARACTERS, MOST_LINES, MOST_SPANS = 1200, 24, 300
FITTED = 0.94
"""The text's fonts against DejaVu Sans; every run is drawn with its exact length, so this changes looks alone."""

_RTL, _END = "\u2067", "\u2069"
"""Right-to-left isolate and its end: the attribute ``direction`` moves the start of a text, and resvg does not read it."""


@dataclass(frozen=True)
class Mark:
    """One span of the text that is a symbol's."""

    span: Span
    negated: bool
    origin: str


@dataclass(frozen=True)
class Line:
    """Clusters with the pixel each begins at; ``y`` is the baseline."""

    places: tuple[tuple[Cluster, float], ...]
    y: float
    wide: float

    @property
    def is_rtl(self) -> bool:
        return is_rtl("".join(cluster.shown for cluster, _ in self.places))


def text_panel(scene: Scene, look: Look, room: float) -> Pen:
    """The text, wrapped; cut with a mark after `MOST_CHARACTERS` or `MOST_LINES`."""
    pen = Pen("text", room)
    shown = visible(scene.text[:MOST_CHARACTERS])
    lines = lay_out(shown, room)
    end = max((place.end for line in lines for place, _ in line.places), default=0)
    marks = marks_of(scene.symbols or (), end)
    for line in lines:
        _tints(pen, line, marks)
        _runs(pen, line, marks)
    pen.height = (lines[-1].y if lines else 0) + 14
    if shown[end:].strip() or len(scene.text) > MOST_CHARACTERS:
        note = look.label["shown_of"].format(grouped(end, look.language), grouped(len(scene.text), look.language))
        pen.text(0, pen.height + 12, f"… {note}", "quiet", size=SMALL)
        pen.height += 20
    pen.say(f"{look.label['text']}: {shown[:end]}")
    return pen


def marks_of(symbols: Iterable[Symbol], end: int) -> list[Mark]:
    """One mark per distinct span before ``end``, longest first, so that a span within another is drawn over it."""
    found: dict[Span, Mark] = {}
    for symbol, span in ((each, span) for each in symbols for span in each.evidence):
        if 0 <= span[0] < span[1] <= end and (span in found or len(found) < MOST_SPANS):
            before = found.get(span)
            negated = symbol.polarity < 0 or (before is not None and before.negated)
            found[span] = Mark(span, negated, before.origin if before else symbol.origin)
    return sorted(found.values(), key=lambda mark: (mark.span[0] - mark.span[1], mark.span))


def lay_out(text: str, room: float) -> list[Line]:
    """The text's lines, wrapped at white space to ``room`` pixels; a word longer than that is broken."""
    lines: list[Line] = []
    y = 10.0
    for source in _source_lines(text):
        wrapped = list(_wrapped(source, room))
        y += 0 if wrapped or not lines else STANZA
        for places in wrapped:
            if len(lines) == MOST_LINES:
                return lines
            y += LEADING if lines else 14
            last, x = places[-1]
            lines.append(Line(tuple(places), y, x + _wide(last)))
    return lines


def _source_lines(text: str) -> Iterator[list[Cluster]]:
    for is_end, group in groupby(clusters(text), key=lambda cluster: cluster.shown[0] == "\n"):
        found = list(group)
        if not is_end:
            yield found
        elif len(found) > 1:
            yield []


def _wide(cluster: Cluster) -> float:
    return cluster.ems * SIZE * FITTED


def _wrapped(source: Sequence[Cluster], room: float) -> Iterator[list[tuple[Cluster, float]]]:
    line: list[tuple[Cluster, float]] = []
    x = gap = 0.0
    for is_space, group in groupby(source, key=lambda cluster: cluster.is_space):
        word = list(group)
        if is_space:
            gap = _wide(Cluster(0, 1, " ", 0.35))
            continue
        if line and x + gap + sum(map(_wide, word)) > room:
            yield line
            line, x = [], 0.0
        x += gap if line else 0.0
        for cluster in word:
            if line and x + _wide(cluster) > room:
                yield line
                line, x = [], 0.0
            line.append((cluster, x))
            x += _wide(cluster)
        gap = 0.0
    if line:
        yield line


def _tints(pen: Pen, line: Line, marks: Sequence[Mark]) -> None:
    for mark in marks:
        start, stop = mark.span
        inside = [(cluster, x) for cluster, x in line.places if cluster.start < stop and cluster.end > start]
        if not inside:
            continue
        left, right = inside[0][1], inside[-1][1] + _wide(inside[-1][0])
        if line.is_rtl:
            left, right = pen.room - right, pen.room - left
        tint = pen.rect(
            "mark-negated" if mark.negated else "mark", left - 1.5, line.y - 19, right - left + 3, 26, radius=3
        )
        tint.set("data-span", f"{start}-{stop}")
        kind = f"from-{mark.origin}" + " dashed" * mark.negated
        pen.line(kind, (left, line.y + 6), (right, line.y + 6))


def _runs(pen: Pen, line: Line, marks: Sequence[Mark]) -> None:
    """Runs of words between the edges of marks, each drawn exactly as long as it was laid out."""
    edges = {edge for mark in marks for edge in mark.span}
    run: list[tuple[Cluster, float]] = []
    for cluster, x in line.places:
        if run and (cluster.start in edges or run[-1][0].end in edges):
            _run(pen, line, run)
            run = []
        run.append((cluster, x))
    if run:
        _run(pen, line, run)


def _run(pen: Pen, line: Line, run: Sequence[tuple[Cluster, float]]) -> None:
    words = []
    for index, (cluster, _) in enumerate(run):
        if index and run[index - 1][0].end < cluster.start:
            words.append(" ")
        words.append(cluster.shown)
    left, right = run[0][1], run[-1][1] + _wide(run[-1][0])
    shown = "".join(words)
    if line.is_rtl:
        pen.text(pen.room - right, line.y, f"{_RTL}{shown}{_END}", size=SIZE, length=right - left)
    else:
        pen.text(left, line.y, shown, size=SIZE, length=right - left)
