"""Strings that try to be SQL, filters, paths or markup, in every field of every store: they are data, nothing more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from scenepipe.contracts import Archive, Encounter, Query
from scenepipe.mixture import Mixture
from scenepipe.scene import Analysis, Delta, Linkage, Origin, Scene, SemanticField, Symbol, Vector, new_scene
from scenepipe.testing.archive_suite import NOON, encounter_of, scene_of

STORES = ("memory", "sqlite", "postgres", "qdrant", "qdrant-edge", "redis", "weaviate")
HOSTILE = (
    "'; DROP TABLE scenes; --",
    "'); DELETE FROM encounters; --",
    "' OR '1'='1",
    "' OR 1=1 --",
    '" OR ""="',
    "x' UNION SELECT id, json FROM scenes --",
    "1; PRAGMA writable_schema=ON",
    "1; ATTACH DATABASE '/tmp/x.db' AS x",
    "'; SELECT load_extension('evil'); --",
    "'; COPY scenes TO PROGRAM 'touch /tmp/x'; --",
    "$$; DROP SCHEMA public CASCADE; $$",
    "E'\\x27; DROP TABLE scenes --",
    "\\'; DROP TABLE symbols; --",
    "/* */ UNION /* */ SELECT 1",
    "default' --",
    "default'/*",
    "%",
    "_",
    "%' ESCAPE '!",
    "*",
    "?",
    "[a-z]*",
    ":name",
    ":1",
    "$1",
    "%s",
    "%(name)s",
    "{0.__class__}",
    "{{7*7}}",
    "${jndi:ldap://localhost/x}",
    '{"must": []}',
    '{"$ne": null}',
    '{"match": {"any": []}}',
    '"}, {"operator": "Or", "path": ["namespace"]',
    '{operator: NotEqual, path: "id", valueText: ""}',
    '") { Aggregate { Scenes { meta { count } } } }',
    'NEAR("a" "b", 2)',
    'a" OR b* NOT "c',
    "scenes:шаг OR terms:*",
    "^шаг",
    "../../../etc/passwd",
    "C:\\Windows\\win.ini",
    "/dev/null",
    "<script>alert(1)</script>",
    "\x00\x1b0\x1b1",
    "a\x00' OR 1=1 --",
    "\r\nSet-Cookie: a=b",
    "\u202e' OR 1=1 --\u202c",
    "ＯＲ １＝１",
    "\ufeffdefault",
    "null",
    "NaN",
    "-1",
    "не:",
    "not:'; --",
    "🙂' OR '🙂'='🙂",
)
assert len(HOSTILE) == len(set(HOSTILE)) >= 50


def hostile_scene(word: str, namespace: str) -> Scene:
    """A scene with the word in every field that holds text; a register's name is no free text, see below."""
    return new_scene(f"{word} шаг", Origin(namespace=namespace), created=NOON).with_(
        symbols=(Symbol(lemma=word, language="ru", concept=word), Symbol(lemma="шаг", language="ru")),
        linkage=Linkage(chain=(word, "шаг")),
        field=SemanticField(axes=word, weights={word: 0.5}, vector=Vector(data=bytes([100, 0, 0]), encoder=word)),
        delta=Delta(code=1, codebook=word, margin=0.1, alternative=2, gloss={word: word}),
        analysis=Analysis(analysers=(word,), encoder=word, codebook=word),
        registers=Mixture(weights={"poet": 0.5}),
    )


def hostile_encounter(word: str, scene: Scene) -> Encounter:
    more = {"run": word, "user": word, "chat": word, "analysis": word, "data": {word: [word, {word: word}]}}
    return encounter_of(scene, word, **more)


def hostile_queries(word: str) -> list[Query]:
    """The word in each field of a query, alone and with all the others; as a register it names none."""
    alone = [
        Query(scene_id=word),
        Query(key=word),
        Query(linkage=(word,)),
        Query(symbols=(word,)),
        Query(vector=bytes([100, 0, 0]), encoder=word),
        Query(namespace=word, symbols=("шаг",)),
        Query(chat=word, symbols=("шаг",)),
        Query(codes=(word,), symbols=("шаг",)),
    ]
    values = [query.model_dump(exclude_defaults=True) for query in alone]
    everything = {name: value for each in values for name, value in each.items()}
    here = {"namespace": word, "symbols": ("шаг",)}
    return [
        *alone,
        Query.model_validate(everything | {"codes": (f"Δ1@{word}",)}),
        Query(namespace=word, symbols=("шаг",), chat=word, codes=(f"Δ1@{word}",)),
        Query.model_validate(here | {"registers": (word,)}),
        Query.model_validate(here | {"codes": (word,)}),
        Query.model_validate(here | {"chat": f"{word} "}),
    ]


def expected(query: Query, scene: Scene) -> list[Scene]:
    """The scene, where the query looks in its namespace and filters by what it has."""
    word = scene.origin.namespace
    mine = query.namespace == word and not query.registers and query.chat in (None, word)
    return [scene] if mine and query.codes in ((), (f"Δ1@{word}",)) else []


@pytest.mark.parametrize("word", [word for word in HOSTILE if word != "null"])
def test_a_register_has_no_hostile_name(word: str) -> None:
    with pytest.raises(ValueError, match="must match"):
        Mixture(weights={word: 0.5})


@pytest.mark.parametrize("kind", STORES)
def test_hostile_strings_are_data(kind: str, store: Callable[[str], Archive]) -> None:
    """In a namespace of their own they come back as they were; a bystander in ``default`` is never found by them."""
    bystander = scene_of("мирная сцена", ["шаг", "дом"], linkage=["шаг", "дом"], vector=[100, 0, 0])
    scenes = [hostile_scene(word, word) for word in HOSTILE]
    log = [hostile_encounter(word, scene) for word, scene in zip(HOSTILE, scenes, strict=True)]

    async def main() -> None:
        archive = store(kind)
        await archive.open()
        try:
            await archive.append([bystander], [encounter_of(bystander, "мирная", chat="мирный")])
            done = await archive.append(scenes, log)
            assert (done.scenes, done.encounters) == (len(HOSTILE), len(HOSTILE))
            for word, scene, encounter in zip(HOSTILE, scenes, log, strict=True):
                for query in hostile_queries(word):
                    found = [hit.scene for hit in await archive.find(query)]
                    assert found == expected(query, scene), (word, query)
                assert tuple(await archive.get([word])) == ()
                assert tuple(await archive.encounters([word])) == ()
                assert tuple(await archive.encounters([scene.id])) == (encounter,)
                assert tuple(await archive.neighbours([word])) == ()
            everything = [record async for record in archive.export()]
            assert everything == sorted([*scenes, bystander], key=lambda s: s.id) + sorted(
                [*log, encounter_of(bystander, "мирная", chat="мирный")], key=lambda e: e.id
            )
            assert (await archive.verify()).faults == ()
            assert [h.scene for h in await archive.find(Query(symbols=("шаг",), chat="мирный"))] == [bystander]
        finally:
            await archive.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("kind", STORES)
def test_forgetting_a_hostile_name_removes_nothing_else(kind: str, store: Callable[[str], Archive]) -> None:
    scene = scene_of("мирная сцена", ["шаг"])

    async def main() -> None:
        archive = store(kind)
        await archive.open()
        try:
            await archive.append([scene], [encounter_of(scene, "1")])
            done = await archive.forget(HOSTILE, at=NOON + timedelta(days=1))
            assert (done.scenes, done.encounters) == (0, 0)
            assert tuple(await archive.get([scene.id])) == (scene,)
            assert [e.id for e in await archive.encounters([scene.id])] == ["1"]
            assert (await archive.verify()).faults == ()
        finally:
            await archive.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("kind", STORES)
def test_another_encoder_and_another_codebook_are_not_compared(kind: str, store: Callable[[str], Archive]) -> None:
    """Of one archive that two versions of the analysis wrote: Δ1@c1 is not Δ1@c2, a vector of e@1 not one of e@2."""

    def of(version: int) -> Scene:
        scene = scene_of(f"версия {version}", analysers=[f"suite@{version}"])
        kept = Vector(data=bytes([100, 0, 0]), encoder=f"e@{version}")
        return scene.with_(
            field=SemanticField(axes="suite@1", vector=kept),
            delta=Delta(code=1, codebook=f"c{version}", margin=0.1, alternative=2),
        )

    async def main() -> None:
        archive = store(kind)
        await archive.open()
        try:
            await archive.append([of(1), of(2)], [])
            for version in (1, 2):
                near = Query(vector=bytes([100, 0, 0]), encoder=f"e@{version}")
                assert [hit.scene for hit in await archive.find(near)] == [of(version)]
                coded = near.model_copy(update={"codes": (f"Δ1@c{version}",)})
                assert [hit.scene for hit in await archive.find(coded)] == [of(version)]
                other = near.model_copy(update={"codes": (f"Δ1@c{3 - version}",)})
                assert tuple(await archive.find(other)) == ()
            assert tuple(await archive.find(Query(vector=bytes([100, 0, 0]), encoder="e@3"))) == ()
        finally:
            await archive.aclose()

    asyncio.run(main())
