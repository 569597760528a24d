"""Random archives and queries: every store recalls what the plain archive recalls, in its order and for its reasons."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import timedelta

import pytest

from scenepipe.contracts import Archive, Encounter, Query
from scenepipe.memory.memory import MemoryArchive
from scenepipe.scene import Scene
from scenepipe.testing.archive_suite import ENCODER, NOON, encounter_of, scene_of

Found = list[list[tuple[str, float, tuple[str, ...]]]]
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
        scenes.append(scene.with_(created=NOON + timedelta(minutes=chance.randrange(10))))
    log = [encounter_of(chance.choice(scenes), f"{n}", chat=chance.choice("abc")) for n in range(60)]
    return scenes, log


def some_query(chance: random.Random, scenes: list[Scene]) -> Query:
    known, keys = chance.choice(scenes), some_keys(chance)
    near = known.field.vector.data if known.field and known.field.vector else None
    return Query(
        namespace=chance.choice(("default", "default", "чужой")),
        scene_id=chance.choice((None, known.id)),
        key=chance.choice((None, known.key)),
        linkage=tuple(keys[:2]) or (known.linkage.chain if known.linkage else ()),
        symbols=tuple(keys),
        vector=near,
        encoder=chance.choice((ENCODER, ENCODER, "other@1")),
        chat=chance.choice((None, None, "a")),
        exclude=tuple(scene.id for scene in chance.sample(scenes, 3)),
        limit=chance.choice((1, 3, 10, 40)),
    )


async def found(archive: Archive, seed: int) -> Found:
    chance = random.Random(seed)
    scenes, log = some_archive(chance)
    await archive.open()
    for start in range(0, len(scenes), 20):
        await archive.append(scenes[start : start + 20], [])
    await archive.append([], log)
    queries = [some_query(chance, scenes) for _ in range(25)]
    hits = [[(h.scene.id, h.score, h.reasons) for h in await archive.find(query)] for query in queries]
    await archive.aclose()
    return hits


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["sqlite", "postgres", "qdrant", "qdrant-edge", "weaviate"])
def test_every_store_recalls_alike(store: Callable[[str], Archive], kind: str, seed: int) -> None:
    expected = asyncio.run(found(MemoryArchive(), seed))
    assert sum(map(len, expected)) > 100
    assert asyncio.run(found(store(kind), seed)) == expected
