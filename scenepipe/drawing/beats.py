"""The rhythm of a text as beats: one mark per syllable of each line, and where in the line the pauses fall."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from scenepipe.scene import Rhythm

STRESSED, UNSTRESSED, EITHER, UNKNOWN, LINE = "+", "-", "x", "?", "|"
"""The marks of ``Rhythm.stress``; anything else counts as unknown."""
MOST_BEATS = 1000
_LINE = re.compile("[^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]*\\S[^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]*")
_VOWELS = re.compile("[аеёиоуыэюя]|[aeiouy]+", re.IGNORECASE)
"""A syllable's vowel in Russian, a group of them in English."""


@dataclass(frozen=True)
class Beats:
    """One line of the text.

    Args:
        marks: one per syllable, at most `MOST_BEATS`.
        syllables: how many there are.
        pauses: syllables before each pause within the line or at its end.
        rhyme: the name of its rhyme, ``-`` where it has none, empty where that is not known.
    """

    marks: str
    syllables: int
    pauses: tuple[int, ...] = ()
    rhyme: str = ""


def beats_of(text: str, rhythm: Rhythm, *, most: int) -> list[Beats]:
    """Beats of the first ``most`` lines; none where syllables are unknown. Unknown stress is ``?`` on every syllable."""
    counts = [max(0, count) for count in rhythm.syllables_per_line[:most]]
    total = len(rhythm.syllables_per_line)
    patterns = _parts((rhythm.stress.value or "").split(LINE), total)
    rhymes = _parts([n for n in rhythm.rhyme.value or "" if n.isalpha() or n == UNSTRESSED], total)
    pauses = _pauses(text, rhythm, counts)
    return [Beats(_marks(patterns[i], count), count, pauses[i], rhymes[i]) for i, count in enumerate(counts)]


def _marks(pattern: str, count: int) -> str:
    return pattern[:MOST_BEATS] or UNKNOWN * min(count, MOST_BEATS)


def _parts(found: Sequence[str], lines: int) -> Sequence[str]:
    """One part per line, or empty ones where there are not as many as lines."""
    return found if len(found) == lines else [""] * lines


def _pauses(text: str, rhythm: Rhythm, counts: Sequence[int]) -> list[tuple[int, ...]]:
    """By line; nothing where some line has no words, because then it is not known which."""
    if rhythm.lines != len(rhythm.syllables_per_line):
        return [()] * len(counts)
    found = [_in_line(line, rhythm, count) for line, count in zip(_LINE.finditer(text), counts, strict=False)]
    return found + [()] * (len(counts) - len(found))


def _in_line(line: re.Match[str], rhythm: Rhythm, count: int) -> tuple[int, ...]:
    vowels = [at.start() for at in _VOWELS.finditer(line.string, *line.span())]
    if not vowels:
        return ()
    starts = (start for start, _ in rhythm.pauses if line.start() < start < line.end())
    before = {round(count * sum(vowel < start for vowel in vowels) / len(vowels)) for start in starts}
    return tuple(sorted(before - {0}))
