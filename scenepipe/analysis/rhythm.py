"""Rhythm of a text: words, lines, syllables, pauses; stress where the text marks it, metre where stress is known.

Russian syllables are its vowels, exactly; English ones are a heuristic of vowel groups, or the dictionary's. Without a
stresser, stress is read from U+0301 alone: in a text with such marks ё is stressed too, a word of one syllable is open
to either, and a word of several without a mark is unknown. With one, words are looked up, and there is rhyme.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from math import fsum

from scenepipe.analysis.marks import Marks
from scenepipe.analysis.metre import METRE_VERSION, METRES
from scenepipe.analysis.rhyme import RHYME_VERSION
from scenepipe.analysis.stress import MARKED_VOWEL, STRESS_MARK, Stress, Stresser
from scenepipe.analysis.verse import EITHER, LINE, STRESSED, UNKNOWN, UNSTRESSED, read_verse
from scenepipe.analysis.words import Word
from scenepipe.normal_form import nfc
from scenepipe.scene import Reading, Rhythm

RHYTHM_VERSION = "rhythm@1"
ENGLISH_CONFIDENCE = 0.7
LISTED_CONFIDENCE = 0.97
"""Of an English word's syllables as the dictionary counts them; fire and flower are one or two."""
LEAST_FIT = 0.9
SHORTEST_VERSE = 4
"""Syllables; every metre fits a shorter line."""

_RUSSIAN_VOWELS = frozenset("аеиоуыэюя")
_ENGLISH_GROUP = re.compile(r"[aeiouy]+")
_SILENT_ED = re.compile(r"[^aeiouytd]ed$")


def rhythm_version(stresser: Stresser | None = None) -> str:
    """Version of a reading: with the name of its dictionary or model, because another one reads otherwise."""
    if stresser is None:
        return RHYTHM_VERSION
    return f"{RHYTHM_VERSION}/{METRE_VERSION}/{RHYME_VERSION}/{stresser.name}"


def read_rhythm(text: str, words: Sequence[Word], marks: Marks, stresser: Stresser | None = None) -> Rhythm:
    """Rhythm of one text.

    Args:
        text: the text.
        words, marks: what `split_words` and `find_marks` found in it.
        stresser: says where words are stressed; without one, only the text's own marks do, and rhyme is unknown.

    Syllables are unknown where a word is of neither language.
    """
    lines = _lines(words, marks)
    known = bool(words) and all(word.code != "und" for word in words)
    stresses = stresser.stress(text, words) if stresser is not None else [Stress()] * len(words)
    sizes = [stress.size or syllables(word) for word, stress in zip(words, stresses, strict=True)]
    if stresser is None:
        stress, metre = _stress(text, lines) if known else (Reading[str](), Reading[str]())
        rhyme = Reading[str]()
    else:
        counted = [size if word.code != "und" else -1 for word, size in zip(words, sizes, strict=True)]
        stress, metre, rhyme = read_verse(text, lines, stresses, counted)
    return Rhythm(
        words=len(words),
        lines=sum(1 for line in text.splitlines() if line.strip()),
        syllables=_total(words, stresses, sizes) if known else Reading[int](),
        syllables_per_line=_per_line(lines, sizes) if known else (),
        pauses=marks.pauses,
        stress=stress,
        metre=metre,
        rhyme=rhyme,
    )


def syllables(word: Word) -> int:
    """Syllables of one word; 0 for a Russian word without a vowel (в, к)."""
    if word.code == "ru":
        return sum(letter in _RUSSIAN_VOWELS for letter in word.form)
    groups = len(_ENGLISH_GROUP.findall(word.form))
    silent = word.form.endswith("e") and not word.form.endswith("le") and groups > 1
    return max(1, groups - silent - bool(groups > 1 and _SILENT_ED.search(word.form)))


def _lines(words: Sequence[Word], marks: Marks) -> list[list[Word]]:
    """Words by line; lines without words are left out."""
    ends = [start for start, _ in marks.line_ends]
    lines: dict[int, list[Word]] = {}
    for word in words:
        lines.setdefault(bisect_right(ends, word.start), []).append(word)
    return list(lines.values())


def _per_line(lines: Sequence[Sequence[Word]], sizes: Sequence[int]) -> tuple[int, ...]:
    following = iter(sizes)
    return tuple(sum(next(following) for _ in line) for line in lines)


def _total(words: Sequence[Word], stresses: Sequence[Stress], sizes: Sequence[int]) -> Reading[int]:
    """Syllables of the text; sure of Russian words, nearly of listed English ones, less of others."""
    listed = sum(word.code == "en" and stress.size is not None for word, stress in zip(words, stresses, strict=True))
    guessed = sum(word.code == "en" for word in words) - listed
    doubt = listed * (1.0 - LISTED_CONFIDENCE) + guessed * (1.0 - ENGLISH_CONFIDENCE)
    return Reading[int](value=sum(sizes), confidence=round(1.0 - doubt / len(words), 4))


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
    marked = MARKED_VOWEL.finditer(nfc(surface))
    vowels = [STRESS_MARK in m.group(1) or m.group()[0] in "ёЁ" for m in marked]
    if any(vowels):
        return "".join(STRESSED if stressed else UNSTRESSED for stressed in vowels)
    return EITHER * len(vowels) if len(vowels) <= 1 else UNKNOWN * len(vowels)


def _metre(patterns: Sequence[str]) -> Reading[str]:
    """The metre whose weak places the stresses avoid best, when 9 of 10 stresses stand on its strong ones."""
    verses = [pattern for pattern in patterns if len(pattern) >= SHORTEST_VERSE]
    stresses = sum(pattern.count(STRESSED) for pattern in verses)
    if not stresses or len(verses) < len(patterns):
        return Reading[str]()
    fits = {name: fsum(_strong(pattern, foot) for pattern in verses) / stresses for name, foot in METRES.items()}
    filled = {name: fsum(_filled(pattern, foot) for pattern in verses) for name, foot in METRES.items()}
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
