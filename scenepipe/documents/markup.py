"""A text as blocks: paragraphs, and in Markdown headings, code and front matter too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from scenepipe.scene import Span

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")
_HEADING = re.compile(r" {0,3}#{1,6}(?=[ \t]|\Z)")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_UNDERLINE = re.compile(r" {0,3}(?:=+|-{2,})[ \t]*")
_TITLE = re.compile(r"^title:(.*)$", re.MULTILINE)
_LONGEST_HEADING = 200


@dataclass(frozen=True)
class Block:
    """Lines that belong together, without the white space around them.

    Args:
        heading: the nearest heading above; its own for a heading.
        level: 1 to 6 for a heading, 0 for anything else.
        code: it has no sentences.
    """

    span: Span
    heading: str | None = None
    level: int = 0
    code: bool = False


def blocks(text: str, *, markdown: bool) -> Iterator[Block]:
    """The blocks of a text, in order."""
    heading: str | None = None
    for block in _Markdown(text).blocks() if markdown else _paragraphs(text):
        span = stripped(text, block.span)
        if span[0] < span[1]:
            heading = block.heading if block.level else heading
            yield replace(block, span=span, heading=heading)


def title_of(text: str) -> str | None:
    """What a Markdown text calls itself: ``title`` of its front matter, or its first heading of the first level."""
    reader = _Markdown(text)
    if reader.body and (found := _TITLE.search(text[: reader.lines[reader.body - 1][1]].replace("\r", "\n"))):
        return found[1].strip().strip("\"'")[:_LONGEST_HEADING] or None
    return next((block.heading for block in blocks(text, markdown=True) if block.level == 1), None)


def stripped(text: str, span: Span) -> Span:
    """The span without white space, or a byte order mark, at its ends."""
    start, end = span
    while start < end and _is_space(text[start]):
        start += 1
    while end > start and _is_space(text[end - 1]):
        end -= 1
    return start, end


def _is_space(character: str) -> bool:
    return character.isspace() or character == "\ufeff"


def _paragraphs(text: str) -> Iterator[Block]:
    """Runs of lines that are not blank."""
    start = end = 0
    for match in _LINE.finditer(text):
        if match[0].strip():
            end = match.end()
        else:
            yield Block((start, end))
            start = end = match.end()
    yield Block((start, end))


class _Markdown:
    """Reads line by line, as CommonMark does for these blocks; lists, tables and quotes are paragraphs here."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = [match.span() for match in _LINE.finditer(text) if match[0]]
        self.body = self._front()

    def _said(self, number: int) -> str:
        start, end = self.lines[number]
        return self.text[start:end].rstrip("\r\n").removeprefix("\ufeff")

    def _front(self) -> int:
        """How many lines the front matter has."""
        if not self.lines or self._said(0).rstrip() != "---":
            return 0
        return next((n + 1 for n in range(1, len(self.lines)) if self._said(n).rstrip() in ("---", "...")), 0)

    def blocks(self) -> Iterator[Block]:
        if self.body:
            yield Block((0, self.lines[self.body - 1][1]), code=True)
        number = first = self.body
        while number < len(self.lines):
            said = self._said(number)
            after = self._special(number, first, said)
            if after is None and said.strip():
                number += 1
                continue
            until = number if after is None or after.level == 0 or self._is_atx(said) else first
            yield Block(self._span(first, until))
            if after is not None:
                yield after
            number = first = self._next(number, after)
        yield Block(self._span(first, number))

    def _special(self, number: int, first: int, said: str) -> Block | None:
        """The heading or the code that this line begins or, for an underline, ends."""
        if self._is_atx(said):
            title = said.strip().lstrip("#").strip().rstrip("#").strip()
            level = len(said.strip()) - len(said.strip().lstrip("#"))
            return Block(self._span(number, number + 1), _named(title), level)
        if first < number and _UNDERLINE.fullmatch(said):
            title = self.text[self.lines[first][0] : self.lines[number][0]]
            return Block(self._span(first, number + 1), _named(title), 1 if "=" in said else 2)
        if fence := _FENCE.match(said):
            return Block(self._span(number, self._closing(number, fence[1])), code=True)
        return None

    def _closing(self, number: int, fence: str) -> int:
        """The line after a fence that closes this one, or after the last line."""
        for place in range(number + 1, len(self.lines)):
            found = _FENCE.match(self._said(place))
            if found and found[1].startswith(fence) and not self._said(place)[found.end() :].strip():
                return place + 1
        return len(self.lines)

    def _next(self, number: int, after: Block | None) -> int:
        """The line after a block."""
        end = self.lines[number][1] if after is None else after.span[1]
        while number < len(self.lines) and self.lines[number][0] < end:
            number += 1
        return number

    def _is_atx(self, said: str) -> bool:
        return _HEADING.match(said) is not None

    def _span(self, first: int, after: int) -> Span:
        """From the beginning of a line to the end of the one before ``after``."""
        if first >= after:
            return (0, 0)
        return self.lines[first][0], self.lines[after - 1][1]


def _named(title: str) -> str | None:
    return " ".join(title.split())[:_LONGEST_HEADING] or None
