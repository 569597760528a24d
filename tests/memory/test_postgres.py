"""The PostgreSQL archive: the conformance suite on a server of this test run's own, and what is PostgreSQL's alone."""

from __future__ import annotations

import asyncio
import itertools
import random
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest
from pydantic import SecretStr

from scenepipe.contracts import Archive, Query
from scenepipe.errors import ArchiveError
from scenepipe.memory.postgres import PostgresArchive
from scenepipe.testing.archive_suite import ArchiveFactory, ArchiveSuite, encounter_of, query_of, scene_of

_NUMBERS = itertools.count()


@pytest.fixture
def schema(postgres_server: str) -> Iterator[str]:
    """A name that no other test of this run uses; all schemas that begin so go afterwards."""
    name = f"t{next(_NUMBERS)}"
    yield name
    with psycopg.connect(postgres_server, autocommit=True) as server:
        made = server.execute("SELECT nspname FROM pg_namespace WHERE nspname ~ %s", [f"^{name}(_|$)"]).fetchall()
        for (each,) in made:
            server.execute(f'DROP SCHEMA "{each}" CASCADE')


@pytest.fixture
def archive_factory(postgres_server: str, schema: str) -> ArchiveFactory:
    return lambda name="archive": PostgresArchive(url=postgres_server, schema=f"{schema}_{name}")


def use(factory: ArchiveFactory, body: object) -> object:
    return ArchiveSuite().use(factory, body)  # type: ignore[arg-type]


class TestPostgresArchive(ArchiveSuite):
    @pytest.fixture
    def archive_factory(self, archive_factory: ArchiveFactory) -> ArchiveFactory:
        return archive_factory


# --- The schema ------------------------------------------------------------------------------------------------------


def test_rows_can_neither_change_nor_go(archive_factory: ArchiveFactory, postgres_server: str, schema: str) -> None:
    scene = scene_of("шаг", ["шаг"])
    use(archive_factory, lambda archive: archive.append([scene], [encounter_of(scene, "1")]))
    place = f'"{schema}_archive"'
    with psycopg.connect(postgres_server, autocommit=True) as server:
        for statement in ("UPDATE {}.scenes SET text = ''", "DELETE FROM {}.encounters", "TRUNCATE {}.scenes CASCADE"):
            with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
                server.execute(statement.format(place))
        with pytest.raises(psycopg.errors.RaiseException, match="not stored"):
            server.execute(
                f"INSERT INTO {place}.encounters SELECT 'new', 'nobody', kind, at, namespace, run, \"user\", chat, "
                f"turn, analysis, data, digest FROM {place}.encounters"
            )


def test_another_programs_schema_is_refused(postgres_server: str, schema: str) -> None:
    with psycopg.connect(postgres_server, autocommit=True) as server:
        server.execute(f"CREATE SCHEMA {schema}")
        server.execute(f"CREATE TABLE {schema}.invoices (n integer)")
    with pytest.raises(ArchiveError, match=r"another program \(invoices\)"):
        asyncio.run(PostgresArchive(url=postgres_server, schema=schema).open())


def test_a_newer_version_is_refused(archive_factory: ArchiveFactory, postgres_server: str, schema: str) -> None:
    async def nothing(archive: Archive) -> None: ...

    use(archive_factory, nothing)
    with psycopg.connect(postgres_server, autocommit=True) as server:
        server.execute(f'UPDATE "{schema}_archive".archive SET version = 3')
    with pytest.raises(ArchiveError, match="upgrade scenepipe"):
        asyncio.run(archive_factory().open())


def test_a_changed_record_is_noticed(archive_factory: ArchiveFactory, postgres_server: str, schema: str) -> None:
    scenes = [scene_of(f"текст {n}", ["шаг"]) for n in range(3)]
    log = [encounter_of(scene, f"op-{n}") for n, scene in enumerate(scenes)]
    use(archive_factory, lambda archive: archive.append(scenes, log))
    place = f'"{schema}_archive"'
    with psycopg.connect(postgres_server, autocommit=True) as server:
        for table in ("scenes", "encounters"):
            server.execute(f"DROP TRIGGER {table}_append_only ON {place}.{table}")
        server.execute(f"UPDATE {place}.scenes SET text = text || '!' WHERE seq = 2")
        server.execute(f"UPDATE {place}.encounters SET kind = 'spoken' WHERE id = 'op-2'")

    async def body(archive: Archive) -> None:
        assert (await archive.verify()).faults == ("scene row 2: damaged", "encounter op-2: damaged")
        with pytest.raises(ArchiveError, match=scenes[1].id):
            await archive.get([scenes[1].id])
        assert len(await archive.get([scenes[0].id, scenes[2].id])) == 2

    use(archive_factory, body)


# --- Addresses and errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["mysql://host/db", "no url at all", "postgresql+asyncpg://host/db"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ArchiveError, match="postgresql://user@host/database"):
        asyncio.run(PostgresArchive(url=url).open())


@pytest.mark.parametrize("place", ["url", "option"])
def test_a_server_that_is_not_there_is_named_without_the_password(place: str) -> None:
    user, password = ("me:geheim", None) if place == "url" else ("me", SecretStr("geheim"))
    with pytest.raises(ArchiveError, match="cannot be reached") as caught:
        asyncio.run(PostgresArchive(url=f"postgresql://{user}@127.0.0.1:1/db", password=password).open())
    assert "127.0.0.1:1/db" in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_the_password_option_is_what_the_server_gets() -> None:
    archive = PostgresArchive(url="postgresql://me:old@host/db", password=SecretStr("new"))
    assert archive._address().password == "new"


def test_a_missing_database_is_named(postgres_server: str) -> None:
    with pytest.raises(ArchiveError, match="absent"):
        asyncio.run(PostgresArchive(url=postgres_server.replace("/postgres", "/absent")).open())


def test_an_id_too_long_to_index_is_refused_alone(archive_factory: ArchiveFactory) -> None:
    scene, noise = scene_of("шаг"), random.Random(1).randbytes(4000).hex()

    async def body(archive: Archive) -> None:
        writes = [archive.append([scene], [encounter_of(scene, name)]) for name in ("ok-1", noise, "ok-2")]
        results = await asyncio.gather(*writes, return_exceptions=True)
        assert [isinstance(result, ArchiveError) for result in results] == [False, True, False]
        assert "2,700 bytes" in str(results[1])
        assert {e.id for e in await archive.encounters()} == {"ok-1", "ok-2"}

    use(archive_factory, body)


def test_long_symbols_and_chains_are_found(archive_factory: ArchiveFactory) -> None:
    noise = random.Random(2)
    words = [noise.randbytes(3000).hex() for _ in range(3)]
    stored = scene_of("длинное", [*words, "не:" + words[0]], linkage=words)

    async def body(archive: Archive) -> None:
        await archive.append([stored, scene_of("короткое", ["шаг"])], [])
        [hit] = await archive.find(Query(symbols=(words[1],)))
        assert hit.scene == stored
        [hit] = await archive.find(Query(linkage=tuple(words)))
        assert hit.reasons[0] == "same linkage"
        assert (await archive.verify()).faults == ()

    use(archive_factory, body)


# --- Many callers ----------------------------------------------------------------------------------------------------

_WRITER = """
import asyncio, sys
from scenepipe.memory.postgres import PostgresArchive
from scenepipe.testing.archive_suite import encounter_of, scene_of

async def main(url, schema, name):
    archive = PostgresArchive(url=url, schema=schema)
    await archive.open()
    for n in range(40):
        scenes = [scene_of(f"общий {n}", ["шаг"]), scene_of(f"{name} {n}", ["шаг"])]
        await archive.append(scenes, [encounter_of(scenes[0], f"both-{n}"), encounter_of(scenes[1], f"{name}-{n}")])
        await archive.encounters([scenes[0].id])
    await archive.aclose()

asyncio.run(main(*sys.argv[1:]))
"""


def test_two_processes_make_the_exact_union(postgres_server: str, schema: str) -> None:
    """They also race to make the schema."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, postgres_server, schema, name], stderr=subprocess.PIPE, text=True
        )
        for name in ("one", "two")
    ]
    assert [(writer.communicate(timeout=120)[1], writer.returncode) for writer in writers] == [("", 0), ("", 0)]

    async def body(archive: Archive) -> None:
        found = await archive.verify()
        assert (found.scenes, found.encounters, found.faults) == (120, 120, ())

    use(lambda name: PostgresArchive(url=postgres_server, schema=schema), body)


def test_a_dropped_connection_is_made_again(archive_factory: ArchiveFactory, postgres_server: str) -> None:
    scene = scene_of("шаг", ["шаг"])

    def drop() -> int:
        with psycopg.connect(postgres_server, autocommit=True) as server:
            others = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            return len(server.execute(f"SELECT pg_terminate_backend(pid) {others}").fetchall())

    async def body(archive: Archive) -> None:
        await archive.append([scene], [])
        assert await asyncio.to_thread(drop) == 1
        assert (await archive.append([scene], [encounter_of(scene, "1")])).encounters == 1
        assert [hit.scene for hit in await archive.find(query_of(scene))] == [scene]

    use(archive_factory, body)


def test_a_commit_is_durable_whatever_the_default(postgres_server: str, schema: str) -> None:
    async def main() -> str:
        archive = PostgresArchive(url=f"{postgres_server}?options=-csynchronous_commit%3Doff", schema=schema)
        await archive.open()
        try:
            with archive._writing() as connection:
                return str(connection.exec_driver_sql("SHOW synchronous_commit").scalar_one())
        finally:
            await archive.aclose()

    assert asyncio.run(main()) == "on"
