"""Punctuation that carries tension and rhythm: spans of questions, exclamations, breaks, pauses and line ends."""

from __future__ import annotations

import re
from typing import NamedTuple

from scenepipe.scene import Span

_MARK = re.compile(
    r"(?P<line>(?:\r\n|[\n\r\v\f\x85\u2028\u2029])+)"
    r"|(?P<stop>[.!?\u2026,;:\u2014\u2013\uff1f\uff01\u3002\u061f]+|(?<=\s)-(?=\s))"
)
_QUESTION = frozenset("?\uff1f\u061f")
_EXCLAMATION = frozenset("!\uff01")
_SENTENCE = frozenset(".!?\u2026\uff1f\uff01\u3002\u061f")
_BREAK = frozenset("\u2014\u2013\u2026")


class Marks(NamedTuple):
    """Spans by kind; ``sentences`` is a count, at least 1."""

    pauses: tuple[Span, ...]
    line_ends: tuple[Span, ...]
    questions: tuple[Span, ...]
    exclamations: tuple[Span, ...]
    breaks: tuple[Span, ...]
    sentences: int


def find_marks(text: str) -> Marks:
    """All marks of a text in one pass."""
    pauses: list[Span] = []
    kinds: dict[str, list[Span]] = {"line": [], "question": [], "exclamation": [], "break": []}
    sentences = 0
    for match in _MARK.finditer(text):
        span = match.span()
        pauses.append(span)
        if match.lastgroup == "line":
            kinds["line"].append(span)
            continue
        surface = match.group()
        marks = set(surface)
        sentences += bool(marks & _SENTENCE)
        if marks & _QUESTION:
            kinds["question"].append(span)
        if marks & _EXCLAMATION:
            kinds["exclamation"].append(span)
        if marks & _BREAK or surface == "-" or surface.startswith(".."):
            kinds["break"].append(span)
    lines, questions, exclamations, breaks = (tuple(kinds[k]) for k in ("line", "question", "exclamation", "break"))
    return Marks(tuple(pauses), lines, questions, exclamations, breaks, max(1, sentences))
