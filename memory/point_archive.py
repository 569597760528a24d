"""An archive in a vector engine: what is written in which order, and how records are found and read back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from scenepipe.contracts import Appended, Encounter, Forgotten, Hit, Neighbour, Query, Verification
from scenepipe.errors import ArchiveError, InputError
from scenepipe.memory import point_find, point_forget, points, tombstones
from scenepipe.memory.neighbours import keys_to_count, strongest
from scenepipe.memory.point_engine import INDEXED, Engine, Outage, Payload, Point, age, select_in
from scenepipe.memory.point_grammar import Grammars
from scenepipe.memory.records import analysis_of
from scenepipe.memory.tombstones import Graves
from scenepipe.memory.worker import Batch, WorkerArchive, pages
from scenepipe.recall import archived, rank, utc
from scenepipe.scene import Hypertoken, Scene

T = TypeVar("T")

_LOGGED = ("id", "at", "json", "digest", *INDEXED["encounters"])
_RECORD = ("scene", "analysis", "ordinal", "json", "digest")
_WHOLE = (*_RECORD, *INDEXED["scenes"], "created", "keys", "own", "chains", "figures")


class PointArchive(WorkerArchive):
    """Scenes and encounters as two collections of an engine.

    Points are only ever inserted, under ids made from what they hold, so every write may be repeated and two
    processes may write the same. Scenes are on disk before the encounters that name them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._engine: Engine | None = None
        self._grammars = Grammars()

    @abstractmethod
    def _make_engine(self) -> Engine: ...

    def _open(self) -> None:
        self._engine = self._make_engine()
        self.name = self._engine.name
        self._engine.open()
        if self._engine.outdated:
            self._rebuild()
            self._engine.mark_current()

    def _close(self) -> None:
        engine, self._engine = self._engine, None
        self._grammars.clear()
        if engine is not None:
            engine.close()

    def _is_outage(self, error: Exception) -> bool:
        return isinstance(error, Outage)

    def _opened(self) -> Engine:
        if self._engine is None:
            raise ArchiveError(f"archive {self.name} is closed; await open() first")
        return self._engine

    # --- Writing -----------------------------------------------------------------------------------------------------

    def _write(self, batches: Sequence[Batch]) -> list[Appended]:
        log = [encounter for batch in batches for encounter in batch.encounters]
        ids = [scene.id for batch in batches for scene in batch.scenes] + [e.scene_id for e in log]
        before = point_forget.graves(self._opened(), ids)
        stones = tombstones.fresh(log, before)
        graves = tombstones.with_fresh(before, stones)
        known = self._analyses(ids, graves)
        scenes = [self._fresh_scenes(tombstones.living_scenes(batch.scenes, graves), known) for batch in batches]
        met = self._fresh_encounters([tombstones.living_encounters(b.encounters, graves, known) for b in batches])
        if stones:
            point_forget.bury(self._opened(), stones)
            self._grammars.clear()
        self._insert([point for each in scenes for point in each], [e for each in met for e in each], graves)
        marks = _counted(batches, stones)
        return [Appended(scenes=len(s), encounters=len(e) + n) for s, e, n in zip(scenes, met, marks, strict=True)]

    def _insert(self, scenes: Sequence[Point], met: Sequence[Encounter], graves: Graves) -> None:
        if not scenes and not met:
            return
        engine = self._opened()
        engine.insert(scenes, [points.encounter_point(encounter) for encounter in met])
        self._grammars.wrote(scenes)
        if engine.shared:
            # Another process that forgot one of them meanwhile may have looked before they were there.
            ids = [point.payload["scene"] for point in scenes] + [encounter.scene_id for encounter in met]
            now = point_forget.graves(engine, ids)
            point_forget.remove_buried(engine, {name: at for name, at in now.items() if graves.get(name) != at})

    def _tidy(self) -> None:
        self._opened().tidy()

    def _analyses(self, scene_ids: Sequence[str], graves: Graves) -> dict[str, dict[str, int]]:
        """Scene id -> analysis -> ordinal of what is stored and not as old as a tombstone."""
        known: dict[str, dict[str, int]] = {}
        for found in select_in(
            self._opened(), "scenes", "scene", scene_ids, ("scene", "analysis", "ordinal", "created")
        ):
            if not tombstones.is_buried(found["scene"], found["created"], graves):
                known.setdefault(found["scene"], {})[found["analysis"]] = found["ordinal"]
        return known

    def _fresh_scenes(self, scenes: Sequence[Scene], known: dict[str, dict[str, int]]) -> list[Point]:
        """Points of what is new; it is known from then on."""
        fresh: list[Point] = []
        for scene in scenes:
            analyses = known.setdefault(scene.id, {})
            if analysis_of(scene) not in analyses:
                ordinal = analyses[analysis_of(scene)] = 1 + max(analyses.values(), default=0)
                fresh.append(points.scene_point(archived(scene), ordinal))
        return fresh

    def _fresh_encounters(self, batches: Sequence[Sequence[Encounter]]) -> list[list[Encounter]]:
        ids = list(dict.fromkeys(points.encounter_point_id(e.id) for batch in batches for e in batch))
        stored = [found["id"] for page in pages(ids) for found in self._opened().fetch("encounters", page, ("id",))]
        known, fresh = set(stored), []
        for batch in batches:
            fresh.append([utc(e) for e in {e.id: e for e in reversed(batch)}.values() if e.id not in known])
            known |= {encounter.id for encounter in batch}
        return fresh

    def _forget(self, scene_ids: Sequence[str], at: datetime) -> Forgotten:
        self._grammars.clear()
        done = point_forget.forget(self._opened(), scene_ids, at)
        self._opened().compact()  # also after a crash between removing and this
        return done

    def _rebuild(self) -> int:
        """Write every record that can be read again, with its fields and vectors made from it."""
        engine, count = self._opened(), 0
        self._grammars.clear()
        scenes, log = self._index()
        for page in pages(scenes):
            rows = engine.fetch("scenes", page, _RECORD)
            found, _ = _read({f"{row['scene']} {row['analysis']}": row for row in rows}, _again)
            engine.replace("scenes", list(found.values()))
            count += len(found)
        for page in pages(log):
            met, _ = _read({row["id"]: row for row in engine.fetch("encounters", page, _LOGGED)}, points.to_encounter)
            engine.replace("encounters", [points.encounter_point(encounter) for encounter in met.values()])
        engine.compact()
        return count

    # --- Reading -----------------------------------------------------------------------------------------------------

    def _latest(self, ids: Sequence[str]) -> tuple[dict[str, Scene], list[str]]:
        """The newest analysis by scene id, and the ids that cannot be read."""
        newest: dict[str, Payload] = {}
        for found in select_in(self._opened(), "scenes", "scene", ids, _RECORD):
            newest[found["scene"]] = max(newest.get(found["scene"], found), found, key=age)
        return _read(newest, points.to_scene)

    def _get(self, ids: Sequence[str]) -> tuple[Scene, ...]:
        found, broken = self._latest(ids)
        self._refuse_broken("scene", broken)
        return tuple(found[i] for i in ids if i in found)

    def _encounters(self, scene_ids: Sequence[str] | None) -> tuple[Encounter, ...]:
        if scene_ids is None:
            return self._logged(self._opened().select("encounters", {}, _LOGGED))
        return self._logged(select_in(self._opened(), "encounters", "scene", scene_ids, _LOGGED))

    def _chat(self, name: str, namespace: str) -> tuple[Encounter, ...]:
        return self._logged(self._opened().select("encounters", {"namespace": [namespace], "chat": [name]}, _LOGGED))

    def _logged(self, rows: Iterable[Payload]) -> tuple[Encounter, ...]:
        """Encounters in the order of their time."""
        found, broken = _read({row["id"]: row for row in rows}, points.to_checked_encounter)
        self._refuse_broken("encounter", broken)
        return tuple(sorted(found.values(), key=lambda e: (e.at, e.id)))

    def _hypertokens(self, namespace: str) -> tuple[Hypertoken, ...]:
        return self._grammars.hypertokens(self._opened(), namespace)

    def _index(self) -> tuple[list[str], list[str]]:
        return _handles(self._stored()), self._operations()

    def _stored(self) -> list[tuple[str, int, str]]:
        """Scene id, ordinal and analysis of every scene point, in the order of an export."""
        return sorted((row["scene"], *age(row)) for row in self._opened().select("scenes", {}, _RECORD[:3]))

    def _operations(self) -> list[str]:
        names = sorted(found["id"] for found in self._opened().select("encounters", {}, ("id",)))
        return [points.encounter_point_id(name) for name in names]

    def _scenes_at(
        self, handles: Sequence[str], parse: Callable[[Payload], Scene] = points.to_scene
    ) -> tuple[list[Scene], list[Any]]:
        rows = self._opened().fetch("scenes", handles, _WHOLE)
        by_handle = {points.scene_point_id(row["scene"], row["analysis"]): row for row in rows}
        found, broken = _read(by_handle, parse)
        lost = self._lost(0, [handle for handle in handles if handle not in by_handle])
        return [found[handle] for handle in handles if handle in found], broken + lost

    def _encounters_at(
        self, handles: Sequence[str], parse: Callable[[Payload], Encounter] = points.to_encounter
    ) -> tuple[list[Encounter], list[Any]]:
        rows = self._opened().fetch("encounters", handles, _LOGGED)
        by_handle = {points.encounter_point_id(row["id"]): row for row in rows}
        found, broken = _read(by_handle, parse)
        lost = self._lost(1, [handle for handle in handles if handle not in by_handle])
        return [found[handle] for handle in handles if handle in found], broken + lost

    def _lost(self, kind: int, handles: list[str]) -> list[str]:
        """Those that are still listed; others were forgotten since the list was made."""
        return sorted(set(handles) & set(self._index()[kind])) if handles else []

    def _verify(self) -> Verification:
        stored, log = self._stored(), self._operations()
        known = {scene for scene, *_ in stored}
        graves = point_forget.graves(self._opened())
        faults: list[str] = []
        for page in pages(_handles(stored)):
            found, broken = self._scenes_at(page, points.to_checked_scene)
            faults += [f"scene point {handle}: damaged" for handle in broken]
            faults += [f"scene {s.id}: it was forgotten" for s in found if tombstones.buried(s.id, s.created, graves)]
        for page in pages(log):
            entries, broken = self._encounters_at(page, points.to_checked_encounter)
            faults += [f"encounter point {handle}: damaged" for handle in broken]
            for e in (e for e in entries if e.kind != "forgotten"):
                faults += [f"encounter {e.id}: its scene is missing"] if e.scene_id not in known else []
                faults += [f"encounter {e.id}: it was forgotten"] if tombstones.buried(e.scene_id, e.at, graves) else []
        return Verification(scenes=len(stored), encounters=len(log), faults=tuple(faults))

    # --- Finding -----------------------------------------------------------------------------------------------------

    def _find(self, query: Query) -> tuple[Hit, ...]:
        return rank(query, point_find.propose(self._opened(), query), lambda ids: self._latest(ids)[0])

    def _neighbours(self, symbols: Sequence[str], namespace: str, limit: int) -> tuple[Neighbour, ...]:
        company = point_find.company(self._opened(), symbols, namespace)
        keys = keys_to_count(company, symbols)
        counts = self._opened().count([{"terms": [points.key_term(namespace, key)]} for key in keys]) if keys else []
        return strongest(company, dict(zip(keys, counts, strict=True)), limit)


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


def _handles(stored: Iterable[tuple[str, int, str]]) -> list[str]:
    return [points.scene_point_id(scene, analysis) for scene, _, analysis in stored]


def _again(row: Payload) -> Point:
    """The point of a scene, made from its record."""
    return points.scene_point(points.to_scene(row), row["ordinal"])


def _counted(batches: Sequence[Batch], stones: Sequence[Encounter]) -> list[int]:
    """How many of these tombstones each batch brought first."""
    left, counts = {stone.id for stone in stones}, []
    for batch in batches:
        mine = left & {encounter.id for encounter in batch.encounters}
        counts.append(len(mine))
        left -= mine
    return counts
