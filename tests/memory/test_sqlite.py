"""The SQLite archive: the conformance suite, its files, two processes, and the ways it finds things."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenepipe.contracts import Appended, Archive, Query
from scenepipe.errors import ArchiveError
from scenepipe.memory import candidates, sqlite_schema
from scenepipe.memory.sqlite import SqliteArchive
from scenepipe.memory.worker import Batch
from scenepipe.scene import new_scene
from scenepipe.testing.archive_suite import ArchiveFactory, ArchiveSuite, encounter_of, query_of, scene_of


def opened(path: Path) -> SqliteArchive:
    return SqliteArchive(path=str(path))


async def write(path: Path, count: int = 3) -> list[str]:
    archive = opened(path)
    await archive.open()
    scenes = [scene_of(f"текст {n}", ["шаг", f"слово{n}"], linkage=["шаг"], vector=[100, n]) for n in range(count)]
    await archive.append(scenes, [encounter_of(s, f"op-{n}", chat="c") for n, s in enumerate(scenes)])
    await archive.aclose()
    return [scene.id for scene in scenes]


async def refusal(path: Path) -> str:
    with pytest.raises(ArchiveError) as caught:
        await opened(path).open()
    return str(caught.value)


class TestSqliteArchive(ArchiveSuite):
    @pytest.fixture
    def archive_factory(self, tmp_path: Path) -> ArchiveFactory:
        return lambda name="archive": opened(tmp_path / f"{name}.db")


class TestSqliteInWalMode(ArchiveSuite):
    """What a SQLite without the WAL-reset bug uses. Here one process at a time uses the file."""

    @pytest.fixture
    def archive_factory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArchiveFactory:
        monkeypatch.setattr(sqlite_schema, "journal_mode", lambda version: "WAL")
        return lambda name="archive": opened(tmp_path / f"{name}.db")


# --- The file --------------------------------------------------------------------------------------------------------


def test_folders_and_file_belong_to_their_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    asyncio.run(write(Path("~/a/b/archive.db")))
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b", "a/b/archive.db")]
    assert modes == [0o700, 0o700, 0o600]


def test_the_file_says_whose_it_is(tmp_path: Path) -> None:
    asyncio.run(write(tmp_path / "a.db"))
    with sqlite3.connect(tmp_path / "a.db") as file:
        assert file.execute("PRAGMA application_id").fetchone() == (0x53434E50,)
        assert file.execute("PRAGMA user_version").fetchone() == (2,)
        tables = dict(file.execute("SELECT name, strict FROM pragma_table_list WHERE schema = 'main'"))
        assert [tables[name] for name in ("scenes", "symbols", "encounters")] == [1, 1, 1]
    file.close()


@pytest.mark.parametrize(
    ("version", "mode"),
    [
        ((3, 6, 23), "WAL"),
        ((3, 7, 0), "TRUNCATE"),
        ((3, 40, 1), "TRUNCATE"),
        ((3, 51, 2), "TRUNCATE"),
        ((3, 51, 3), "WAL"),
        ((3, 54, 1), "WAL"),
    ],
)
def test_journal_mode_avoids_the_wal_reset_bug(version: tuple[int, int, int], mode: str) -> None:
    assert sqlite_schema.journal_mode(version) == mode


def test_the_connection_is_durable(tmp_path: Path) -> None:
    async def main() -> dict[str, object]:
        archive = opened(tmp_path / "a.db")
        await archive.open()
        assert archive._engine is not None
        with archive._engine.connect() as connection:
            names = ("journal_mode", "synchronous", "foreign_keys", "mmap_size", "busy_timeout")
            values = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names}
        await archive.aclose()
        return values

    mode = sqlite_schema.journal_mode(sqlite3.sqlite_version_info[:3]).lower()
    expected = {"journal_mode": mode, "synchronous": 2, "foreign_keys": 1, "mmap_size": 0, "busy_timeout": 60_000}
    assert asyncio.run(main()) == expected


def test_a_file_that_is_not_sqlite_is_refused_and_left_alone(tmp_path: Path) -> None:
    for content in (b"notes", b"x" * 10_000):
        path = tmp_path / "notes.txt"
        path.write_bytes(content)
        assert "not a SQLite file" in asyncio.run(refusal(path))
        assert path.read_bytes() == content


def test_another_programs_file_is_refused(tmp_path: Path) -> None:
    for name, statement in (("id", "PRAGMA application_id=7"), ("table", "CREATE TABLE mine (a)")):
        with sqlite3.connect(tmp_path / name) as file:
            file.execute(statement)
        file.close()
        before = (tmp_path / name).read_bytes()
        assert "belongs to another program" in asyncio.run(refusal(tmp_path / name))
        assert (tmp_path / name).read_bytes() == before


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    asyncio.run(write(tmp_path / "a.db"))
    with sqlite3.connect(tmp_path / "a.db") as file:
        file.execute("PRAGMA user_version=3")
    file.close()
    assert "upgrade scenepipe" in asyncio.run(refusal(tmp_path / "a.db"))


def test_a_folder_and_memory_are_refused(tmp_path: Path) -> None:
    assert "it is a folder" in asyncio.run(refusal(tmp_path))
    assert "use: memory" in asyncio.run(refusal(Path(":memory:")))
    assert str(tmp_path / "f") in asyncio.run(refusal(_file(tmp_path / "f") / "a.db"))


def _file(path: Path) -> Path:
    path.write_text("a file, not a folder")
    return path


def test_a_closed_archive_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        archive = opened(tmp_path / "a.db")
        with pytest.raises(ArchiveError, match="is not open"):
            await archive.get([])
        await archive.open()
        await archive.open()
        await archive.aclose()
        with pytest.raises(ArchiveError, match="is not open"):
            await archive.append([], [])

    asyncio.run(main())


def test_rows_can_neither_change_nor_go(tmp_path: Path) -> None:
    asyncio.run(write(tmp_path / "a.db"))
    file = sqlite3.connect(tmp_path / "a.db")
    for statement in ("UPDATE scenes SET text = ''", "DELETE FROM scenes", "DELETE FROM encounters"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            file.execute(statement)
    with pytest.raises(sqlite3.IntegrityError, match="not stored"):
        file.execute("INSERT INTO encounters SELECT 'new', 'nobody', kind, at, namespace, run, user, chat, turn, "
                     "analysis, data, digest FROM encounters LIMIT 1")  # fmt: skip
    file.close()


def test_reading_leaves_the_file_alone(tmp_path: Path) -> None:
    async def read() -> None:
        archive = opened(tmp_path / "a.db")
        await archive.open()
        await archive.find(query_of(scene_of("текст 1", ["шаг"], vector=[100, 0])))
        await archive.encounters()
        await archive.hypertokens()
        await archive.verify()
        await archive.aclose()

    asyncio.run(write(tmp_path / "a.db"))
    before = (tmp_path / "a.db").read_bytes()
    asyncio.run(read())
    assert (tmp_path / "a.db").read_bytes() == before


# --- Many callers ----------------------------------------------------------------------------------------------------

_WRITER = """
import asyncio, sys
from scenepipe.memory.sqlite import SqliteArchive
from scenepipe.testing.archive_suite import encounter_of, scene_of

async def main(path, name):
    archive = SqliteArchive(path=path)
    await archive.open()
    for n in range(12):
        scenes = [scene_of(f"общий {n}", ["шаг"]), scene_of(f"{name} {n}", ["шаг"])]
        await archive.append(scenes, [encounter_of(scenes[0], f"both-{n}"), encounter_of(scenes[1], f"{name}-{n}")])
        await archive.encounters([scenes[0].id])
    await archive.aclose()

asyncio.run(main(*sys.argv[1:]))
"""


def test_two_processes_make_the_exact_union(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(path), name], stderr=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    assert [(writer.communicate(timeout=120)[1], writer.returncode) for writer in writers] == [("", 0), ("", 0)]

    async def body(archive: Archive) -> None:
        expected = {f"{name}-{n}" for name in ("one", "two", "both") for n in range(12)}
        assert sorted(e.id for e in await archive.encounters()) == sorted(expected)
        assert await archive.verify() == (await archive.verify()).model_copy(
            update={"scenes": 36, "encounters": 36, "faults": ()}
        )

    TestSqliteArchive().use(lambda name: opened(path), body)


def test_appends_that_wait_are_committed_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    written = SqliteArchive._write

    def counted(self: SqliteArchive, batches: Sequence[Batch]) -> list[Appended]:
        sizes.append(len(batches))
        return written(self, batches)

    monkeypatch.setattr(SqliteArchive, "_write", counted)

    async def body(archive: Archive) -> None:
        await asyncio.gather(*(archive.append([scene_of(f"текст {n}")], []) for n in range(30)))

    TestSqliteArchive().use(lambda name: opened(tmp_path / "a.db"), body)
    assert sum(sizes) == 30
    assert len(sizes) < 30


def test_an_append_survives_its_caller(tmp_path: Path) -> None:
    scenes = [scene_of(f"текст {n}") for n in range(20)]

    async def abandon(archive: Archive) -> None:
        tasks = [asyncio.create_task(archive.append([scene], [])) for scene in scenes]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert all(task.cancelled() for task in tasks)

    async def count(archive: Archive) -> int:
        return len(await archive.get([scene.id for scene in scenes]))

    suite = TestSqliteArchive()
    suite.use(lambda name: opened(tmp_path / "a.db"), abandon)
    assert suite.use(lambda name: opened(tmp_path / "a.db"), count) == 20


def test_a_store_is_closed_although_what_waits_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        archive = opened(tmp_path / "a.db")
        await archive.open()

        def fails() -> None:
            raise MemoryError

        monkeypatch.setattr(archive, "_drain", fails)
        with pytest.raises(MemoryError):
            await archive.aclose()
        with pytest.raises(ArchiveError, match="is closed"):
            archive._opened()

    asyncio.run(main())


# --- Finding ---------------------------------------------------------------------------------------------------------


def test_common_lemmas_do_not_hide_rare_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "POSTINGS", 30)

    async def body(archive: Archive) -> None:
        scenes = [scene_of(f"текст {n}", ["быть"] + (["порог"] if n == 70 else [])) for n in range(200)]
        await archive.append(scenes, [])
        hits = await archive.find(Query(symbols=("быть", "порог"), limit=1))
        assert [hit.reasons for hit in hits] == [("shared symbols: быть, порог",)]
        assert len(await archive.find(Query(symbols=("быть",), limit=20))) == 20

    TestSqliteArchive().use(lambda name: opened(tmp_path / "a.db"), body)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)), min_size=1), min_size=1, max_size=5, unique=True))
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    scenes = [
        new_scene(text).with_(symbols=scene_of("x", [text]).symbols, linkage=scene_of("x", linkage=texts).linkage)
        for text in texts
        if text.strip()
    ]

    async def body(archive: Archive) -> None:
        await archive.append(scenes, [encounter_of(s, f"{n}{s.text}", user=s.text) for n, s in enumerate(scenes)])
        assert list(await archive.get([s.id for s in scenes])) == scenes
        for scene in scenes:
            assert "same words" in (await archive.find(query_of(scene)))[0].reasons
        assert (await archive.verify()).faults == ()

    path = tmp_path_factory.mktemp("any") / "a.db"
    TestSqliteArchive().use(lambda name: opened(path), body)


def test_a_forked_process_is_told_to_open_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(archive: Archive) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("os.getpid", lambda: -1)
            with pytest.raises(ArchiveError, match="before a fork"):
                await archive.get([])
        assert tuple(await archive.get([])) == ()

    TestSqliteArchive().use(lambda name: opened(tmp_path / "a.db"), body)
