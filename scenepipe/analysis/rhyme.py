"""Rhyme: how alike two line ends sound, and the scheme of a stanza.

An end is the sound from the stressed vowel on. Two ends are compared part by part, vowels with vowels and groups of
consonants with groups; what they differ in costs, and what costs up to 1 rhymes. The costs follow what readers take
for a rhyme in Russian verse (й weighs little, a consonant more, another vowel under stress is no rhyme).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from math import fsum
from typing import NamedTuple

RHYME_VERSION = "rhyme@1"
WINDOW = 8
"""Lines back that a line may rhyme with: work on a stanza of any length is linear."""
SURE, NEAR = 0.5, 0.4
"""Least likeness of a rhyme, and of one that a rhyme beside it supports (the second pair of ABAB)."""
STEEPNESS = 3.3
UNRHYMED = "-"
NAMES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Names of a stanza's rhymes in order; after Z again A, which then is far outside the window."""


class Ending(NamedTuple):
    """The sound of a line's end.

    Args:
        onset: consonants before the stressed vowel; the last of them supports it.
        parts: vowel, consonants, vowel, consonants, … from the stressed vowel on; consonants may be none.
        chance: probability that the line ends so.
    """

    onset: tuple[str, ...]
    parts: tuple[tuple[str, ...], ...]
    chance: float = 1.0


class Scheme(NamedTuple):
    """Names of a stanza's rhymes, one character a line (ABAB, -A-A), how sure, and the lines that rhyme."""

    value: str
    confidence: float
    rhymed: tuple[int, ...]


# What two ends may differ in, in units of what still rhymes. Tuned on one half of RIFMA's development data, chosen by hash.
SOFTNESS, VOICE, OTHER, MISSING, MISSING_J, REDUCED = 0.15, 0.8, 1.2, 0.9, 0.6, 0.05
ONSET_RELIEF, OPEN_WITHOUT_ONSET, OPEN_KIN = 0.7, 1.4, 1.1
MASCULINE, LEAST_DIFFERENCE = 0.3, 0.1

_VOICE_PAIRS = frozenset(
    frozenset(pair) for pair in ("бп", "вф", "гк", "дт", "жш", "зс", "bp", "vf", "ɡk", "dt", "ʒʃ", "zs", "ðθ")
)
_KIN = (frozenset("нмлрй"), frozenset("жшчщ"), frozenset("птк"), frozenset("бдг"))


def likeness(left: Ending, right: Ending) -> float:
    """How well two ends rhyme: 1 / (1 + e^(s (cost - 1))), times the chances of both; 0 for another stressed vowel."""
    if left.parts[0] != right.parts[0] or len(left.parts) != len(right.parts):
        return 0.0
    cost = 0.0 if left.parts == right.parts and left.onset == right.onset else _cost(left, right)
    return math.sqrt(left.chance * right.chance) / (1.0 + math.exp(STEEPNESS * (cost - 1.0)))


def _cost(left: Ending, right: Ending) -> float:
    pairs = list(zip(left.parts, right.parts, strict=True))[1:]
    if len(pairs) == 1 and not left.parts[1] and not right.parts[1]:
        return _support(left.onset[-1:], right.onset[-1:])
    cost = fsum(_group(a, b) for a, b in pairs[::2]) + fsum(REDUCED * (a != b) for a, b in pairs[1::2])
    if len(pairs) == 1:
        supported = left.onset and right.onset and left.onset[-1][0] == right.onset[-1][0]
        cost += MASCULINE if cost and not supported else 0.0
        cost = max(min(cost, LEAST_DIFFERENCE), cost - ONSET_RELIEF) if supported else cost
    return cost


def _support(a: tuple[str, ...], b: tuple[str, ...]) -> float:
    """An open stressed syllable rhymes by the consonant before it: луна, весна."""
    if not a or not b:
        return 0.0 if a == b else OPEN_WITHOUT_ONSET
    if a[0][0] == b[0][0]:
        return 0.0
    return OPEN_KIN if _related(a[0][0], b[0][0]) else OPEN_WITHOUT_ONSET


def _related(a: str, b: str) -> bool:
    return frozenset((a, b)) in _VOICE_PAIRS or any(a in kin and b in kin for kin in _KIN)


@lru_cache(maxsize=65536)
def _group(a: tuple[str, ...], b: tuple[str, ...]) -> float:
    """Least cost of turning one group of consonants into the other (edit distance)."""
    row = [0.0]
    for sound in b:
        row.append(row[-1] + _missing(sound))
    for x in a:
        above, row = row, [row[0] + _missing(x)]
        for j, y in enumerate(b):
            row.append(min(above[j] + _sounds(x, y), above[j + 1] + _missing(x), row[j] + _missing(y)))
    return row[-1]


def _missing(sound: str) -> float:
    return MISSING_J if sound in ("й", "j") else MISSING


def _sounds(a: str, b: str) -> float:
    soft = SOFTNESS if a.endswith("'") != b.endswith("'") else 0.0
    x, y = a.removesuffix("'"), b.removesuffix("'")
    if x == y:
        return soft
    return (VOICE if frozenset((x, y)) in _VOICE_PAIRS else OTHER) + soft


def scheme(lines: Sequence[Sequence[Ending]]) -> Scheme:
    """The scheme of a stanza whose lines may each end in several ways (none: unknown, and then unrhymed)."""
    likes = _likes([tuple(ends) for ends in lines])
    groups = _groups(likes, len(lines))
    sizes = Counter(groups)
    names: dict[int, str] = {}
    value = ""
    for group in groups:
        alone = sizes[group] == 1
        value += UNRHYMED if alone else names.setdefault(group, NAMES[len(names) % len(NAMES)])
    rhymed = tuple(i for i, name in enumerate(value) if name != UNRHYMED)
    return Scheme(value, _confidence(lines, likes, groups), rhymed)


def _likes(lines: Sequence[tuple[Ending, ...]]) -> dict[tuple[int, int], float]:
    """Likeness of every line to the `WINDOW` lines before it; two ends met again are not compared again."""
    numbers: dict[tuple[Ending, ...], int] = {}
    kinds = [numbers.setdefault(ends, len(numbers)) for ends in lines]
    compared: dict[tuple[int, int], float] = {}
    likes = {}
    for i in range(len(lines)):
        for j in range(max(0, i - WINDOW), i):
            pair = (kinds[j], kinds[i])
            if pair not in compared:
                compared[pair] = max((likeness(a, b) for a in lines[j] for b in lines[i]), default=0.0)
            likes[j, i] = compared[pair]
    return likes


def _groups(likes: dict[tuple[int, int], float], count: int) -> list[int]:
    """Lines that rhyme share a number: the likest pairs first, then weaker ones where a pair beside supports them."""
    parents = list(range(count))
    weak = []
    for (j, i), like in sorted(likes.items(), key=lambda item: (-item[1], item[0][1] - item[0][0])):
        if like >= SURE:
            parents[_root(parents, i)] = _root(parents, j)
        elif like >= NEAR:
            weak.append((j, i))
    groups = [_root(parents, i) for i in range(count)]
    free = [size == 1 for size in map(Counter(groups).__getitem__, groups)]
    for j, i in weak:
        if free[j] and free[i] and _supported(j, i, groups):
            groups[i] = groups[j]
            free[i] = free[j] = False
    return groups


def _root(parents: list[int], i: int) -> int:
    while parents[i] != i:
        parents[i] = parents[parents[i]]
        i = parents[i]
    return i


def _supported(j: int, i: int, groups: Sequence[int]) -> bool:
    beside = ((j + 1, i + 1), (j - 1, i - 1), (j + 1, i - 1), (j - 1, i + 1), (j - 2, i - 2), (j + 2, i + 2))
    return any(0 <= a < b < len(groups) and groups[a] == groups[b] for a, b in beside)


def _confidence(lines: Sequence[Sequence[Ending]], likes: dict[tuple[int, int], float], groups: Sequence[int]) -> float:
    """Mean over lines: the likeness to the best line it rhymes with, or unlikeness to all others; 0 for no sound."""
    best_same, best_other = [0.0] * len(lines), [0.0] * len(lines)
    for (j, i), like in likes.items():
        best = best_same if groups[i] == groups[j] else best_other
        best[i], best[j] = max(best[i], like), max(best[j], like)
    sure = [
        (same or 1.0 - other) if ends else 0.0 for ends, same, other in zip(lines, best_same, best_other, strict=True)
    ]
    return fsum(sure) / len(sure) if sure else 0.0
