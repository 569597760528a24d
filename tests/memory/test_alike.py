"""Random archives and queries: every store recalls what the plain archive recalls, in its order and for its reasons."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest

from scenepipe.contracts import Archive, Encounter, EncounterKind, Neighbour, Query
from scenepipe.memory import point_find
from scenepipe.memory.memory import MemoryArchive
from scenepipe.memory.sql_filter import Filter
from scenepipe.scene import Scene
from scenepipe.testing.archive_filters import coloured
from scenepipe.testing.archive_suite import ENCODER, NOON, encounter_of, scene_of

Found = list[list[tuple[str, float, tuple[str, ...]]]]
KINDS: tuple[EncounterKind, ...] = ("met", "met", "spoken", "read", "linked")
LEMMAS = ("шаг", "дом", "ход", "тьма", "step", "home", "not", "тишина", "вход")


def some_keys(chance: random.Random) -> list[str]:
    lemmas = chance.sample(LEMMAS, chance.randrange(0, 5))
    return [chance.choice(("", "", "", "не:", "not:")) + lemma for lemma in lemmas]


def some_archive(chance: random.Random) -> tuple[list[Scene], list[Encounter]]:
    """Scenes with repeated texts, several analyses, namespaces, lengths of vectors and chats."""
    scenes = []
    for _ in range(70):
        keys = some_keys(chance)
        vector = [chance.randrange(-127, 128) for _ in range(chance.choice((2, 3, 3, 3)))]
        scene = scene_of(
            f"текст {chance.randrange(50)}",
            keys,
            linkage=keys[: chance.randrange(0, 3)],
            vector=vector if chance.random() < 0.8 else None,
            namespace=chance.choice(("default", "default", "чужой")),
            analysers=(f"suite@{chance.randrange(2)}",),
        )
        scenes.append(some_colours(chance, scene).with_(created=NOON + timedelta(minutes=chance.randrange(10))))
    log = [
        encounter_of(chance.choice(scenes), f"{n}", kind=chance.choice(KINDS), chat=chance.choice("abc"), minutes=n)
        for n in range(60)
    ]
    return scenes, log


def some_colours(chance: random.Random, scene: Scene) -> Scene:
    """What is filtered by; some of it unknown."""
    measures = {name: chance.uniform(-1, 1) for name in ("valence", "arousal", "dominance") if chance.random() < 0.7}
    if chance.random() < 0.7:
        measures["tension"] = chance.random()
    registers = dict.fromkeys(chance.sample(("poet", "body", "logician"), chance.randrange(3)), 0.25)
    return coloured(scene, registers, chance.randrange(4), **measures)


def some_filters(chance: random.Random) -> dict[str, object]:
    every: dict[str, object] = {
        "chat": chance.choice("abc"),
        "kinds": tuple(chance.sample(KINDS, 2)),
        "since": NOON + timedelta(minutes=chance.randrange(40)),
        "until": NOON + timedelta(minutes=chance.randrange(20, 60)),
        "registers": tuple(chance.sample(("poet", "body"), chance.randrange(1, 3))),
        "codes": ("Δ1@c1", "Δ2@c1"),
        "ranges": {"valence": (chance.uniform(-1, 0), chance.uniform(0, 1)), "tension": (0.0, chance.random())},
    }
    return {name: every[name] for name in chance.sample(sorted(every), chance.choice((0, 0, 1, 2)))}


def some_query(chance: random.Random, scenes: list[Scene]) -> Query:
    known, keys = chance.choice(scenes), some_keys(chance)
    near = known.field.vector.data if known.field and known.field.vector else None
    return Query.model_validate(
        dict(
            namespace=chance.choice(("default", "default", "чужой")),
            scene_id=chance.choice((None, known.id)),
            key=chance.choice((None, known.key)),
            linkage=tuple(keys[:2]) or (known.linkage.chain if known.linkage else ()),
            symbols=tuple(keys),
            vector=near,
            encoder=chance.choice((ENCODER, ENCODER, "other@1")),
            exclude=tuple(scene.id for scene in chance.sample(scenes, 3)),
            limit=chance.choice((1, 3, 10, 40)),
            **some_filters(chance),
        )
    )


async def found(archive: Archive, seed: int) -> tuple[Found, list[Sequence[Neighbour]]]:
    """Hits of many queries and neighbours of every lemma, after some scenes were forgotten."""
    chance = random.Random(seed)
    scenes, log = some_archive(chance)
    await archive.open()
    for start in range(0, len(scenes), 20):
        await archive.append(scenes[start : start + 20], [])
    await archive.append([], log)
    await archive.forget([scene.id for scene in chance.sample(scenes, 5)], at=NOON + timedelta(minutes=5))
    queries = [some_query(chance, scenes) for _ in range(25)]
    hits = [[(h.scene.id, h.score, h.reasons) for h in await archive.find(query)] for query in queries]
    near = [await archive.neighbours([key, "не:дом"]) for key in LEMMAS]
    await archive.aclose()
    return hits, near


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["sqlite", "postgres", "qdrant", "qdrant-edge", "redis", "weaviate"])
def test_every_store_recalls_alike(store: Callable[[str], Archive], kind: str, seed: int) -> None:
    expected = asyncio.run(found(MemoryArchive(), seed))
    assert sum(map(len, expected[0])) > 60
    assert sum(map(len, expected[1])) > 30
    assert asyncio.run(found(store(kind), seed)) == expected


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "qdrant", "qdrant-edge", "redis", "weaviate"])
def test_filters_that_many_pass_are_the_same_filters(
    store: Callable[[str], Archive], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter that few records pass is asked as a list of them, another one is checked for what was found."""
    monkeypatch.setattr(point_find, "FEW", -1)
    monkeypatch.setattr(Filter, "_are_few", lambda *_: False)
    assert asyncio.run(found(store(kind), 0)) == asyncio.run(found(MemoryArchive(), 0))


async def history(archive: Archive, seed: int) -> list[object]:
    """Appends, tombstones that arrive among other records, and forgetting, at all times; then everything that is left."""
    chance = random.Random(seed)
    await archive.open()
    done: list[object] = []
    for step in range(60):
        texts = [f"текст {chance.randrange(6)}" for _ in range(chance.randrange(4))]
        scenes = [
            scene_of(text, ["шаг"], vector=[100, 1], analysers=(f"a@{chance.randrange(2)}",)).with_(
                created=NOON + timedelta(minutes=step + chance.randrange(-20, 20))
            )
            for text in texts
        ]
        kinds = [chance.choice(("met", "met", "met", "spoken", "forgotten")) for _ in scenes]
        log = [
            encounter_of(scene, f"{step}-{n}", kind=kind, minutes=step + chance.randrange(-20, 20))  # type: ignore[arg-type]
            for n, (scene, kind) in enumerate(zip(scenes, kinds, strict=True))
        ]
        done.append(await archive.append(scenes, log))
        if chance.random() < 0.2:
            ids = [scene_of(f"текст {chance.randrange(8)}").id for _ in range(2)]
            done.append(await archive.forget(ids, at=NOON + timedelta(minutes=step + chance.randrange(-20, 20))))
    done += [record async for record in archive.export()]
    done += [(hit.scene, hit.score) for hit in await archive.find(Query(symbols=("шаг",), limit=50))]
    done.append((await archive.verify()).faults)
    await archive.aclose()
    return done


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "qdrant", "qdrant-edge", "redis", "weaviate"])
def test_every_store_forgets_alike(store: Callable[[str], Archive], kind: str) -> None:
    expected = asyncio.run(history(MemoryArchive(), 1))
    assert sum(isinstance(each, Encounter) and each.kind == "forgotten" for each in expected) >= 6
    assert sum(isinstance(each, Scene) for each in expected) >= 3
    assert asyncio.run(history(store(kind), 1)) == expected
