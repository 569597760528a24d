"""The archive in process: for tests and for runs that should leave nothing behind."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Container, Iterable, Sequence
from datetime import datetime

from scenepipe.contracts import Appended, Encounter, Forgotten, Hit, Neighbour, Query, Verification
from scenepipe.facets import answers, asks_encounters, conditions_of, facets_of, meets
from scenepipe.folding.grammar import Grammar, chains_of
from scenepipe.memory import candidates, tombstones
from scenepipe.memory.candidates import Candidate
from scenepipe.memory.neighbours import Company, keys_to_count, strongest
from scenepipe.memory.records import analysis_of
from scenepipe.memory.vectors import VectorIndex, by_scene
from scenepipe.recall import Proposals, archived, lemma_of, own_keys, rank, symbol_keys, utc
from scenepipe.scene import Hypertoken, Scene

Row = tuple[str, str]


class MemoryArchive:
    """Scenes and encounters in dictionaries; gone when the process ends. Behaves as every archive does."""

    def __init__(self) -> None:
        self._scenes: dict[str, dict[str, Scene]] = {}
        self._encounters: dict[str, Encounter] = {}
        self._graves: dict[str, datetime] = {}
        self._vectors: dict[tuple[str, str], VectorIndex[Row]] = {}
        self._grammars: dict[str, Grammar] = {}

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
        stones = tombstones.fresh(encounters, self._graves)
        graves = tombstones.with_fresh(self._graves, stones)
        living = tombstones.living_scenes(scenes, graves)
        kept = {i for i, known in self._scenes.items() if tombstones.living_scenes(known.values(), graves)}
        met = tombstones.living_encounters(encounters, graves, kept | {scene.id for scene in living})
        self._bury(stones)
        new = sum(self._keep(archived(scene)) for scene in living)
        fresh = {e.id: utc(e) for e in reversed(met) if e.id not in self._encounters}
        self._encounters.update(fresh)
        return Appended(scenes=new, encounters=len(fresh) + len(stones))

    def _keep(self, scene: Scene) -> bool:
        analyses = self._scenes.setdefault(scene.id, {})
        analysis = analysis_of(scene)
        if analysis in analyses:
            return False
        analyses[analysis] = scene
        if scene.origin.namespace in self._grammars:
            self._grammars[scene.origin.namespace].put(scene.id, chains_of(scene))
        self._add_vector(scene)
        return True

    def _add_vector(self, scene: Scene) -> None:
        if scene.field and scene.field.vector:
            index = self._vectors.setdefault((scene.origin.namespace, scene.field.vector.encoder), VectorIndex())
            index.add([(scene.id, analysis_of(scene))], [scene.field.vector.data])

    async def forget(self, scene_ids: Sequence[str], *, at: datetime) -> Forgotten:
        """Remove scenes with their encounters; a tombstone for each stays."""
        spaces = {i: next(iter(self._scenes[i].values())).origin.namespace for i in scene_ids if i in self._scenes}
        stones = tombstones.fresh(tombstones.for_each(scene_ids, at, spaces), self._graves)
        return self._bury(stones, everything=True)

    def _bury(self, stones: Sequence[Encounter], *, everything: bool = False) -> Forgotten:
        """Keep these tombstones and remove what they stand for: what is as old as they are, or everything."""
        scenes = met = 0
        for stone in stones:
            self._graves[stone.scene_id] = stone.at
            there = self._scenes.pop(stone.scene_id, {})
            living = [] if everything else tombstones.living_scenes(there.values(), self._graves)
            if living:
                self._scenes[stone.scene_id] = {analysis_of(scene): scene for scene in living}
            gone = [e for e in self._encounters.values() if e.scene_id == stone.scene_id]
            gone = [e for e in gone if not living or e.kind == "forgotten" or e.at <= stone.at]
            for encounter in gone:
                del self._encounters[encounter.id]
            self._encounters[stone.id] = stone
            scenes += len(there) > len(living)
            met += sum(e.kind != "forgotten" for e in gone)
        if scenes:
            self._index()
        return Forgotten(scenes=scenes, encounters=met)

    async def rebuild(self) -> int:
        """Read every scene again for the vectors to search."""
        return self._index()

    def _index(self) -> int:
        self._vectors.clear()
        self._grammars.clear()
        every = [scene for analyses in self._scenes.values() for scene in analyses.values()]
        for scene in every:
            self._add_vector(scene)
        return len(every)

    # --- Reading -----------------------------------------------------------------------------------------------------

    async def get(self, ids: Sequence[str]) -> Sequence[Scene]:
        latest = self._latest(ids)
        return tuple(latest[i] for i in ids if i in latest)

    def _latest(self, ids: Iterable[str]) -> dict[str, Scene]:
        return {i: next(reversed(self._scenes[i].values())) for i in ids if i in self._scenes}

    async def find(self, query: Query) -> Sequence[Hit]:
        return rank(query, self._propose(query), self._latest)

    def _propose(self, query: Query) -> Proposals:
        stored = self._documents(query.namespace)
        weights = candidates.telling(_counts(candidates.asked_lemmas(query), stored), len(stored))
        stored = self._admitted(query, stored)
        return candidates.proposals(
            query,
            weights=weights,
            same=[Candidate(s.id, s.created.isoformat()) for s in stored if _may_be_same(query, s)],
            shared=[Candidate(s.id, s.created.isoformat(), symbol_keys(s)) for s in stored] if weights else (),
            near=self._near(query, {(scene.id, analysis_of(scene)) for scene in stored}),
        )

    def _near(self, query: Query, rows: Container[Row]) -> dict[str, float]:
        index = self._vectors.get((query.namespace, query.encoder or ""))
        if index is None or query.vector is None:
            return {}
        return by_scene(index.search(query.vector, candidates.pool(query), lambda keys: rows))

    def _documents(self, namespace: str) -> list[Scene]:
        every = (scene for analyses in self._scenes.values() for scene in analyses.values())
        return [scene for scene in every if scene.origin.namespace == namespace]

    def _admitted(self, query: Query, stored: list[Scene]) -> list[Scene]:
        """Those that the query's filters leave in."""
        if asks_encounters(query):
            met = {e.scene_id for e in self._encounters.values() if answers(query, e)}
            stored = [scene for scene in stored if scene.id in met]
        conditions = conditions_of(query)
        return [scene for scene in stored if meets(conditions, facets_of(scene))] if conditions else stored

    async def encounters(self, scene_ids: Sequence[str] | None = None) -> Sequence[Encounter]:
        wanted = None if scene_ids is None else set(scene_ids)
        found = [e for e in self._encounters.values() if wanted is None or e.scene_id in wanted]
        return tuple(sorted(found, key=lambda e: (e.at, e.id)))

    async def chat(self, name: str, *, namespace: str = "default") -> Sequence[Encounter]:
        found = [e for e in self._encounters.values() if (e.namespace, e.chat) == (namespace, name)]
        return tuple(sorted(found, key=lambda e: (e.at, e.id)))

    async def hypertokens(self, namespace: str = "default") -> Sequence[Hypertoken]:
        grammar = self._grammars.get(namespace)
        if grammar is None:
            grammar = self._grammars[namespace] = Grammar()
            for scene in self._latest(self._scenes).values():
                if scene.origin.namespace == namespace:
                    grammar.put(scene.id, chains_of(scene))
        return grammar.hypertokens()

    async def neighbours(
        self, symbols: Sequence[str], *, namespace: str = "default", limit: int = 10
    ) -> Sequence[Neighbour]:
        stored = [own_keys(scene) for scene in self._documents(namespace)]
        having = [keys for keys in stored if not set(symbols).isdisjoint(keys)]
        company = Company(Counter(key for keys in having for key in keys), len(having), len(having), len(stored))
        wanted = set(keys_to_count(company, symbols))
        return strongest(company, Counter(key for keys in stored for key in keys if key in wanted), limit)

    async def export(self) -> AsyncIterator[Scene | Encounter]:
        for scene in [scene for i in sorted(self._scenes) for scene in self._scenes[i].values()]:
            yield scene
        for encounter in sorted(self._encounters.values(), key=lambda e: e.id):
            yield encounter
            await asyncio.sleep(0)

    async def verify(self) -> Verification:
        return Verification(scenes=sum(map(len, self._scenes.values())), encounters=len(self._encounters))


def _counts(asked: Iterable[str], stored: Sequence[Scene]) -> Counter[str]:
    """How many of these analyses have each lemma asked for."""
    wanted = set(asked)
    return Counter(lemma for scene in stored for lemma in wanted & set(map(lemma_of, symbol_keys(scene))))


def _may_be_same(query: Query, scene: Scene) -> bool:
    chain = scene.linkage.chain if scene.linkage else ()
    return scene.id == query.scene_id or scene.key == query.key or (bool(chain) and chain == query.linkage)
