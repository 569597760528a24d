"""Clocks that jump and texts of ten million characters, in every store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from scenepipe.contracts import Archive, Query
from scenepipe.recall import resonance
from scenepipe.scene import MAX_TEXT_CHARACTERS
from scenepipe.testing.archive_suite import NOON, encounter_of, query_of, scene_of

STORES = ("memory", "sqlite", "postgres", "qdrant", "qdrant-edge", "redis", "weaviate")
TIMES = (
    NOON,
    NOON + timedelta(days=365_000),  # a clock a thousand years fast
    NOON - timedelta(days=365),
    NOON,  # twice the same moment
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    NOON + timedelta(microseconds=1),
)


@pytest.mark.parametrize("kind", STORES)
def test_clocks_may_jump(kind: str, store: Callable[[str], Archive]) -> None:
    """The log is ordered by its times whatever the order of writing, filters compare times, resonance stays in (0, 1)."""
    scene = scene_of("шаг", ["шаг"], linkage=["шаг"], vector=[100, 0])
    log = [encounter_of(scene, f"{n}").model_copy(update={"at": at}) for n, at in enumerate(TIMES)]

    async def main() -> None:
        archive = store(kind)
        await archive.open()
        try:
            for encounter in log:
                await archive.append([scene], [encounter])
            found = await archive.encounters()
            assert list(found) == sorted(log, key=lambda e: (e.at, e.id))
            assert (await archive.verify()).faults == ()
            ask = Query(symbols=("шаг",))
            for name, at, expected in (
                ("since", TIMES[5], 1),
                ("until", TIMES[4], 1),
                ("since", NOON + timedelta(days=365_001), 1),
                ("until", datetime(1, 1, 1, tzinfo=UTC), 1),
            ):
                assert len(await archive.find(ask.model_copy(update={name: at}))) == expected
            between = {"since": NOON + timedelta(microseconds=2), "until": NOON + timedelta(days=300_000)}
            assert tuple(await archive.find(ask.model_copy(update=between))) == ()
            for now in (NOON, TIMES[4], TIMES[5]):
                strength = resonance([e.at for e in found], now)
                assert strength.encounters == len(TIMES)
                assert strength.strength is not None
                assert 0.0 < strength.strength < 1.0
        finally:
            await archive.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres", "qdrant-edge", "redis"])
def test_the_longest_text_is_kept(kind: str, store: Callable[[str], Archive]) -> None:
    """Ten million characters: stored, read back, found, verified and exported like any other."""
    text = ("шаг за шагом " * (MAX_TEXT_CHARACTERS // 13 + 1))[:MAX_TEXT_CHARACTERS]
    scene = scene_of(text, ["шаг"], linkage=["шаг"], vector=[100, 0])

    async def main() -> None:
        archive = store(kind)
        await archive.open()
        try:
            done = await archive.append([scene], [encounter_of(scene, "1", data={"text": text[:1_000_000]})])
            assert (done.scenes, done.encounters) == (1, 1)
            assert (await archive.append([scene], [encounter_of(scene, "1")])).encounters == 0
            assert [found.text == text for found in await archive.get([scene.id])] == [True]
            assert [hit.reasons for hit in await archive.find(query_of(scene))] == [("same words",)]
            assert (await archive.verify()).faults == ()
            assert [record async for record in archive.export()][0] == scene
        finally:
            await archive.aclose()

    asyncio.run(main())
