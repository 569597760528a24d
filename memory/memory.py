"""The archive in process: for tests and for runs that should leave nothing behind."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence

from scenepipe.contracts import Appended, Encounter, Hit, Query, Verification
from scenepipe.memory.vectors import VectorIndex
from scenepipe.recall import (
    Proposals,
    archived,
    lemma_of,
    query_keys,
    rank,
    refuse_orphans,
    repeated,
    symbol_keys,
    utc,
)
from scenepipe.scene import Hypertoken, Scene


class MemoryArchive:
    """Scenes and encounters in dictionaries; gone when the process ends. Behaves as every archive does."""

    def __init__(self) -> None:
        self._scenes: dict[str, dict[str, Scene]] = {}
        self._encounters: dict[str, Encounter] = {}
        self._vectors: dict[tuple[str, str], VectorIndex] = {}

    async def open(self) -> None:
        """Nothing to open."""

    async def aclose(self) -> None:
        """Nothing to close; what was written stays until the object goes."""

    async def append(self, scenes: Sequence[Scene], encounters: Sequence[Encounter]) -> Appended:
        """Keep what is new.

        Raises:
            ArchiveError: an encounter names a scene that is not here; nothing was kept.
        """
        known = self._scenes.keys() | {scene.id for scene in scenes}
        refuse_orphans(encounters, known)
        new = sum(self._keep(archived(scene)) for scene in scenes)
        fresh = {e.id: utc(e) for e in reversed(encounters) if e.id not in self._encounters}
        self._encounters.update(fresh)
        return Appended(scenes=new, encounters=len(fresh))

    def _keep(self, scene: Scene) -> bool:
        analyses = self._scenes.setdefault(scene.id, {})
        analysis = scene.analysis.id if scene.analysis else ""
        if analysis in analyses:
            return False
        analyses[analysis] = scene
        if scene.field and scene.field.vector:
            index = self._vectors.setdefault((scene.origin.namespace, scene.field.vector.encoder), VectorIndex())
            index.add([scene.id], [scene.field.vector.data])
        return True

    async def get(self, ids: Sequence[str]) -> Sequence[Scene]:
        latest = self._latest(ids)
        return tuple(latest[i] for i in ids if i in latest)

    def _latest(self, ids: Iterable[str]) -> dict[str, Scene]:
        return {i: next(reversed(self._scenes[i].values())) for i in ids if i in self._scenes}

    async def find(self, query: Query) -> Sequence[Hit]:
        return rank(query, self._propose(query), self._latest)

    def _propose(self, query: Query) -> Proposals:
        scenes = {i: s for i, s in self._latest(self._scenes).items() if s.origin.namespace == query.namespace}
        if query.chat is not None:
            here = {
                e.scene_id for e in self._encounters.values() if (e.namespace, e.chat) == (query.namespace, query.chat)
            }
            scenes = {i: s for i, s in scenes.items() if i in here}
        mine = set(query_keys(query))
        lemmas = {lemma_of(key) for key in mine}
        keys = {i: set(symbol_keys(s)) for i, s in scenes.items()}
        words = {i: {lemma_of(key) for key in found} & lemmas for i, found in keys.items()}
        rarity = Counter(word for found in words.values() for word in found)
        shared = [i for i in reversed(scenes) if words[i]]
        index = self._vectors.get((query.namespace, query.encoder or ""))
        limit = len(self._scenes) + 1
        return Proposals(
            same=[i for i, s in scenes.items() if _may_be_same(query, s)],
            symbols=sorted(shared, key=lambda i: (-len(keys[i] & mine), -len(words[i]))),
            words=sorted(shared, key=lambda i: -math.fsum(math.log1p(len(scenes) / rarity[w]) for w in words[i])),
            near=index.search(query.vector, limit, scenes) if index and query.vector else {},
        )

    async def encounters(self, scene_ids: Sequence[str] | None = None) -> Sequence[Encounter]:
        wanted = None if scene_ids is None else set(scene_ids)
        found = [e for e in self._encounters.values() if wanted is None or e.scene_id in wanted]
        return tuple(sorted(found, key=lambda e: (e.at, e.id)))

    async def hypertokens(self, namespace: str = "default") -> Sequence[Hypertoken]:
        latest = self._latest(self._scenes).values()
        return repeated(s.linkage.chain for s in latest if s.linkage and s.origin.namespace == namespace)

    async def export(self) -> AsyncIterator[Scene | Encounter]:
        for scene_id in sorted(self._scenes):
            for scene in tuple(self._scenes[scene_id].values()):
                yield scene
        for encounter_id in sorted(self._encounters):
            yield self._encounters[encounter_id]
            await asyncio.sleep(0)

    async def verify(self) -> Verification:
        return Verification(scenes=sum(map(len, self._scenes.values())), encounters=len(self._encounters))


def _may_be_same(query: Query, scene: Scene) -> bool:
    chain = scene.linkage.chain if scene.linkage else ()
    return scene.id == query.scene_id or scene.key == query.key or (bool(chain) and chain == query.linkage)
