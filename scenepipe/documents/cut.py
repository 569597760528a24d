"""A text cut into parts of a bounded size: at paragraphs, else at sentences, lines, words, and characters at last.

Parts follow each other; between them stands white space alone, so parts and what stands between them give the text back.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from scenepipe.documents.markup import Block, blocks, stripped
from scenepipe.fitting import LONGEST_PIECE
from scenepipe.scene import Span

Measure = Callable[[str], int]

_ENDS = re.compile(r"(?<![.!?…])[.!?…]++[\"'»”“’)\]]*+(?=\s)")
_LINES = re.compile(r"\r\n|[\r\n\u2028\u2029]")
_SPACES = re.compile(r"\s+")
_LAST_WORD = re.compile(r"([^\W\d_]+)\.$")
_SHORT = frozenset(
    [
        *("гг", "вв", "им", "ул", "пл", "пр", "др", "см", "ср", "стр", "рис", "табл", "гл", "акад", "проф", "напр"),
        *("mr", "mrs", "ms", "dr", "st", "vs", "jr", "sr", "prof", "fig", "vol", "pp", "ed", "eds", "cf", "al"),
    ]
)
_JOINERS = "\u200d\ufe0e\ufe0f"


@dataclass(frozen=True)
class Part:
    """A stretch of the text without white space around it, and the nearest heading above it."""

    span: Span
    heading: str | None = None


def cut(text: str, *, most: int, measure: Measure = len, markdown: bool = False) -> list[Part]:
    """The parts of a text, in order.

    Paragraphs that fit together stay together; a heading begins a part, which what follows it belongs to.

    Args:
        most: size of a part. A single character is never cut, even where it alone measures more.
        measure: characters, or tokens.
        markdown: headings, code and front matter are told apart.
    """
    parts: list[Part] = []
    heads = False
    for block in blocks(text, markdown=markdown):
        for span in _pieces(text, block, most, measure):
            last = parts[-1] if parts and (heads or not block.level) else None
            heads = block.level > 0
            if last and measure(text[last.span[0] : span[1]]) <= most:
                parts[-1] = Part((last.span[0], span[1]), block.heading)
            else:
                parts.append(Part(span, block.heading))
    return parts


def _pieces(text: str, block: Block, most: int, measure: Measure) -> Iterable[Span]:
    """A block whole, or in pieces that fit."""
    levels = (_lines, _words) if block.code else (_sentences, _lines, _words)
    return _divided(text, block.span, levels, most, measure)


_Level = Callable[[str, Span], Iterator[Span]]


def _divided(text: str, span: Span, levels: Sequence[_Level], most: int, measure: Measure) -> Iterator[Span]:
    """The span whole, or divided at the first level, joined as far as pieces fit, and what does not fit divided further."""
    if measure(text[span[0] : span[1]]) <= most:
        yield span
        return
    if not levels:
        yield from _characters(text, span, most, measure)
        return
    held: Span | None = None
    for piece in levels[0](text, span):
        for part in _divided(text, piece, levels[1:], most, measure):
            if held and measure(text[held[0] : part[1]]) <= most:
                held = held[0], part[1]
                continue
            if held:
                yield held
            held = part
    if held:
        yield held


def _sentences(text: str, span: Span) -> Iterator[Span]:
    return _between(text, span, (m.end() for m in _ENDS.finditer(text, *span) if _ends(text, span, m)))


def _ends(text: str, span: Span, found: re.Match[str]) -> bool:
    """Whether a sentence ends here: not after an initial or an abbreviation, nor before a small letter."""
    after = _SPACES.match(text, found.end())
    follows = text[after.end()] if after and after.end() < span[1] else ""
    if follows.islower():
        return False
    word = _LAST_WORD.search(text, max(span[0], found.start() - 12), found.start() + 1)
    return found[0] != "." or word is None or not (len(word[1]) == 1 or word[1].lower() in _SHORT)


def _lines(text: str, span: Span) -> Iterator[Span]:
    return _between(text, span, (m.start() for m in _LINES.finditer(text, *span)))


def _words(text: str, span: Span) -> Iterator[Span]:
    return _between(text, span, (m.start() for m in _SPACES.finditer(text, *span)))


def _between(text: str, span: Span, ends: Iterable[int]) -> Iterator[Span]:
    """What stands between these places, without the white space around it."""
    start = span[0]
    for end in (*ends, span[1]):
        found = stripped(text, (start, end))
        if found[0] < found[1]:
            yield found
        start = end


def _characters(text: str, span: Span, most: int, measure: Measure) -> Iterator[Span]:
    """A word that is too long, in the longest pieces that fit; marks and joined emoji stay with what they belong to."""
    start, end = span
    while start < end:
        low, high = start + 1, min(end, start + most * LONGEST_PIECE)
        while low < high:
            middle = (low + high + 1) // 2
            if measure(text[start:middle]) <= most:
                low = middle
            else:
                high = middle - 1
        stop = _whole(text, start, low, end)
        yield start, stop
        start = stop


def _whole(text: str, start: int, stop: int, end: int) -> int:
    """The nearest place at or before ``stop`` that cuts no character in two; ``stop`` itself where there is none."""
    place = stop
    while place > start and place < end and _continues(text, place):
        place -= 1
    return place if place > start else stop


def _continues(text: str, place: int) -> bool:
    after = text[place]
    return (
        after in _JOINERS
        or text[place - 1] == "\u200d"
        or unicodedata.category(after) in ("Mn", "Mc", "Me")
        or "\U0001f3fb" <= after <= "\U0001f3ff"
    )
