"""What the archive in process is searched by, each kept up to date at the cost of what is new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from scenepipe.contracts import Encounter, Neighbour, Query
from scenepipe.folding.grammar import Grammar, chains_of
from scenepipe.memory import candidates
from scenepipe.memory.candidates import Candidate
from scenepipe.memory.neighbours import Company, keys_to_count, strongest
from scenepipe.memory.records import analysis_of
from scenepipe.memory.vectors import VectorIndex, by_scene
from scenepipe.recall import Proposals, lemma_of, own_keys, symbol_keys
from scenepipe.scene import Hypertoken, Scene

Row = tuple[str, str]
"""Id and analysis of a scene."""
Place = tuple[str, object]


class Space:
    """The scenes of one namespace by id, key, linkage, symbols and vector, with its hypertokens. Not safe for threads."""

    def __init__(self) -> None:
        self._scenes: dict[Row, Scene] = {}
        self._rows: dict[Place, dict[Row, list[str]]] = {}
        self._vectors: dict[str, VectorIndex[Row]] = {}
        self._unread: list[Row] = []
        self._grammar: Grammar | None = None

    def put(self, scene: Scene) -> None:
        """Keep a scene that is not here."""
        row = row_of(scene)
        self._scenes[row] = scene
        for place, keys in _places(scene).items():
            self._rows.setdefault(place, {})[row] = keys
        self._unread.append(row)
        if self._grammar is not None:
            self._grammar.put(scene.id, chains_of(scene))

    def drop(self, scenes: Iterable[Scene]) -> None:
        for scene in scenes:
            row = row_of(scene)
            del self._scenes[row]
            for place in _places(scene):
                del self._rows[place][row]
                if not self._rows[place]:
                    del self._rows[place]
        self._vectors, self._unread, self._grammar = {}, list(self._scenes), None

    # --- What a query finds ------------------------------------------------------------------------------------------

    def propose(self, query: Query, admitted: Callable[[Scene], bool]) -> Proposals:
        """Candidates among the scenes that the query's filters admit."""
        counts = {lemma: len(self._at("lemma", lemma)) for lemma in candidates.asked_lemmas(query)}
        weights = candidates.telling(counts, len(self._scenes))
        shared: dict[Row, list[str]] = {}
        for lemma in weights:
            for row, keys in self._at("lemma", lemma).items():
                shared.setdefault(row, []).extend(keys)
        linkage = self._at("chain", query.linkage) if query.linkage else ()
        same = [*self._at("id", query.scene_id), *self._at("key", query.key), *linkage]
        return candidates.proposals(
            query,
            weights=weights,
            same=self._candidates({row: [] for row in same}, admitted),
            shared=self._candidates(shared, admitted),
            near=self._near(query, admitted),
        )

    def _at(self, kind: str, value: object) -> dict[Row, list[str]]:
        return self._rows.get((kind, value), {})

    def _candidates(self, keys: dict[Row, list[str]], admitted: Callable[[Scene], bool]) -> Iterator[Candidate]:
        for row in keys:
            scene = self._scenes[row]
            if admitted(scene):
                yield Candidate(scene.id, scene.created.isoformat(), keys[row])

    def _near(self, query: Query, admitted: Callable[[Scene], bool]) -> dict[str, float]:
        self._read_vectors()
        index = self._vectors.get(query.encoder or "")
        if index is None or query.vector is None:
            return {}

        def allowed(rows: Sequence[Row]) -> set[Row]:
            return {row for row in rows if admitted(self._scenes[row])}

        return by_scene(index.search(query.vector, candidates.pool(query), allowed))

    def _read_vectors(self) -> None:
        """Add the vectors that are new since the last search, or all of them after a removal."""
        fresh: dict[str, list[tuple[Row, bytes]]] = {}
        for row in self._unread:
            field = self._scenes[row].field
            if field and field.vector:
                fresh.setdefault(field.vector.encoder, []).append((row, field.vector.data))
        self._unread = []
        for encoder, found in fresh.items():
            index = self._vectors.setdefault(encoder, VectorIndex())
            index.add([row for row, _ in found], [vector for _, vector in found])

    # --- What is derived ---------------------------------------------------------------------------------------------

    def hypertokens(self) -> Sequence[Hypertoken]:
        if self._grammar is None:
            self._grammar = Grammar()
            for scene in self._scenes.values():  # of several analyses the last one counts
                self._grammar.put(scene.id, chains_of(scene))
        return self._grammar.hypertokens()

    def neighbours(self, symbols: Sequence[str], limit: int) -> Sequence[Neighbour]:
        having = dict.fromkeys(row for key in symbols for row in self._at("own", key))
        together = Counter(key for row in having for key in own_keys(self._scenes[row]))
        company = Company(together, len(having), len(having), len(self._scenes))
        counts = {key: len(self._at("own", key)) for key in keys_to_count(company, symbols)}
        return strongest(company, counts, limit)


class Log:
    """Encounters by id, scene and chat."""

    def __init__(self) -> None:
        self._all: dict[str, Encounter] = {}
        self._by: dict[Place, dict[str, Encounter]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, name: object) -> bool:
        return name in self._all

    def __iter__(self) -> Iterator[Encounter]:
        return iter(self._all.values())

    def put(self, encounter: Encounter) -> None:
        self._all[encounter.id] = encounter
        for place in _log_places(encounter):
            self._by.setdefault(place, {})[encounter.id] = encounter

    def drop(self, encounter: Encounter) -> None:
        del self._all[encounter.id]
        for place in _log_places(encounter):
            del self._by[place][encounter.id]
            if not self._by[place]:
                del self._by[place]

    def of_scenes(self, scene_ids: Iterable[str]) -> list[Encounter]:
        return [each for name in dict.fromkeys(scene_ids) for each in self._by.get(("scene", name), {}).values()]

    def of_chat(self, name: str, namespace: str) -> list[Encounter]:
        return list(self._by.get(("chat", (namespace, name)), {}).values())


def row_of(scene: Scene) -> Row:
    return scene.id, analysis_of(scene)


def _places(scene: Scene) -> dict[Place, list[str]]:
    """What a scene is found by; beside a lemma, the keys that have it."""
    found: dict[Place, list[str]] = {("id", scene.id): [], ("key", scene.key): []}
    if scene.linkage and scene.linkage.chain:
        found["chain", scene.linkage.chain] = []
    for key in own_keys(scene):
        found["own", key] = []
    for key in symbol_keys(scene):
        found.setdefault(("lemma", lemma_of(key)), []).append(key)
    return found


def _log_places(encounter: Encounter) -> Iterator[Place]:
    yield "scene", encounter.scene_id
    if encounter.chat is not None:
        yield "chat", (encounter.namespace, encounter.chat)
