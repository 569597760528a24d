"""How proposals are ordered, the same for every store, so that all of them recall the same scenes in the same order.

A store only names candidates with the symbol keys they were found by. Order never depends on the order of writing,
which an export does not carry: ties go to the scene that was made later, then to the smaller id.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

from scenepipe.contracts import Query
from scenepipe.recall import Proposals, lemma_of, query_keys

T = TypeVar("T")

POSTINGS = 2000
_POOL = 48
_ASKED = 64
_DECIMALS = 4


@dataclass(frozen=True)
class Candidate:
    """A stored analysis that may answer a query.

    Args:
        created: time of making, ISO 8601, as it is compared: as text.
        keys: its symbol keys, at least those whose lemma was asked for.
    """

    scene_id: str
    created: str
    keys: Iterable[str] = ()


def pool(query: Query) -> int:
    """How many candidates of each kind a store names."""
    return max(_POOL, 2 * query.limit) + len(query.exclude)


def asked_lemmas(query: Query) -> list[str]:
    """Lemmas of the query, in its order. Of very many symbols the first 64 are searched."""
    return list(dict.fromkeys(lemma_of(key) for key in query_keys(query)[:_ASKED]))


def telling(counts: Mapping[str, int], documents: int) -> dict[str, float]:
    """Weights of the rarest lemmas, as many as `POSTINGS` rows hold together, at least one.

    A lemma that a large part of the archive has tells scenes apart hardly at all, and reading its rows would be most
    of the cost of a search.

    Args:
        counts: lemma -> how many stored analyses have it.
        documents: how many analyses the namespace has.
    """
    found = sorted((lemma for lemma, count in counts.items() if count), key=lambda lemma: (counts[lemma], lemma))
    totals = accumulate(counts[lemma] for lemma in found)
    kept = [lemma for lemma, total in zip(found, totals, strict=True) if total <= POSTINGS or lemma == found[0]]
    return {lemma: math.log1p(documents / counts[lemma]) for lemma in kept}


def overlap(query: Query, weights: Mapping[str, float], keys: Iterable[str]) -> tuple[int, int, float]:
    """How many of the query's keys a candidate has with equal polarity, how many lemmas, and their weights' sum."""
    have = {key for key in keys if lemma_of(key) in weights}
    lemmas = {lemma_of(key) for key in have}
    return len(have & set(query_keys(query))), len(lemmas), math.fsum(weights[lemma] for lemma in lemmas)


def proposals(
    query: Query,
    *,
    weights: Mapping[str, float],
    same: Iterable[Candidate],
    shared: Iterable[Candidate],
    near: Mapping[str, float],
) -> Proposals:
    """Candidates in the order that `scenepipe.recall.rank` expects.

    Args:
        weights: see `telling`.
        same: may have the query's id, key or linkage.
        shared: have a lemma of ``weights``; others are dropped.
        near: cosine by scene id. It is compared to four decimals: engines differ in the seventh.
    """
    limit = pool(query)
    found = [(each, overlap(query, weights, each.keys)) for each in shared]
    found = [(each, score) for each, score in found if score[1]]
    cosines = {name: round(cosine, _DECIMALS) for name, cosine in near.items()}
    return Proposals(
        same=_ordered(same, lambda each: each, lambda each: ())[:limit],
        symbols=_ordered(found, lambda pair: pair[0], lambda pair: (-pair[1][0], -pair[1][1]))[:limit],
        words=_ordered(found, lambda pair: pair[0], lambda pair: (-pair[1][2],))[:limit],
        near={name: cosines[name] for name in sorted(cosines, key=lambda name: (-cosines[name], name))[:limit]},
    )


def _ordered(
    items: Iterable[T], candidate: Callable[[T], Candidate], score: Callable[[T], tuple[float, ...]]
) -> list[str]:
    """Scene ids by score, then newest first, then by id; a scene with several analyses stands at its best one."""
    by_id = sorted(items, key=lambda item: candidate(item).scene_id)
    newest = sorted(by_id, key=lambda item: candidate(item).created, reverse=True)
    return list(dict.fromkeys(candidate(item).scene_id for item in sorted(newest, key=score)))
