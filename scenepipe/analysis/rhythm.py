"""Rhythm of a text: words, lines, syllables, pauses; stress where the text marks it, metre where stress is known.

Russian syllables are its vowels, exactly; English ones are a heuristic of vowel groups. Stress is read from U+0301
alone: in a text with such marks ё is stressed too, a word of one syllable is open to either, and a word of several
without a mark is unknown.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence

from scenepipe.analysis.marks import Marks
from scenepipe.analysis.words import Word
from scenepipe.scene import Reading, Rhythm

RHYTHM_VERSION = "rhythm@1"
ENGLISH_CONFIDENCE = 0.7
STRESS_MARK = "\u0301"
METRES = {"iamb": "-+", "trochee": "+-", "dactyl": "+--", "amphibrach": "-+-", "anapaest": "--+"}
LEAST_FIT = 0.9
SHORTEST_VERSE = 4
"""Syllables; every metre fits a shorter line."""
STRESSED, UNSTRESSED, EITHER, UNKNOWN, LINE = "+", "-", "x", "?", "|"

_RUSSIAN_VOWELS = frozenset("аеиоуыэюя")
_ENGLISH_GROUP = re.compile(r"[aeiouy]+")
_SILENT_ED = re.compile(r"[^aeiouytd]ed$")
_MARKED_SYLLABLE = re.compile(rf"[аеёиоуыэюя][\u00ad]*({STRESS_MARK}?)", re.IGNORECASE)


def read_rhythm(text: str, words: Sequence[Word], marks: Marks) -> Rhythm:
    """Counts of one text. Syllables are unknown where a word is of neither language."""
    lines = _lines(text, words, marks)
    known = bool(words) and all(word.code != "und" for word in words)
    counts = tuple(sum(map(syllables, line)) for line in lines) if known else ()
    stress, metre = _stress(text, lines) if known else (Reading[str](), Reading[str]())
    return Rhythm(
        words=len(words),
        lines=sum(1 for line in text.splitlines() if line.strip()),
        syllables=_total(words, counts) if known else Reading[int](),
        syllables_per_line=counts,
        pauses=marks.pauses,
        stress=stress,
        metre=metre,
    )


def syllables(word: Word) -> int:
    """Syllables of one word; 0 for a Russian word without a vowel (в, к)."""
    if word.code == "ru":
        return sum(letter in _RUSSIAN_VOWELS for letter in word.form)
    groups = len(_ENGLISH_GROUP.findall(word.form))
    silent = word.form.endswith("e") and not word.form.endswith("le") and groups > 1
    return max(1, groups - silent - bool(groups > 1 and _SILENT_ED.search(word.form)))


def _lines(text: str, words: Sequence[Word], marks: Marks) -> list[list[Word]]:
    """Words by line; lines without words are left out."""
    ends = [start for start, _ in marks.line_ends]
    lines: dict[int, list[Word]] = {}
    for word in words:
        lines.setdefault(bisect_right(ends, word.start), []).append(word)
    return list(lines.values())


def _total(words: Sequence[Word], counts: Sequence[int]) -> Reading[int]:
    english = sum(word.code == "en" for word in words) / len(words)
    confidence = 1.0 - english * (1.0 - ENGLISH_CONFIDENCE)
    return Reading[int](value=sum(counts), confidence=round(confidence, 4))


def _stress(text: str, lines: Sequence[Sequence[Word]]) -> tuple[Reading[str], Reading[str]]:
    if STRESS_MARK not in text:
        return Reading[str](), Reading[str]()
    patterns = ["".join(_pattern(text[word.start : word.end]) for word in line) for line in lines]
    joined = "".join(patterns)
    sure = sum(mark != UNKNOWN for mark in joined) / len(joined) if joined else 0.0
    evidence = tuple(w.span for line in lines for w in line if STRESS_MARK in text[w.start : w.end])
    stress = Reading[str](value=LINE.join(patterns), confidence=round(sure, 4), evidence=evidence)
    return stress, _metre(patterns) if UNKNOWN not in joined else Reading[str]()


def _pattern(surface: str) -> str:
    """One mark per syllable of a word."""
    marked = _MARKED_SYLLABLE.finditer(surface)
    vowels = [bool(m.group(1)) or m.group()[0] in "ёЁ" for m in marked]
    if any(vowels):
        return "".join(STRESSED if stressed else UNSTRESSED for stressed in vowels)
    return EITHER * len(vowels) if len(vowels) <= 1 else UNKNOWN * len(vowels)


def _metre(patterns: Sequence[str]) -> Reading[str]:
    """The metre whose weak places the stresses avoid best, when 9 of 10 stresses stand on its strong ones."""
    verses = [pattern for pattern in patterns if len(pattern) >= SHORTEST_VERSE]
    stresses = sum(pattern.count(STRESSED) for pattern in verses)
    if not stresses or len(verses) < len(patterns):
        return Reading[str]()
    fits = {name: sum(_strong(pattern, foot) for pattern in verses) / stresses for name, foot in METRES.items()}
    filled = {name: sum(_filled(pattern, foot) for pattern in verses) for name, foot in METRES.items()}
    best = max(METRES, key=lambda name: (fits[name], filled[name]))
    if fits[best] < LEAST_FIT:
        return Reading[str]()
    return Reading[str](value=best, confidence=round(fits[best] * stresses / (stresses + 2), 4))


def _strong(pattern: str, foot: str) -> int:
    return sum(mark == STRESSED and foot[i % len(foot)] == STRESSED for i, mark in enumerate(pattern))


def _filled(pattern: str, foot: str) -> float:
    """Share of the foot's strong places that are stressed: tells three-syllable feet from two-syllable ones."""
    strong = [mark for i, mark in enumerate(pattern) if foot[i % len(foot)] == STRESSED]
    return sum(mark == STRESSED for mark in strong) / len(strong) if strong else 0.0
