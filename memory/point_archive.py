"""An archive in a vector engine: what is written in which order, and how records are found and read back."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from scenepipe.contracts import Appended, Encounter, Hit, Query, Verification
from scenepipe.errors import ArchiveError, InputError
from scenepipe.memory import candidates, points
from scenepipe.memory.candidates import Candidate
from scenepipe.memory.points import Engine, Payload, Search, Where
from scenepipe.memory.records import analysis_of
from scenepipe.memory.vectors import SIMILARITY_FLOOR
from scenepipe.memory.worker import Batch, WorkerArchive, pages
from scenepipe.recall import archived, lemma_of, query_keys, rank, refuse_orphans, repeated, utc
from scenepipe.scene import Hypertoken, Scene, Vector

T = TypeVar("T")

_KEY_WEIGHT = 1000.0
_FOUND = ("scene", "namespace", "created", "keys")
_RECORD = ("scene", "analysis", "ordinal", "json", "digest")


class PointArchive(WorkerArchive):
    """Scenes and encounters as two collections of an engine.

    Points are only ever inserted, under ids made from what they hold, so every write may be repeated and two
    processes may write the same. Scenes are on disk before the encounters that name them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._engine: Engine | None = None

    @abstractmethod
    def _make_engine(self) -> Engine: ...

    def _open(self) -> None:
        self._engine = self._make_engine()
        self.name = self._engine.name
        self._engine.open()

    def _close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def _is_outage(self, error: Exception) -> bool:
        return isinstance(error, points.Outage)

    def _opened(self) -> Engine:
        if self._engine is None:
            raise ArchiveError(f"archive {self.name} is closed; await open() first")
        return self._engine

    # --- Writing -----------------------------------------------------------------------------------------------------

    def _write(self, batches: Sequence[Batch]) -> list[Appended]:
        known = self._analyses([scene.id for batch in batches for scene in batch.scenes])
        scenes = [self._fresh_scenes(batch, known) for batch in batches]
        self._refuse_orphans(batches, known)
        log = self._fresh_encounters(batches)
        new = [point for fresh in scenes for point in fresh]
        met = [points.encounter_point(encounter) for fresh in log for encounter in fresh]
        if new or met:
            self._opened().insert(new, met)
        return [Appended(scenes=len(s), encounters=len(e)) for s, e in zip(scenes, log, strict=True)]

    def _analyses(self, scene_ids: Sequence[str]) -> dict[str, dict[str, int]]:
        """Scene id -> analysis -> ordinal of what is stored."""
        known: dict[str, dict[str, int]] = {}
        for found in self._select("scenes", "scene", scene_ids, ("scene", "analysis", "ordinal")):
            known.setdefault(found["scene"], {})[found["analysis"]] = found["ordinal"]
        return known

    def _fresh_scenes(self, batch: Batch, known: dict[str, dict[str, int]]) -> list[points.Point]:
        """Points of what is new; it is known from then on."""
        fresh: list[points.Point] = []
        for scene in batch.scenes:
            analyses = known.setdefault(scene.id, {})
            if analysis_of(scene) not in analyses:
                ordinal = analyses[analysis_of(scene)] = 1 + max(analyses.values(), default=0)
                fresh.append(points.scene_point(archived(scene), ordinal))
        return fresh

    def _refuse_orphans(self, batches: Sequence[Batch], known: dict[str, dict[str, int]]) -> None:
        log = [encounter for batch in batches for encounter in batch.encounters]
        named = {encounter.scene_id for encounter in log} - known.keys()
        stored = {found["scene"] for found in self._select("scenes", "scene", sorted(named), ("scene",))}
        refuse_orphans(log, stored | known.keys())

    def _fresh_encounters(self, batches: Sequence[Batch]) -> list[list[Encounter]]:
        ids = list(dict.fromkeys(points.encounter_point_id(e.id) for batch in batches for e in batch.encounters))
        stored = [found["id"] for page in pages(ids) for found in self._opened().fetch("encounters", page, ("id",))]
        known, fresh = set(stored), []
        for batch in batches:
            fresh.append([utc(e) for e in {e.id: e for e in reversed(batch.encounters)}.values() if e.id not in known])
            known |= {encounter.id for encounter in batch.encounters}
        return fresh

    # --- Reading -----------------------------------------------------------------------------------------------------

    def _select(self, kind: points.Kind, field: str, values: Sequence[str], fields: Sequence[str]) -> Iterable[Payload]:
        for page in pages(list(dict.fromkeys(values))):
            yield from self._opened().select(kind, {field: page}, fields)

    def _latest(self, ids: Sequence[str]) -> tuple[dict[str, Scene], list[str]]:
        """The newest analysis by scene id, and the ids that cannot be read."""
        newest: dict[str, Payload] = {}
        for found in self._select("scenes", "scene", ids, _RECORD):
            newest[found["scene"]] = max(newest.get(found["scene"], found), found, key=_age)
        return _read(newest, points.to_scene)

    def _get(self, ids: Sequence[str]) -> tuple[Scene, ...]:
        found, broken = self._latest(ids)
        self._refuse_broken("scene", broken)
        return tuple(found[i] for i in ids if i in found)

    def _encounters(self, scene_ids: Sequence[str] | None) -> tuple[Encounter, ...]:
        if scene_ids is None:
            rows = self._opened().select("encounters", {}, ("id", "scene", "namespace", "chat", "json", "digest"))
        else:
            fields = ("id", "scene", "namespace", "chat", "json", "digest")
            rows = self._select("encounters", "scene", scene_ids, fields)
        found, broken = _read({row["id"]: row for row in rows}, points.to_encounter)
        self._refuse_broken("encounter", broken)
        return tuple(sorted(found.values(), key=lambda e: (e.at, e.id)))

    def _hypertokens(self, namespace: str) -> tuple[Hypertoken, ...]:
        newest: dict[str, Payload] = {}
        fields = ("scene", "analysis", "ordinal", "chain")
        for found in self._opened().select("scenes", {"namespace": [namespace]}, fields):
            newest[found["scene"]] = max(newest.get(found["scene"], found), found, key=_age)
        return repeated(tuple(json.loads(found["chain"])) for found in newest.values())

    def _index(self) -> tuple[list[str], list[str]]:
        names = sorted(found["id"] for found in self._opened().select("encounters", {}, ("id",)))
        return (
            [points.scene_point_id(scene, analysis) for scene, _, analysis in self._stored()],
            [points.encounter_point_id(name) for name in names],
        )

    def _stored(self) -> list[tuple[str, int, str]]:
        """Scene id, ordinal and analysis of every scene point, in the order of an export."""
        return sorted((row["scene"], *_age(row)) for row in self._opened().select("scenes", {}, _RECORD[:3]))

    def _scenes_at(self, handles: Sequence[str]) -> tuple[list[Scene], list[Any]]:
        rows = self._opened().fetch("scenes", handles, (*_RECORD, *points.INDEXED["scenes"]))
        by_handle = {points.scene_point_id(row["scene"], row["analysis"]): row for row in rows}
        found, broken = _read(by_handle, points.to_checked_scene)
        lost = [handle for handle in handles if handle not in by_handle]
        return [found[handle] for handle in handles if handle in found], broken + lost

    def _encounters_at(self, handles: Sequence[str]) -> tuple[list[Encounter], list[Any]]:
        rows = self._opened().fetch("encounters", handles, ("id", "json", "digest", *points.INDEXED["encounters"]))
        by_handle = {points.encounter_point_id(row["id"]): row for row in rows}
        found, broken = _read(by_handle, points.to_encounter)
        lost = [handle for handle in handles if handle not in by_handle]
        return [found[handle] for handle in handles if handle in found], broken + lost

    def _verify(self) -> Verification:
        scenes, log = self._index()
        known = {scene for scene, *_ in self._stored()}
        faults: list[str] = []
        for page in pages(scenes):
            faults += [f"scene point {handle}: damaged" for handle in self._scenes_at(page)[1]]
        for page in pages(log):
            entries, broken = self._encounters_at(page)
            faults += [f"encounter {e.id}: its scene is missing" for e in entries if e.scene_id not in known]
            faults += [f"encounter point {handle}: damaged" for handle in broken]
        return Verification(scenes=len(scenes), encounters=len(log), faults=tuple(faults))

    # --- Finding -----------------------------------------------------------------------------------------------------

    def _find(self, query: Query) -> tuple[Hit, ...]:
        weights = self._weights(query)
        here: Where = {"namespace": [query.namespace], **self._in_chat(query)}
        if not all(here.values()):
            return ()
        structure, overlap, near = _structure(query, here), _overlap(query, weights, here), _near(query, here)
        found = self._opened().search([*structure, *overlap, *near], _FOUND)
        rows = [[(row, score) for row, score in each if row["namespace"] == query.namespace] for each in found]
        same, rest = rows[: len(structure)], rows[len(structure) :]
        proposals = candidates.proposals(
            query,
            weights=weights,
            same=[_candidate(row) for each in same for row, _ in each],
            shared=[_candidate(row) for each in rest[: len(overlap)] for row, _ in each],
            near=_cosines([pair for each in rest[len(overlap) :] for pair in each]),
        )
        return rank(query, proposals, lambda ids: self._latest(ids)[0])

    def _weights(self, query: Query) -> dict[str, float]:
        asked = candidates.asked_lemmas(query)
        if not asked:
            return {}
        wheres: list[Where] = [{"terms": [points.term(query.namespace, lemma)]} for lemma in asked]
        *counts, documents = self._opened().count([*wheres, {"namespace": [query.namespace]}])
        return candidates.telling(dict(zip(asked, counts, strict=True)), documents)

    def _in_chat(self, query: Query) -> Where:
        if query.chat is None:
            return {}
        place: Where = {"namespace": [query.namespace], "chat": [query.chat]}
        return {"scene": sorted({found["scene"] for found in self._opened().select("encounters", place, ("scene",))})}


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


def _age(row: Payload) -> tuple[int, str]:
    """Later analyses are greater. Two processes that analysed a scene at once may have given one ordinal twice."""
    return row["ordinal"], row["analysis"]


def _read(rows: dict[str, Payload], parse: Callable[[Payload], T]) -> tuple[dict[str, T], list[str]]:
    """Records by name, and the names of those that cannot be read."""
    found: dict[str, T] = {}
    broken: list[str] = []
    for name, row in rows.items():
        try:
            found[name] = parse(row)
        except (ArchiveError, InputError, ValueError, KeyError, TypeError):
            broken.append(name)
    return found, broken
