"""Symbols that stand together, computed alike for every store; a store only counts.

Symbols of the texts are counted, not what a linkage associated with them: an association that came back as evidence would
strengthen itself. A scene counts once for each of its stored analyses, as everywhere in the weights of recall.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scenepipe.contracts import Neighbour
from scenepipe.memory.records import is_short

MOST = 200
"""Keys that are counted in the whole archive: those met together most often."""


@dataclass(frozen=True)
class Company:
    """What stands in the scenes that have one of the symbols asked for.

    A store looks at `scenepipe.memory.candidates.POSTINGS` scenes at most: of more, a SQL store at those written last,
    a vector engine at those whose ids come first.

    Args:
        together: key -> how many of the scenes looked at have it.
        looked_at: how many scenes were.
        having: how many scenes have one of the symbols, looked at or not.
        documents: how many scenes the namespace has.
    """

    together: Mapping[str, int]
    looked_at: int
    having: int
    documents: int


def keys_to_count(company: Company, asked: Iterable[str]) -> list[str]:
    """The keys met together most often, without those asked for and without any too long to be a word."""
    known = company.together.keys() - set(asked)
    return sorted(filter(is_short, known), key=lambda key: (-company.together[key], key))[:MOST]


def strongest(company: Company, counts: Mapping[str, int], limit: int) -> tuple[Neighbour, ...]:
    """Neighbours of these counts, strongest first; of equals those met together more often, then by key."""
    found = [
        Neighbour(key=key, together=company.together[key], count=count, score=_score(company, key, count))
        for key, count in counts.items()
    ]
    return tuple(sorted(found, key=lambda each: (-each.score, -each.together, each.key))[: max(0, limit)])


def _score(company: Company, key: str, count: int) -> float:
    """Normalised pointwise mutual information ln(p(ab) / p(a)p(b)) / -ln p(ab) (Bouma 2009), nothing below 0.

    What always stands together has 1, also where both are in every scene: the limit, as 0/0 says nothing there.
    """
    one, other = company.having / company.documents, count / company.documents
    both = min(one * company.together[key] / company.looked_at, other)
    if both >= 1.0:
        return 1.0
    return min(1.0, max(0.0, math.log(both / (one * other)) / -math.log(both)))
