"""Verse with a stresser: the stress of every word, the metre, the rhymes, read together.

Stress gives the metre, the metre settles stress that was in doubt, and both give the sound of the line ends.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import fsum
from typing import NamedTuple

from scenepipe.analysis.line_ends import Spoken, bare_letters, line_endings
from scenepipe.analysis.metre import OUTSIDE, Scansion, Slot, scan, slot
from scenepipe.analysis.rhyme import Scheme, scheme
from scenepipe.analysis.stress import Stress
from scenepipe.analysis.words import LONGEST_WORD, Word
from scenepipe.scene import Reading, Span

LEAST_STRESS = 0.55
"""Probability below which a word's stress stays unknown; measured: what lies below is right in one case of three."""
STRESSED, UNSTRESSED, EITHER, UNKNOWN, LINE = "+", "-", "x", "?", "|"

_BREAK = re.compile(r"\r\n|[\n\r\v\f\x85\u2028\u2029]")


class Verse(NamedTuple):
    """What a text's verse is read as."""

    stress: Reading[str]
    metre: Reading[str]
    rhyme: Reading[str]


def read_verse(text: str, lines: Sequence[Sequence[Word]], stresses: Sequence[Stress], counts: Sequence[int]) -> Verse:
    """Read lines of words (none of them empty), whose stresses and syllables stand in the same order.

    ``counts`` holds -1 for a word whose syllables are unknown.
    """
    spoken = _spoken(text, lines, stresses, counts)
    found = scan([[word.slot for word in line] for line in spoken])
    spoken = [
        [word._replace(slot=fitted) for word, fitted in zip(line, slots, strict=True)]
        for line, slots in zip(spoken, found.lines, strict=True)
    ]
    return Verse(_stress(text, spoken), _metre(found), _rhyme(text, spoken, found.metre))


def _spoken(
    text: str, lines: Sequence[Sequence[Word]], stresses: Sequence[Stress], counts: Sequence[int]
) -> list[list[Spoken]]:
    places = iter(zip(stresses, counts, strict=True))
    spoken = []
    for line in lines:
        row = []
        for word in line:
            stress, count = next(places)
            known = count >= 0 and word.end - word.start <= LONGEST_WORD
            letters = bare_letters(text[word.start : word.end]) if known and word.code == "ru" else ""
            row.append(Spoken(word, letters, stress, slot(stress, count) if known else OUTSIDE))
        spoken.append(row)
    return spoken


def _stress(text: str, spoken: Sequence[Sequence[Spoken]]) -> Reading[str]:
    """The pattern; confidence is the mean over the syllables of words of two and more."""
    if any(word.slot is OUTSIDE for line in spoken for word in line):
        return Reading[str]()
    patterns = ["".join(_pattern(word) for word in line) for line in spoken]
    long = [word for line in spoken for word in line if word.slot.size > 1]
    sure = fsum(_sureness(word.slot) * word.slot.size for word in long)
    syllables = sum(word.slot.size for word in long)
    evidence = tuple(word.word.span for word in long if _sureness(word.slot))
    if not evidence:
        return Reading[str]()
    return Reading[str](value=LINE.join(patterns), confidence=round(sure / syllables, 4), evidence=evidence)


def _sureness(slot: Slot) -> float:
    most = max(slot.chances)
    return min(1.0, most) if most >= LEAST_STRESS else 0.0


def _pattern(spoken: Spoken) -> str:
    """One mark per syllable; the other parts of a word with a hyphen may be stressed or not."""
    count, chances = spoken.slot
    if count <= 1:
        return EITHER * count
    if not _sureness(spoken.slot):
        return UNKNOWN * count
    stressed = chances.index(max(chances))
    marks = [UNSTRESSED] * count
    if "-" in spoken.word.form:
        marks = [EITHER] * count
        first, last = _part(spoken.word.form, stressed)
        marks[first:last] = [UNSTRESSED] * (min(last, count) - first)
    marks[stressed] = STRESSED
    return "".join(marks)


def _part(form: str, syllable: int) -> tuple[int, int]:
    """First syllable and the one after the last of the part of a hyphenated form that holds a syllable."""
    first = 0
    for part in form.split("-"):
        last = first + sum(letter in _VOWELS for letter in part)
        if first <= syllable < last:
            return first, last
        first = last
    return 0, first


_VOWELS = frozenset("аеёиоуыэюяaeiouy")


def _metre(found: Scansion) -> Reading[str]:
    return Reading[str](value=found.metre, confidence=round(min(1.0, found.confidence), 4))


def _rhyme(text: str, spoken: Sequence[Sequence[Spoken]], metre: str | None) -> Reading[str]:
    """Schemes of the stanzas; unknown for a single line, and where fewer than half of the lines have a known end."""
    if len(spoken) < 2:
        return Reading[str]()
    ends = [line_endings(line, metre) for line in spoken]
    known = sum(bool(end) and _is_sure(line[-1]) for line, end in zip(spoken, ends, strict=True))
    if 2 * known < len(ends):
        return Reading[str]()
    schemes: list[Scheme] = []
    evidence: list[Span] = []
    for first, last in _stanzas(text, spoken):
        found = scheme(ends[first:last])
        schemes.append(found)
        evidence += [spoken[first + i][-1].word.span for i in found.rhymed]
    sure = fsum(found.confidence * len(found.value) for found in schemes) / len(ends)
    value = " ".join(found.value for found in schemes)
    return Reading[str](value=value, confidence=round(min(1.0, sure), 4), evidence=tuple(evidence))


def _is_sure(spoken: Spoken) -> bool:
    return spoken.slot.size < 2 or bool(_sureness(spoken.slot))


def _stanzas(text: str, spoken: Sequence[Sequence[Spoken]]) -> list[tuple[int, int]]:
    """Lines from and to of each stanza: an empty line, or one without words, ends one."""
    starts = [0]
    for i in range(1, len(spoken)):
        between = text[spoken[i - 1][-1].word.end : spoken[i][0].word.start]
        if len(_BREAK.findall(between)) > 1:
            starts.append(i)
    return list(zip(starts, [*starts[1:], len(spoken)], strict=True))
