"""Word stress: what a stresser answers, the marks a text carries itself, and which stresser to open.

A stresser looks words up in a dictionary; what a text marks itself (U+0301, ё) always wins. The packages are those of
the extra ``[stress]``; nothing is downloaded at run time. Neural stress models on the package index keep their weights
pickled, and verse read with the dictionary is as good (benchmarks/verse.py), so there is none here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, get_args

from scenepipe.analysis.words import LONGEST_WORD, Word
from scenepipe.errors import ConfigError, Fault, did_you_mean

STRESS_VERSION = "stress@1"
STRESS_MARK = "\u0301"
StressKind = Literal["off", "dictionary"]
RUSSIAN_VOWELS = frozenset("аеёиоуыэюя")

MARKED_VOWEL = re.compile(r"[аеёиоуыэюя]([\u00ad\u0300-\u036f\u0483-\u0489]*)", re.IGNORECASE)
"""A Russian vowel with what combines with it; the group holds U+0301 where it is marked."""
_UNSTRESSED_YO = re.compile(r"(?:тр|четыр)ёх(?=.*[аеиоуыэюя])")
"""трёхэта́жный, четырёхле́тний: the one ё of the language that is not its word's stress."""


class Stress(NamedTuple):
    """Stress of one word.

    Args:
        syllable: which syllable, from 0; None where unknown.
        confidence: 0..1.
        others: syllables that other senses or forms of the same spelling stress; metre may choose one of them.
        size: syllables of the word, where the dictionary holds its sound.
        yo: whether the stressed vowel is ё where е is written; None where unknown.
        endings: its sounds from the stressed vowel on, one per sense, phoneme by phoneme, where the dictionary holds them.
    """

    syllable: int | None = None
    confidence: float = 0.0
    others: tuple[int, ...] = ()
    size: int | None = None
    yo: bool | None = None
    endings: tuple[tuple[str, ...], ...] = ()


UNKNOWN_STRESS = Stress()
_HAS_YO = re.compile("[ёЁ\u0308]")
OWN_MARK_CONFIDENCE = 1.0
YO_CONFIDENCE = 0.99


class Stresser(Protocol):
    """Where words are stressed. ``name`` says with which data, so that two analyses are never confused."""

    name: str

    def stress(self, text: str, words: Sequence[Word]) -> list[Stress]:
        """One answer per word of ``text``, in order."""
        ...


def own_stress(surface: str) -> Stress | None:
    """What a Russian surface marks itself: U+0301 first, then ё. None where it marks nothing, or several vowels.

    >>> own_stress("за\u0301мок").syllable
    0
    """
    if STRESS_MARK not in surface and not _HAS_YO.search(surface):
        return None
    composed = unicodedata.normalize("NFC", surface).lower()
    vowels = list(MARKED_VOWEL.finditer(composed))
    marked = [i for i, match in enumerate(vowels) if STRESS_MARK in match.group(1)]
    if len(marked) == 1 or (marked and "-" in composed):
        return Stress(marked[-1], OWN_MARK_CONFIDENCE, yo=vowels[marked[-1]].group()[0] == "ё" or None)
    skipped = _UNSTRESSED_YO.match(composed)
    first = russian_syllables(skipped[0]) if skipped else 0
    yos = [i for i, match in enumerate(vowels) if match.group()[0] == "ё" and i >= first]
    return Stress(yos[-1], YO_CONFIDENCE, yo=True) if yos else None


def russian_syllables(letters: str) -> int:
    """Vowels of lower-case Russian letters."""
    return sum(letter in RUSSIAN_VOWELS for letter in letters)


class WordStresser:
    """Russian and English words each to their own; the text's own marks before both."""

    def __init__(self, russian: Stresser, english: Stresser) -> None:
        self._by_code = {"ru": russian, "en": english}
        self.name = f"{STRESS_VERSION}/{russian.name}+{english.name}"

    def stress(self, text: str, words: Sequence[Word]) -> list[Stress]:
        """One answer per word; words of neither language are unknown."""
        found = [UNKNOWN_STRESS] * len(words)
        for code, stresser in self._by_code.items():
            rows = [i for i, word in enumerate(words) if word.code == code and word.end - word.start <= LONGEST_WORD]
            if not rows:
                continue
            for i, stress in zip(rows, stresser.stress(text, [words[i] for i in rows]), strict=True):
                found[i] = stress
        return [_with_marks(text, word, stress) for word, stress in zip(words, found, strict=True)]


def _with_marks(text: str, word: Word, stress: Stress) -> Stress:
    if word.code != "ru" or word.end - word.start > LONGEST_WORD:
        return stress
    own = own_stress(text[word.start : word.end])
    return stress if own is None else own


def open_stresser(kind: str) -> Stresser | None:
    """Load what ``kind`` names: ``off`` is None, ``dictionary`` the packages of ``[stress]``.

    Raises:
        ConfigError: there is no such kind.
        MissingExtraError: its packages are not installed.
    """
    if kind == "off":
        return None
    if kind not in get_args(StressKind):
        raise ConfigError(
            [Fault("stress", f"'{kind}' was given; {did_you_mean(kind, get_args(StressKind))}")], "stress"
        )
    from scenepipe.analysis.stress_en import EnglishDictionary
    from scenepipe.analysis.stress_ru import RussianDictionary

    russian, english = RussianDictionary(), EnglishDictionary()
    for stresser in (russian, english):
        stresser.open()
    return WordStresser(russian, english)
