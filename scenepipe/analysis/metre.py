"""Metre from what is known of stress, and stress from the metre.

A model of one syllable: a syllable of a word of two or more is stressed with probability `STRONG` on a strong place of
the foot and `WEAK` on a weak one, and with `PROSE` anywhere in prose; a word of one syllable is open to either and
says nothing. A word's stress is a distribution over its syllables (dictionary or model), so a line has a likelihood
under each metre; metres and prose are compared by Bayes' rule. Under a metre that wins, each word has its posterior
stress: homographs are chosen by analogy with their places (the idea of Barakhnin, Kozhemyakina and Zabaykin's analyser
of Russian verse), and a word that no dictionary holds is read as the verse reads it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from math import fsum
from typing import NamedTuple

from scenepipe.analysis.stress import Stress

METRE_VERSION = "metre@1"
METRES = {"iamb": "-+", "trochee": "+-", "dactyl": "+--", "amphibrach": "-+-", "anapaest": "--+"}
STRONG = {2: 0.7, 3: 0.93}
"""Probability of stress on a strong place, by syllables in the foot (a foot of two is often left unstressed)."""
WEAK, PROSE = 0.02, 0.38
PRIOR, PRIOR_OF_A_LINE = 0.1, 0.02
"""Probability of each metre before reading, for several lines and for a single one; what five leave is prose."""
LEAST_POSTERIOR = 0.8
STRAYING = 0.05
"""Probability that a line of verse does not keep the metre."""
SHORTEST_VERSE, LONGEST_VERSE = 4, 24
"""Syllables; a shorter line fits every metre, a longer one is no verse: neither says anything."""
KNOWN, LEAST_KNOWN = 0.65, 0.5
"""A word is known whose likeliest stress has this probability; of how many words must be, for a metre to be told."""
MOST_ALIKE = 0.99
"""A stress surer than this (one the text marks) is never changed."""

Chances = tuple[float, ...]


class Slot(NamedTuple):
    """One word in its line: syllables, and the probability of stress on each (none: open, or of no known stress)."""

    size: int
    chances: Chances = ()


OUTSIDE = Slot(LONGEST_VERSE + 1)
"""A word whose syllables nobody knows; its line says nothing."""


class Scansion(NamedTuple):
    """Metre and its probability (None and 0.0 where prose is likelier), and every word's stress under it."""

    metre: str | None
    confidence: float
    lines: list[list[Slot]]


def slot(stress: Stress, count: int) -> Slot:
    """A word's distribution: its reading, then the other senses, then a share of doubt for every syllable."""
    if count < 2:
        return Slot(count)
    if stress.syllable is None or stress.syllable >= count:
        return Slot(count, (1.0 / count,) * count)
    if stress.confidence >= MOST_ALIKE:
        return Slot(count, tuple(float(i == stress.syllable) for i in range(count)))
    doubt = 1.0 - stress.confidence
    others = [i for i in stress.others if i < count]
    rest = doubt * (0.05 if others else 1.0) / (count - 1)
    chances = [rest] * count
    chances[stress.syllable] = stress.confidence
    for i in others:
        chances[i] += doubt * 0.95 / len(others)
    return Slot(count, tuple(chances))


def scan(lines: Sequence[Sequence[Slot]]) -> Scansion:
    """The metre of lines of verse, if they have one, and each word's stress under it."""
    gains = {name: fsum(_line_gain(line, foot) for line in lines) for name, foot in METRES.items()}
    best = max(gains, key=lambda name: gains[name])
    confidence = _posterior(gains, best, PRIOR if len(lines) > 1 else PRIOR_OF_A_LINE)
    if confidence < LEAST_POSTERIOR or not _is_known(lines):
        return Scansion(None, 0.0, [list(line) for line in lines])
    kept = [1.0 - _straying(_kept(line, METRES[best])) for line in lines if _is_verse(line)]
    return Scansion(best, confidence * fsum(kept) / len(kept), [_fitted(line, METRES[best]) for line in lines])


def _is_known(lines: Sequence[Sequence[Slot]]) -> bool:
    """Words that nobody knows would each take the stress that fits, and prove any metre."""
    long = [max(word.chances) >= KNOWN for line in lines for word in line if word.chances]
    return sum(long) >= LEAST_KNOWN * len(long)


def _posterior(gains: dict[str, float], best: str, prior: float) -> float:
    """Probability of one metre; ``gains`` are log-likelihood ratios to prose."""
    most = max(0.0, gains[best])
    weights = {name: prior * math.exp(gain - most) for name, gain in gains.items()}
    return weights[best] / (fsum(weights.values()) + (1.0 - prior * len(gains)) * math.exp(-most))


def _line_gain(line: Sequence[Slot], foot: str) -> float:
    """Log-likelihood ratio of one line of verse to prose; a line of verse may stray."""
    return math.log((1.0 - STRAYING) * math.exp(_kept(line, foot)) + STRAYING) if _is_verse(line) else 0.0


def _straying(gain: float) -> float:
    """Probability that a line with this log-likelihood ratio does not keep the metre."""
    return STRAYING / (STRAYING + (1.0 - STRAYING) * math.exp(gain))


def _is_verse(line: Sequence[Slot]) -> bool:
    return SHORTEST_VERSE <= sum(word.size for word in line) <= LONGEST_VERSE


def _kept(line: Sequence[Slot], foot: str) -> float:
    """Log-likelihood ratio of a line that keeps its metre."""
    gain, place = 0.0, 0
    for word in line:
        if word.chances:
            gain += math.log(fsum(_weighted(word.chances, place % len(foot), foot)))
        place += word.size
    return gain


def _fitted(line: Sequence[Slot], foot: str) -> list[Slot]:
    """Every word with its posterior stress: by the metre as far as the line keeps it, else as it was."""
    if not _is_verse(line):
        return list(line)
    strays = _straying(_kept(line, foot))
    found, place = [], 0
    for word in line:
        weights = _weighted(word.chances, place % len(foot), foot)
        whole = fsum(weights)
        mixed = (strays * c + (1.0 - strays) * w / whole for c, w in zip(word.chances, weights, strict=True))
        found.append(Slot(word.size, tuple(mixed)))
        place += word.size
    return found


@lru_cache(maxsize=65536)
def _weighted(chances: Chances, place: int, foot: str) -> Chances:
    """Each syllable's chance times the likelihood ratio of stressing it, for a word that begins at ``place``."""
    return tuple(
        chance * math.exp(_gain(len(chances), i, place, foot)) if chance else 0.0 for i, chance in enumerate(chances)
    )


@lru_cache(maxsize=4096)
def _gain(count: int, stressed: int, place: int, foot: str) -> float:
    gain = 0.0
    for i in range(count):
        chance = STRONG[len(foot)] if foot[(place + i) % len(foot)] == "+" else WEAK
        gain += math.log(chance / PROSE) if i == stressed else math.log((1 - chance) / (1 - PROSE))
    return gain
