"""What an archive in a vector engine proposes for a query, and what stands together there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice

from scenepipe.contracts import Query
from scenepipe.facets import asks_encounters, conditions_of, meets, moment
from scenepipe.memory import candidates, points
from scenepipe.memory.candidates import Candidate
from scenepipe.memory.neighbours import Company
from scenepipe.memory.point_engine import FOUND, Engine, Payload, Search, Where, select_in
from scenepipe.memory.vectors import SIMILARITY_FLOOR
from scenepipe.recall import Proposals, lemma_of, query_keys
from scenepipe.scene import Vector

Rows = list[tuple[Payload, float]]
Check = Callable[[Iterable[str]], set[str]]
"""Of some scene ids those whose encounters a query admits."""

FEW = 2000
"""Encounters whose scenes are named to the engine one by one; of more, those of each found scene are looked at."""

_KEY_WEIGHT = 1000.0
_WIDER = 4
_NEEDED = frozenset(FOUND)
"""A row without one of them is damaged and is left out."""


def propose(engine: Engine, query: Query) -> Proposals:
    """Ids for the query, in the order that all stores share."""
    weights = _weights(engine, query)
    met, check = _met(engine, query)
    here: Where = {"namespace": [query.namespace], **points.wheres_of(query), **met}
    if not all(here.values()):
        return Proposals()
    structure, overlap, near = _structure(query, here), _overlap(query, weights, here), _near(query, here)
    rows = _search(engine, query, [*structure, *overlap, *near], check)
    same, rest = rows[: len(structure)], rows[len(structure) :]
    return candidates.proposals(
        query,
        weights=weights,
        same=[_candidate(row) for each in same for row, _ in each],
        shared=[_candidate(row) for each in rest[: len(overlap)] for row, _ in each],
        near=_cosines([pair for each in rest[len(overlap) :] for pair in each]),
    )


def company(engine: Engine, symbols: Sequence[str], namespace: str) -> Company:
    """What stands in the texts that have one of these symbols; of very many, in those whose ids come first."""
    where: Where = {"terms": [points.key_term(namespace, key) for key in symbols]}
    found = list(islice(engine.select("scenes", where, ("own",)), candidates.POSTINGS)) if symbols else []
    together = Counter(key for row in found for key in row["own"])
    [documents] = engine.count([{"namespace": [namespace]}])
    [having] = engine.count([where]) if len(found) == candidates.POSTINGS else [len(found)]
    return Company(together, len(found), having, documents)


def _weights(engine: Engine, query: Query) -> dict[str, float]:
    asked = candidates.asked_lemmas(query)
    if not asked:
        return {}
    wheres: list[Where] = [{"terms": [points.term(query.namespace, lemma)]} for lemma in asked]
    *counts, documents = engine.count([*wheres, {"namespace": [query.namespace]}])
    return candidates.telling(dict(zip(asked, counts, strict=True)), documents)


# --- Filters ---------------------------------------------------------------------------------------------------------


def _met(engine: Engine, query: Query) -> tuple[Where, Check | None]:
    """The scenes whose encounters the query admits: as a condition where they are few, else as a check."""
    if not asks_encounters(query):
        return {}, None
    place: dict[str, Sequence[str]] = {"namespace": [query.namespace]}
    if query.chat is not None:
        place["chat"] = [query.chat]
    if query.kinds:
        place["kind"] = list(query.kinds)
    [count] = engine.count([place], "encounters")
    if count <= FEW:
        rows = engine.select("encounters", place, ("scene", "at"))
        return {"scene": sorted({row["scene"] for row in rows if _in_time(query, row)})}, None

    def check(scene_ids: Iterable[str]) -> set[str]:
        rows = select_in(engine, "encounters", "scene", list(scene_ids), ("scene", "at"), place)
        return {row["scene"] for row in rows if _in_time(query, row)}

    return {}, check


def _in_time(query: Query, row: Payload) -> bool:
    at = datetime.fromisoformat(row["at"])
    return (query.since is None or moment(query.since) <= at) and (query.until is None or at <= moment(query.until))


def _search(engine: Engine, query: Query, searches: Sequence[Search], check: Check | None) -> list[Rows]:
    """At most as many rows as each search asks for; the engine is asked for more until enough of them are admitted."""
    factor = 1
    while True:
        wider = [replace(each, limit=factor * each.limit) for each in searches]
        found = engine.search(wider)
        kept = _admitted(query, found, check)
        pairs = zip(searches, wider, found, kept, strict=True)
        if all(len(rows) >= asked.limit or len(given) < more.limit for asked, more, given, rows in pairs):
            return [rows[: each.limit] for each, rows in zip(searches, kept, strict=True)]
        factor *= _WIDER


def _admitted(query: Query, found: Sequence[Rows], check: Check | None) -> list[Rows]:
    """Rows of the namespace that meet the query's conditions as they are: the engine knows them coarsely."""
    conditions = conditions_of(query)
    rows = [
        [
            (row, score)
            for row, score in each
            if row.keys() >= _NEEDED and row["namespace"] == query.namespace and meets(conditions, row["figures"])
        ]
        for each in found
    ]
    if check is None:
        return rows
    known = check(dict.fromkeys(row["scene"] for each in rows for row, _ in each))
    return [[(row, score) for row, score in each if row["scene"] in known] for each in rows]


# --- Searches --------------------------------------------------------------------------------------------------------


def _structure(query: Query, here: Where) -> list[Search]:
    tests: list[Where] = [{"key": [query.key]}] if query.key else []
    tests += [{"chain_id": [points.chain_id(query.linkage)]}] if query.linkage else []
    searches = [Search({**here, **test}, candidates.pool(query)) for test in tests]
    if query.scene_id and query.scene_id in here.get("scene", [query.scene_id]):
        searches.append(Search({**here, "scene": [query.scene_id]}, candidates.pool(query)))
    return searches


def _overlap(query: Query, weights: dict[str, float], here: Where) -> list[Search]:
    """The most shared symbols, equal polarity first; then the greatest weight."""
    if not weights:
        return []
    space, limit = query.namespace, candidates.pool(query)
    shared = {points.lemma_index(space, lemma): 1.0 for lemma in weights}
    shared |= {points.key_index(space, key): _KEY_WEIGHT for key in query_keys(query) if lemma_of(key) in weights}
    rare = {points.lemma_index(space, lemma): weight for lemma, weight in weights.items()}
    return [Search(here, limit, terms=terms) for terms in (shared, rare)]


def _near(query: Query, here: Where) -> list[Search]:
    if query.vector is None or query.encoder is None:
        return []
    vector = points.components(Vector(data=query.vector, encoder=query.encoder))
    return [Search(here, candidates.pool(query), vector=vector)] if vector else []


def _cosines(rows: Iterable[tuple[Payload, float]]) -> dict[str, float]:
    """By scene id, nearest first; several analyses of one scene count once."""
    found: dict[str, float] = {}
    for row, cosine in rows:
        if cosine >= SIMILARITY_FLOOR:
            found.setdefault(row["scene"], min(1.0, cosine))
    return found


def _candidate(row: Payload) -> Candidate:
    return Candidate(row["scene"], row["created"], row["keys"])
