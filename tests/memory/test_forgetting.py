"""What is forgotten leaves no byte in a file, whatever interrupts it; and only a tombstone lets a row go."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from scenepipe.contracts import Archive, Encounter, Forgotten, Query
from scenepipe.errors import ArchiveError
from scenepipe.memory import sqlite_schema
from scenepipe.memory.sqlite import SqliteArchive
from scenepipe.memory.transfer import export_archive, import_archive
from scenepipe.scene import Scene
from scenepipe.testing.archive_forgetting import AT
from scenepipe.testing.archive_suite import ArchiveSuite, encounter_of, query_of, scene_of

SECRET = "сокровенное"


def opened(path: Path) -> SqliteArchive:
    return SqliteArchive(path=str(path))


def use(path: Path, body: Callable[[Archive], object]) -> object:
    return ArchiveSuite().use(lambda name: opened(path), body)  # type: ignore[arg-type]


def diary(count: int, *, long: bool = False) -> tuple[list[Scene], list[Encounter], list[str]]:
    """Scenes, encounters and the ids of every third scene, in all of whose fields stands the secret."""
    chance = random.Random(count)
    scenes, log, ids = [], [], []
    for n in range(count):
        word = f"{SECRET}{n}" if n % 3 == 0 else f"обычное{n}"
        text = f"{word} запись " + "слово " * (2000 if long and n % 9 == 0 else chance.randrange(40))
        scene = scene_of(text, [word, "не:" + word, "дом"], linkage=[word, "дом"], vector=[100, n % 90])
        scenes.append(scene)
        log.append(encounter_of(scene, f"op-{n}-{word}", user=word, chat=word, data={"text": word}))
        ids += [scene.id] if n % 3 == 0 else []
    return scenes, log, ids


def traces(folder: Path) -> list[str]:
    """Files that have bytes of the secret, as UTF-8 or as an escape of JSON."""
    needles = (SECRET.encode(), SECRET.encode("utf-16-le"), "".join(f"\\u{ord(c):04x}" for c in SECRET).encode())
    files = (file for file in folder.rglob("*") if file.is_file())
    return [str(file) for file in files if any(needle in file.read_bytes() for needle in needles)]


# --- No byte stays ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["TRUNCATE", "WAL"])
@pytest.mark.parametrize("seed", range(3))
def test_no_byte_of_it_stays_in_a_sqlite_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, seed: int
) -> None:
    """Written in an order that splits and joins pages, so that copies are left where a row once was."""
    monkeypatch.setattr(sqlite_schema, "journal_mode", lambda version: mode)
    scenes, log, ids = diary(150, long=True)
    order = list(range(150))
    random.Random(seed).shuffle(order)

    async def body(archive: Archive) -> None:
        for start in range(0, 150, 25):
            part = order[start : start + 25]
            await archive.append([scenes[n] for n in part], [log[n] for n in part])
            await archive.find(query_of(scenes[start]))
        assert traces(tmp_path)
        for half in (ids[:20], ids[20:]):
            await archive.forget(half, at=AT)
        assert traces(tmp_path) == []
        assert len(await archive.get([scene.id for scene in scenes])) == 100
        assert (await archive.verify()).faults == ()

    use(tmp_path / "a.db", body)
    assert traces(tmp_path) == []


def test_an_import_that_forgets_leaves_no_byte(tmp_path: Path) -> None:
    scenes, log, ids = diary(30)

    async def give(archive: Archive) -> None:
        await archive.append(scenes, log)
        await archive.forget(ids, at=AT)
        await export_archive(archive, tmp_path / "export.jsonl")

    async def take(archive: Archive) -> None:
        await archive.append(scenes, log)
        await import_archive(archive, tmp_path / "export.jsonl")
        assert (await archive.verify()).faults == ()

    use(tmp_path / "a.db", give)
    use(tmp_path / "b.db", take)
    assert traces(tmp_path) == []


@pytest.mark.parametrize("retry", ["open", "forget"])
def test_a_forgetting_that_was_interrupted_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retry: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By the next opening, or by forgetting again."""
    scenes, log, ids = diary(30)

    def full(engine: object, *, anew: bool) -> None:
        raise ArchiveError("the disk is full")

    async def interrupted(archive: Archive) -> None:
        await archive.append(scenes, log)
        with monkeypatch.context() as patch:
            patch.setattr(sqlite_schema, "scrub", full)
            with pytest.raises(ArchiveError, match="disk is full"):
                await archive.forget(ids, at=AT)
        assert len(await archive.get(ids)) == 0
        if retry == "forget":
            assert (await archive.forget(ids, at=AT)).scenes == 0
            assert traces(tmp_path) == []

    use(tmp_path / "a.db", interrupted)
    if retry == "open":
        with monkeypatch.context() as patch:
            patch.setattr(sqlite_schema, "scrub", full)
            use(tmp_path / "a.db", lambda archive: archive.verify())
        assert "may still be in a file" in caplog.text
        use(tmp_path / "a.db", lambda archive: archive.verify())
    assert traces(tmp_path) == []


def test_no_byte_of_it_stays_in_a_qdrant_edge_folder(tmp_path: Path) -> None:
    pytest.importorskip("qdrant_edge", reason="pip install 'scenepipe[qdrant-edge]'")
    from scenepipe.memory.qdrant_edge import QdrantEdgeArchive

    scenes, log, ids = diary(40)

    async def body(archive: Archive) -> None:
        await archive.append(scenes, log)
        assert traces(tmp_path)
        await archive.forget(ids, at=AT)
        assert traces(tmp_path) == []
        assert [hit.scene for hit in await archive.find(query_of(scenes[1]))][0] == scenes[1]
        late = scene_of("потом", ["дом"], vector=[100, 0])
        await archive.append([late], [encounter_of(late, "late")])
        assert (await archive.verify()).faults == ()

    suite = ArchiveSuite()
    suite.use(lambda name: QdrantEdgeArchive(path=str(tmp_path / "a")), body)
    found = suite.use(lambda name: QdrantEdgeArchive(path=str(tmp_path / "a")), lambda a: a.verify())
    assert (found.scenes, found.encounters, found.faults) == (27, 41, ())
    assert traces(tmp_path) == []


def test_no_byte_of_it_stays_in_the_tables_of_postgres(postgres_server: str) -> None:
    """Its write-ahead log and backups are the server's own."""
    import psycopg

    from scenepipe.memory.postgres import PostgresArchive

    scenes, log, ids = diary(40)

    def tables() -> Path:
        with psycopg.connect(postgres_server, autocommit=True) as server:
            server.execute("CHECKPOINT")
            found = server.execute("SHOW data_directory").fetchone()
        assert found is not None
        return Path(str(found[0])) / "base"

    async def body(archive: Archive) -> None:
        await archive.append(scenes, log)
        assert traces(tables())
        await archive.forget(ids, at=AT)
        assert traces(tables()) == []
        assert (await archive.verify()).faults == ()

    try:
        ArchiveSuite().use(lambda name: PostgresArchive(url=postgres_server, schema="forgetting"), body)
    finally:
        with psycopg.connect(postgres_server, autocommit=True) as server:
            server.execute("DROP SCHEMA IF EXISTS forgetting CASCADE")


# --- Only a tombstone lets a row go ----------------------------------------------------------------------------------


def test_only_a_tombstone_lets_a_row_go(tmp_path: Path) -> None:
    scenes, log, ids = diary(6)
    use(tmp_path / "a.db", lambda archive: archive.append(scenes, log))
    file = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        file.execute("DELETE FROM encounters WHERE scene_id = ?", [ids[0]])
    stone = encounter_of(scenes[0], "stone", kind="forgotten", minutes=60)
    file.execute(
        "INSERT INTO encounters SELECT ?, scene_id, 'forgotten', ?, namespace, run, user, chat, turn, analysis, data, "
        "digest FROM encounters WHERE scene_id = ?",
        [stone.id, stone.at.isoformat(), ids[0]],
    )
    file.execute("DELETE FROM encounters WHERE scene_id = ? AND kind <> 'forgotten'", [ids[0]])
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        file.execute("DELETE FROM encounters WHERE id = 'stone'")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        file.execute("DELETE FROM scenes WHERE id = ?", [ids[1]])
    file.close()


def test_verify_names_what_a_tombstone_should_have_removed(tmp_path: Path) -> None:
    scenes, log, ids = diary(6)

    async def body(archive: Archive) -> None:
        await archive.append(scenes, log)
        await archive.forget(ids[:1], at=AT)

    use(tmp_path / "a.db", body)
    use(tmp_path / "b.db", lambda archive: archive.append(scenes, log))
    file = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    file.execute("ATTACH ? AS other", [str(tmp_path / "b.db")])
    file.execute("INSERT INTO scenes SELECT 100, id, analysis, namespace, key, linkage, chain, code, created, encoder, "
                 "vector, digest, text, json FROM other.scenes WHERE id = ?", [ids[0]])  # fmt: skip
    file.execute("INSERT INTO encounters SELECT * FROM other.encounters WHERE scene_id = ?", [ids[0]])
    file.close()

    async def check(archive: Archive) -> None:
        faults = (await archive.verify()).faults
        assert "scene row 100: it was forgotten" in faults
        assert f"encounter {log[0].id}: its scene was forgotten" in faults
        assert any(fault.startswith("scene row 100: its symbols") for fault in faults)

    use(tmp_path / "a.db", check)


# --- Several processes -----------------------------------------------------------------------------------------------


def test_another_process_forgets_and_numbers_are_never_given_twice(tmp_path: Path) -> None:
    """A process that keeps vectors and counts in memory notices that another one forgot."""
    scenes, log, _ = diary(9)
    fresh = scene_of("новое", ["новое"], vector=[100, 0])

    async def main() -> None:
        one, two = opened(tmp_path / "a.db"), opened(tmp_path / "a.db")
        await one.open()
        await two.open()
        await one.append(scenes, log)
        near = Query(vector=bytes([100, 0]), encoder="suite-encoder@1", limit=20)
        assert len(await one.find(near)) == 9
        await two.forget([scene.id for scene in scenes[6:]], at=AT)
        assert len(await one.find(near)) == 6
        await two.append([fresh], [])
        assert {hit.scene.text for hit in await one.find(near)} == {scene.text for scene in [*scenes[:6], fresh]}
        assert len(await one.find(Query(symbols=("новое",)))) == 1
        await one.aclose()
        await two.aclose()
        file = sqlite3.connect(tmp_path / "a.db")
        assert file.execute("SELECT max(seq) FROM scenes").fetchone() == (10,)
        file.close()

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["qdrant", "weaviate"])
def test_who_writes_while_another_forgets_does_not_bring_it_back(
    store: Callable[[str], Archive], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tombstone is written after the writer looked for one and before its points arrive."""
    from scenepipe.memory import point_forget, points
    from scenepipe.memory.point_archive import PointArchive
    from scenepipe.memory.tombstones import tombstone

    scene = scene_of("тайна", ["тайна"])
    archive = store(kind)
    assert isinstance(archive, PointArchive)
    looked = point_forget.graves

    async def main() -> None:
        await archive.open()
        engine = archive._opened()

        def looked_too_early(*args: object) -> object:
            found = looked(*args)  # type: ignore[arg-type]
            monkeypatch.setattr(point_forget, "graves", looked)
            engine.insert([], [points.encounter_point(tombstone(scene.id, AT, "default"))])
            return found

        monkeypatch.setattr(point_forget, "graves", looked_too_early)
        await archive.append([scene], [encounter_of(scene, "1")])
        assert tuple(await archive.get([scene.id])) == ()
        assert [e.kind for e in await archive.encounters()] == ["forgotten"]
        assert (await archive.verify()).faults == ()
        await archive.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["qdrant", "weaviate", "qdrant-edge"])
def test_what_was_interrupted_after_its_tombstone_is_finished_by_forgetting_again(
    store: Callable[[str], Archive], kind: str
) -> None:
    from scenepipe.memory import points
    from scenepipe.memory.point_archive import PointArchive
    from scenepipe.memory.tombstones import tombstone

    scenes, log, ids = diary(6)
    archive = store(kind)
    assert isinstance(archive, PointArchive)

    async def main() -> None:
        await archive.open()
        await archive.append(scenes, log)
        stone = points.encounter_point(tombstone(ids[0], AT, "default"))
        await archive._work(lambda: archive._opened().insert([], [stone]))
        assert set((await archive.verify()).faults) == {
            f"scene {ids[0]}: it was forgotten", f"encounter {log[0].id}: it was forgotten"
        }  # fmt: skip
        assert await archive.forget(ids[:1], at=AT) == Forgotten(scenes=1, encounters=1)
        assert (await archive.verify()).faults == ()
        await archive.aclose()

    asyncio.run(main())


# --- A folder that was being written anew ----------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["half", "moved", "swapped", "half and owed"])
def test_an_edge_folder_caught_in_the_middle_is_whole(tmp_path: Path, moment: str) -> None:
    pytest.importorskip("qdrant_edge", reason="pip install 'scenepipe[qdrant-edge]'")
    from scenepipe.memory.qdrant_edge import QdrantEdgeArchive

    def archive(name: str) -> QdrantEdgeArchive:
        return QdrantEdgeArchive(path=str(tmp_path / "a"))

    scenes, log, _ = diary(3)
    suite, folder = ArchiveSuite(), tmp_path / "a"
    suite.use(archive, lambda a: a.append(scenes, log))
    if moment == "moved":
        os.replace(folder / "shard", folder / ".lock.old")
        (folder / ".lock.shard").mkdir()
    elif moment == "swapped":
        (folder / ".lock.old").mkdir()
        (folder / ".lock.old" / "left over").write_text(SECRET)
    else:
        (folder / ".lock.shard" / "segments").mkdir(parents=True)
    if moment.endswith("owed"):
        (folder / ".lock.forgotten").touch()

    async def body(a: Archive) -> None:
        assert len(await a.get([scene.id for scene in scenes])) == 3
        assert (await a.verify()).faults == ()
        assert [hit.scene for hit in await a.find(query_of(scenes[1]))][0] == scenes[1]

    suite.use(archive, body)
    left = {entry.name for entry in folder.iterdir()} - {".lock", "archive.json", "shard"}
    assert left <= {".lock.shard"}
