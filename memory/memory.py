"""The archive in process: for tests and for runs that should leave nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Container, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, TypeVar

from scenepipe.contracts import Appended, Encounter, Forgotten, Hit, Neighbour, Query, Verification
from scenepipe.facets import answers, asks_encounters, conditions_of, facets_of, meets
from scenepipe.memory import tombstones
from scenepipe.memory.memory_index import Log, Row, Space, row_of
from scenepipe.memory.records import analysis_of
from scenepipe.recall import archived, rank, utc
from scenepipe.scene import Hypertoken, Scene

Name = Row | str
Record = TypeVar("Record", Scene, Encounter)


class Change(NamedTuple):
    """What a write does: records go, their tombstones stay, and new records come."""

    gone: Sequence[Scene | Encounter] = ()
    stones: Sequence[Encounter] = ()
    scenes: Sequence[Scene] = ()
    encounters: Sequence[Encounter] = ()

    @property
    def new(self) -> list[Scene | Encounter]:
        return [*self.stones, *self.scenes, *self.encounters]

    @property
    def appended(self) -> Appended:
        return Appended(scenes=len(self.scenes), encounters=len(self.stones) + len(self.encounters))

    @property
    def forgotten(self) -> Forgotten:
        scenes = {record.id for record in self.gone if isinstance(record, Scene)}
        met = [record for record in self.gone if isinstance(record, Encounter) and record.kind != "forgotten"]
        return Forgotten(scenes=len(scenes), encounters=len(met))


class MemoryArchive:
    """Scenes and encounters in dictionaries; gone when the process ends. Behaves as every archive does."""

    def __init__(self) -> None:
        self._scenes: dict[str, dict[str, Scene]] = {}
        self._spaces: dict[str, Space] = {}
        self._log = Log()
        self._graves: dict[str, datetime] = {}

    async def open(self) -> None:
        """Nothing to open."""

    async def aclose(self) -> None:
        """Nothing to close; what was written stays until the object goes."""

    # --- Writing -----------------------------------------------------------------------------------------------------

    async def append(self, scenes: Sequence[Scene], encounters: Sequence[Encounter]) -> Appended:
        """Keep what is new and was not forgotten.

        Raises:
            ArchiveError: an encounter names a scene that is not here; nothing was kept.
        """
        change = self._appending(scenes, encounters)
        self._apply(change)
        return change.appended

    def _appending(self, scenes: Sequence[Scene], encounters: Sequence[Encounter]) -> Change:
        """What `append` would do; nothing is changed."""
        stones = tombstones.fresh(encounters, self._graves)
        graves = tombstones.with_fresh(self._graves, stones)
        living = tombstones.living_scenes(scenes, graves)
        named = {encounter.scene_id for encounter in encounters} & self._scenes.keys()
        kept = {i for i in named if tombstones.living_scenes(self._scenes[i].values(), graves)}
        met = tombstones.living_encounters(encounters, graves, kept | {scene.id for scene in living})
        gone = self._gone(stones)
        names = {name_of(record) for record in gone}
        new = self._new(living, names)
        return Change(gone, stones, [archived(scene) for scene in new], [utc(each) for each in self._new(met, names)])

    def _new(self, records: Sequence[Record], gone: Container[Name]) -> list[Record]:
        """Those that are not here, or not any more; of equal names the first."""
        first = {name_of(record): record for record in reversed(records)}
        return [first[name] for name in reversed(first) if name in gone or not self._has(name)]

    def _has(self, name: Name) -> bool:
        return name in self._log if isinstance(name, str) else name[1] in self._scenes.get(name[0], {})

    def _apply(self, change: Change) -> None:
        self._drop(change.gone)
        for stone in change.stones:
            self._graves[stone.scene_id] = stone.at
            self._log.put(stone)
        for scene in change.scenes:
            self._keep(scene)
        for encounter in change.encounters:
            self._log.put(encounter)

    def _keep(self, scene: Scene) -> None:
        self._scenes.setdefault(scene.id, {})[analysis_of(scene)] = scene
        self._spaces.setdefault(scene.origin.namespace, Space()).put(scene)

    async def forget(self, scene_ids: Sequence[str], *, at: datetime) -> Forgotten:
        """Remove scenes with their encounters; a tombstone for each stays."""
        change = self._forgetting(scene_ids, at)
        self._apply(change)
        return change.forgotten

    def _forgetting(self, scene_ids: Sequence[str], at: datetime) -> Change:
        """What `forget` would do; nothing is changed."""
        spaces = {i: next(iter(self._scenes[i].values())).origin.namespace for i in scene_ids if i in self._scenes}
        stones = tombstones.fresh(tombstones.for_each(scene_ids, at, spaces), self._graves)
        return Change(self._gone(stones, everything=True), stones)

    def _gone(self, stones: Sequence[Encounter], *, everything: bool = False) -> list[Scene | Encounter]:
        """What goes with these tombstones: what is as old as they are, or everything; and encounters without a scene."""
        at = {stone.scene_id: stone.at for stone in stones}
        gone: list[Scene | Encounter] = []
        living: set[str] = set()
        for scene in (scene for name in at for scene in self._scenes.get(name, {}).values()):
            if everything or tombstones.buried(scene.id, scene.created, at):
                gone.append(scene)
            else:
                living.add(scene.id)
        for each in self._log.of_scenes(at):
            if each.scene_id not in living or each.kind == "forgotten" or each.at <= at[each.scene_id]:
                gone.append(each)
        return gone

    def _drop(self, gone: Sequence[Scene | Encounter]) -> None:
        dropped: dict[str, list[Scene]] = {}
        for record in gone:
            if isinstance(record, Encounter):
                self._log.drop(record)
                continue
            dropped.setdefault(record.origin.namespace, []).append(record)
            del self._scenes[record.id][analysis_of(record)]
            if not self._scenes[record.id]:
                del self._scenes[record.id]
        for namespace, scenes in dropped.items():
            self._spaces[namespace].drop(scenes)

    async def rebuild(self) -> int:
        """Read every scene again for what it is found by."""
        self._spaces.clear()
        every = [scene for analyses in self._scenes.values() for scene in analyses.values()]
        for scene in every:
            self._spaces.setdefault(scene.origin.namespace, Space()).put(scene)
        return len(every)

    # --- Reading -----------------------------------------------------------------------------------------------------

    async def get(self, ids: Sequence[str]) -> Sequence[Scene]:
        latest = self._latest(ids)
        return tuple(latest[i] for i in ids if i in latest)

    def _latest(self, ids: Iterable[str]) -> dict[str, Scene]:
        return {i: next(reversed(self._scenes[i].values())) for i in ids if i in self._scenes}

    async def find(self, query: Query) -> Sequence[Hit]:
        return rank(query, self._space(query.namespace).propose(query, self._filter(query)), self._latest)

    def _filter(self, query: Query) -> Callable[[Scene], bool]:
        """Whether a scene passes the query's filters."""
        met = {e.scene_id for e in self._log if answers(query, e)} if asks_encounters(query) else None
        conditions = conditions_of(query)

        def admitted(scene: Scene) -> bool:
            return (met is None or scene.id in met) and (not conditions or meets(conditions, facets_of(scene)))

        return admitted

    def _space(self, namespace: str) -> Space:
        return self._spaces.get(namespace, Space())

    async def encounters(self, scene_ids: Sequence[str] | None = None) -> Sequence[Encounter]:
        found = self._log if scene_ids is None else self._log.of_scenes(scene_ids)
        return tuple(sorted(found, key=lambda e: (e.at, e.id)))

    async def chat(self, name: str, *, namespace: str = "default") -> Sequence[Encounter]:
        return tuple(sorted(self._log.of_chat(name, namespace), key=lambda e: (e.at, e.id)))

    async def hypertokens(self, namespace: str = "default") -> Sequence[Hypertoken]:
        return self._space(namespace).hypertokens()

    async def neighbours(
        self, symbols: Sequence[str], *, namespace: str = "default", limit: int = 10
    ) -> Sequence[Neighbour]:
        return self._space(namespace).neighbours(symbols, limit)

    async def export(self) -> AsyncIterator[Scene | Encounter]:
        for scene in [scene for i in sorted(self._scenes) for scene in self._scenes[i].values()]:
            yield scene
        for encounter in sorted(self._log, key=lambda e: e.id):
            yield encounter
            await asyncio.sleep(0)

    async def verify(self) -> Verification:
        return Verification(scenes=sum(map(len, self._scenes.values())), encounters=len(self._log))


def name_of(record: Scene | Encounter) -> Name:
    """What there is one record of: a scene with its analysis, or the operation."""
    return row_of(record) if isinstance(record, Scene) else record.id
