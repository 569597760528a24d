"""What an SQL archive counts and proposes, against a plain count of everything."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from scenepipe.contracts import Archive, Query
from scenepipe.folding.recent import NAMESPACES
from scenepipe.memory.memory import MemoryArchive
from scenepipe.memory.records import short
from scenepipe.memory.sqlite import SqliteArchive
from scenepipe.scene import Scene
from scenepipe.testing.archive_suite import ENCODER, ArchiveSuite, scene_of

WORDS = ("шаг", "не:шаг", "дом", "не:дом", "ход", "not:ход", "тьма")


def test_weights_follow_what_is_written_meanwhile(tmp_path: Path) -> None:
    async def body(archive: Archive) -> None:
        assert isinstance(archive, SqliteArchive)
        for count in (1, 2, 3):
            scenes = [scene_of(f"{count} {n}", ["шаг"] if n else ["шаг", "не:шаг", "дом"]) for n in range(4)]
            await archive.append([*scenes, scene_of(f"{count}", ["шаг"], namespace="чужой")], [])
            with archive._reading() as connection:
                weights = archive._finder._weights(connection, Query(symbols=("шаг", "дом", "нигде")))
            assert weights == {"шаг": math.log1p(4 * count / (4 * count)), "дом": math.log1p(4 * count / count)}

    ArchiveSuite().use(lambda name: SqliteArchive(path=str(tmp_path / "a.db")), body)


def test_new_rows_are_counted_without_reading_the_old_ones(tmp_path: Path) -> None:
    """The count after a write must not scan the archive: it searches row numbers."""

    async def body(archive: Archive) -> list[str]:
        assert isinstance(archive, SqliteArchive)
        await archive.append([scene_of(f"{n}", ["шаг"]) for n in range(50)], [])
        with archive._reading() as connection:
            plan = connection.execute(sa.text("EXPLAIN QUERY PLAN SELECT namespace FROM scenes WHERE seq > 40"))
            return [row[3] for row in plan]

    [step] = ArchiveSuite().use(lambda name: SqliteArchive(path=str(tmp_path / "a.db")), body)
    assert step == "SEARCH scenes USING INTEGER PRIMARY KEY (rowid>?)"


def test_vectors_are_kept_of_the_namespaces_used_last_until_it_closes(tmp_path: Path) -> None:
    spaces = [f"{n}" for n in range(NAMESPACES + 2)]
    scenes = {space: scene_of("шаг", vector=[100, 5], namespace=space) for space in spaces}
    archive = SqliteArchive(path=str(tmp_path / "a.db"))

    def kept() -> int:
        return sum(archive._finder._vectors.get((space, ENCODER)) is not None for space in spaces)

    async def near(space: str) -> list[Scene]:
        query = Query(namespace=space, vector=bytes([100, 5]), encoder=ENCODER)
        return [hit.scene for hit in await archive.find(query)]

    async def main() -> None:
        await archive.open()
        await archive.append(list(scenes.values()), [])
        for space in (*spaces, spaces[0]):
            assert await near(space) == [scenes[space]]
        assert kept() == NAMESPACES
        await archive.aclose()
        assert kept() == 0

    asyncio.run(main())


_KEYS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4, unique=True)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(_KEYS, _KEYS), min_size=1, max_size=20), _KEYS, st.integers(1, 25))
def test_sqlite_finds_what_the_plain_archive_finds(
    tmp_path_factory: pytest.TempPathFactory, stored: list[tuple[list[str], list[str]]], asked: list[str], limit: int
) -> None:
    scenes = [scene_of(f"текст {n}", keys, linkage=chain, vector=[100, n, 0]) for n, (keys, chain) in enumerate(stored)]
    query = Query(symbols=tuple(asked), linkage=tuple(asked[:2]), limit=limit)

    async def found(archive: Archive) -> list[tuple[str, float, tuple[str, ...]]]:
        await archive.open()
        await archive.append(scenes, [])
        hits = [(hit.scene.id, hit.score, hit.reasons) for hit in await archive.find(query)]
        await archive.aclose()
        return hits

    path = tmp_path_factory.mktemp("same") / "a.db"
    assert asyncio.run(found(SqliteArchive(path=str(path)))) == asyncio.run(found(MemoryArchive()))


def test_long_values_are_shortened_alone() -> None:
    assert short("шаг") == "шаг"
    assert short("a" * 600) == "a" * 600
    assert len(short("a" * 601)) == 65
    assert short("я" * 301) != short("я" * 302)
    assert short(short("a" * 601)) == short("a" * 601)
