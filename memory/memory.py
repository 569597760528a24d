"""The archive in process: for tests and for runs that should leave nothing behind."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence

from scenepipe.contracts import Appended, Encounter, Hit, Query, Verification
from scenepipe.memory import candidates
from scenepipe.memory.candidates import Candidate
from scenepipe.memory.records import analysis_of
from scenepipe.memory.vectors import VectorIndex
from scenepipe.recall import Proposals, archived, lemma_of, rank, refuse_orphans, repeated, symbol_keys, utc
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
        analysis = analysis_of(scene)
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
        stored = self._documents(query.namespace)
        weights = candidates.telling(_counts(query, stored), len(stored))
        if query.chat is not None:
            here = self._in_chat(query)
            stored = [scene for scene in stored if scene.id in here]
        index = self._vectors.get((query.namespace, query.encoder or ""))
        allowed = None if query.chat is None else {scene.id for scene in stored}
        return candidates.proposals(
            query,
            weights=weights,
            same=[Candidate(s.id, s.created.isoformat()) for s in stored if _may_be_same(query, s)],
            shared=[Candidate(s.id, s.created.isoformat(), symbol_keys(s)) for s in stored] if weights else (),
            near=index.search(query.vector, candidates.pool(query), allowed) if index and query.vector else {},
        )

    def _documents(self, namespace: str) -> list[Scene]:
        every = (scene for analyses in self._scenes.values() for scene in analyses.values())
        return [scene for scene in every if scene.origin.namespace == namespace]

    def _in_chat(self, query: Query) -> set[str]:
        place = (query.namespace, query.chat)
        return {e.scene_id for e in self._encounters.values() if (e.namespace, e.chat) == place}

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


def _counts(query: Query, stored: Sequence[Scene]) -> Counter[str]:
    """How many of these analyses have each lemma of the query."""
    asked = set(candidates.asked_lemmas(query))
    return Counter(lemma for scene in stored for lemma in asked & set(map(lemma_of, symbol_keys(scene))))


def _may_be_same(query: Query, scene: Scene) -> bool:
    chain = scene.linkage.chain if scene.linkage else ()
    return scene.id == query.scene_id or scene.key == query.key or (bool(chain) and chain == query.linkage)
