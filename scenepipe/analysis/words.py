"""Words of a text with exact spans in the original, in one pass.

A word is letters with what may stand inside it: digits, combining marks (a stress mark U+0301 among them), soft
hyphens, zero-width characters, and single hyphens and apostrophes between letters. Lemmas are looked up by the
word's folded form, never by its surface.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

from scenepipe.scene import LanguageCode, fold

LONGEST_WORD = 64
"""Characters; what is longer is no word of any language here and is never looked up."""

_LETTER = r"[^\W\d_]"
_INSIDE = r"(?:[^\W_]|[\u00ad\u0300-\u036f\u0483-\u0489\u200b\u2060\ufeff])"
_TOKEN = re.compile(
    rf"(?P<word>{_LETTER}{_INSIDE}*(?:[-\u2010\u2011'\u2019\u02bc]{_LETTER}{_INSIDE}*)*)"
    r"|[.!?\u2026,;:()\[\]{}\u00ab\u00bb\"\u201c\u201d\u2014\u2013\n\r\v\f\x85\u2028\u2029\uff1f\uff01\u3002\u061f]+"
)
_RUSSIAN = frozenset("абвгдежзийклмнопрстуфхцчшщъыьэюя")
_ENGLISH = frozenset("abcdefghijklmnopqrstuvwxyz")
_SAME = str.maketrans("\u02bc\u2010\u2011", "'--")


class Word(NamedTuple):
    """One word: ``text[start:end]``, its folded form, the language its letters allow, the clause it stands in."""

    start: int
    end: int
    form: str
    code: LanguageCode
    clause: int

    @property
    def span(self) -> tuple[int, int]:
        return (self.start, self.end)


def split_words(text: str) -> list[Word]:
    """All words in order. Clauses are numbered from 0; punctuation and line breaks end one."""
    words: list[Word] = []
    clause = 0
    for match in _TOKEN.finditer(text):
        if match.lastgroup is None:
            clause += 1
            continue
        start, end = match.span()
        while start < end and not text[start].isalpha():  # ², ½ and their like count as \w
            start += 1
        if start == end:
            continue
        surface = text[start:end]
        form, code = _form(surface) if end - start <= LONGEST_WORD else _long_form(surface)
        words.append(Word(start, end, form, code, clause))
    return words


@lru_cache(maxsize=65536)
def _form(surface: str) -> tuple[str, LanguageCode]:
    """Folded form without any combining mark, and the language whose alphabet holds all of its letters."""
    form = fold(surface).translate(_SAME)
    if not form.isalpha():
        form = "".join(c for c in form if not unicodedata.combining(c))
    return form, _alphabet(form)


def _long_form(surface: str) -> tuple[str, LanguageCode]:
    return surface[:LONGEST_WORD], _alphabet(fold(surface))


def _alphabet(form: str) -> LanguageCode:
    """A letter outside the Russian alphabet (і ї є ґ ў …) vetoes Russian; accented Latin (café) stays English."""
    letters = {c for c in form if c.isalpha()}
    if letters <= _RUSSIAN:
        return "ru"
    if {_plain(c) for c in letters} <= _ENGLISH:
        return "en"
    return "und"


def _plain(letter: str) -> str:
    return unicodedata.normalize("NFD", letter)[:1]
