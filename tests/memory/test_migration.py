"""Archives of schema 1 are opened as they are and say the same as before.

``golden/schema_1.db`` and ``schema_1.sql`` (a dump) were written by the code of schema 1, as was their export.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from scenepipe.contracts import Archive, Query
from scenepipe.errors import ArchiveError
from scenepipe.memory import sqlite_schema
from scenepipe.memory.sqlite import SqliteArchive
from scenepipe.memory.transfer import export_archive
from scenepipe.testing.archive_suite import COMMON_HITS, NOON, ArchiveSuite, encounter_of, scene_of

GOLDEN = Path(__file__).with_name("golden")


@pytest.fixture
def old_file(tmp_path: Path) -> Path:
    return Path(shutil.copy(GOLDEN / "schema_1.db", tmp_path / "old.db"))


@pytest.fixture
def old_schema(postgres_server: str) -> Iterator[str]:
    """A server's URL; its schema ``golden`` is the dump."""
    import psycopg

    with psycopg.connect(postgres_server, autocommit=True) as server:
        server.execute((GOLDEN / "schema_1.sql").read_bytes().decode())
    yield postgres_server
    with psycopg.connect(postgres_server, autocommit=True) as server:
        server.execute("DROP SCHEMA golden CASCADE")


async def check(archive: Archive, exported: Path) -> None:
    """Everything is there byte for byte, and what schema 2 brought works."""
    found = await archive.verify()
    assert (found.scenes, found.encounters, found.faults) == (18, 20, ())
    await export_archive(archive, exported)
    assert exported.read_bytes() == (GOLDEN / "schema_1.jsonl").read_bytes()
    query, expected = COMMON_HITS[2]
    assert [hit.scene.text for hit in await archive.find(query)] == [text for text, *_ in expected]
    felt = Query(symbols=("дрожь",), codes=("Δ41@c1",), registers=("poet",), ranges={"tension": (0.7, 0.8)})
    assert [hit.scene.text for hit in await archive.find(felt)] == ["Дрожь у входа"]
    assert (await archive.neighbours(["дрожь"]))[0].key == "вход"
    read = scene_of("Прочитано.", ["дом"])
    await archive.append([read], [encounter_of(read, "read", kind="read")])
    assert (await archive.forget([read.id], at=NOON)).encounters == 1
    assert (await archive.verify()).faults == ()


def test_a_sqlite_file_of_schema_1_is_upgraded(old_file: Path, tmp_path: Path) -> None:
    suite = ArchiveSuite()
    suite.use(lambda name: SqliteArchive(path=str(old_file)), lambda archive: check(archive, tmp_path / "export"))
    with sqlite3.connect(old_file) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (2,)
        old = dict(file.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))
    file.close()
    suite.use(lambda name: SqliteArchive(path=str(tmp_path / "new.db")), lambda archive: archive.verify())
    with sqlite3.connect(tmp_path / "new.db") as file:
        assert dict(file.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")) == old
    file.close()


def test_an_upgraded_file_is_written_anew(old_file: Path) -> None:
    """Copies of rows that page splits left in it, before connections overwrote them, are gone."""
    secret = "сокровенное".encode()
    content = bytearray(old_file.read_bytes())
    for page in range(2, 10):  # between the cell pointers and the cells of an index page nothing is in use
        start = page * 4096 + 500
        assert not any(content[start : start + len(secret)])
        content[start : start + len(secret)] = secret
    old_file.write_bytes(content)
    ArchiveSuite().use(lambda name: SqliteArchive(path=str(old_file)), lambda archive: archive.verify())
    assert secret not in old_file.read_bytes()
    with sqlite3.connect(old_file) as connection:
        assert connection.execute("SELECT value FROM counters WHERE name = 'unclean'").fetchone() == (0,)
    connection.close()


def test_an_upgrade_that_fails_leaves_the_file_as_it_was(old_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = old_file.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("the disk went away")

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_schema, "rebuild", fail)
        with pytest.raises(ArchiveError, match="went away"):
            asyncio.run(SqliteArchive(path=str(old_file)).open())
    assert old_file.read_bytes() == before
    assert ArchiveSuite().use(lambda name: SqliteArchive(path=str(old_file)), lambda a: a.verify()).faults == ()


def test_a_damaged_file_of_schema_1_is_not_upgraded(old_file: Path) -> None:
    content = old_file.read_bytes()[:-2000]
    old_file.write_bytes(content)
    with pytest.raises(ArchiveError, match="schema 1, which cannot be upgraded"):
        asyncio.run(SqliteArchive(path=str(old_file)).open())
    assert old_file.read_bytes() == content


def test_a_postgres_schema_of_version_1_is_upgraded(old_schema: str, tmp_path: Path) -> None:
    from scenepipe.memory.postgres import PostgresArchive

    ArchiveSuite().use(
        lambda name: PostgresArchive(url=old_schema, schema="golden"), lambda a: check(a, tmp_path / "export")
    )
    assert _definition(old_schema, "golden") == _definition(old_schema, _made(old_schema))


def _made(url: str) -> str:
    from scenepipe.memory.postgres import PostgresArchive

    ArchiveSuite().use(lambda name: PostgresArchive(url=url, schema="fresh"), lambda archive: archive.verify())
    return "fresh"


def _definition(url: str, schema: str) -> list[tuple[str, ...]]:
    """Columns, indexes, constraints, triggers and functions of a schema, its own name left out."""
    import psycopg

    queries = (
        "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns WHERE table_schema = %s",
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = %s",
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = %s::regnamespace",
        "SELECT tgname, pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid "
        "WHERE relnamespace = %s::regnamespace AND NOT tgisinternal",
        "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = %s::regnamespace",
    )
    with psycopg.connect(url, autocommit=True) as server:
        rows = [row for query in queries for row in server.execute(query, [schema]).fetchall()]
    return sorted(tuple(str(value).replace(f"{schema}.", "") for value in row) for row in rows)
