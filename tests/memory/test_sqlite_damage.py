"""What is left of an archive after a kill, a full disk, lost permissions, a truncated file, flipped bytes."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from scenepipe.contracts import Archive, Encounter
from scenepipe.errors import ArchiveError
from scenepipe.memory.sqlite import SqliteArchive
from scenepipe.scene import Scene
from scenepipe.testing.archive_suite import encounter_of, query_of, scene_of

posix = pytest.mark.skipif(os.name != "posix", reason="uses POSIX limits and users")


def scenes(count: int) -> list[Scene]:
    return [
        scene_of(f"текст {n} " + "слово " * 300, ["шаг"], linkage=["шаг"], vector=[100, n % 50]) for n in range(count)
    ]


async def filled(path: Path, count: int = 60) -> SqliteArchive:
    archive = SqliteArchive(path=str(path))
    await archive.open()
    if count:
        stored = scenes(count)
        await archive.append(stored, [encounter_of(s, f"op-{n}") for n, s in enumerate(stored)])
    return archive


async def readable(archive: SqliteArchive, stored: list[Scene]) -> int:
    """Scenes that can be read alone; every one that cannot raises by name."""
    count = 0
    for scene in stored:
        try:
            assert tuple(await archive.get([scene.id])) == (scene,)
            count += 1
        except ArchiveError as error:
            assert scene.id in str(error)
    return count


# --- kill -9 ---------------------------------------------------------------------------------------------------------


@posix
def test_every_acknowledged_encounter_survives_kill_9(
    tmp_path: Path, kill_9: Callable[[type[Archive], Path], None]
) -> None:
    kill_9(SqliteArchive, tmp_path / "a.db")


def test_no_write_step_loses_anything_to_kill_9(
    tmp_path: Path, kill_9_at_steps: Callable[[type[Archive], Path], None]
) -> None:
    kill_9_at_steps(SqliteArchive, tmp_path / "a.db")


# --- a full disk -----------------------------------------------------------------------------------------------------


def test_a_full_disk_keeps_what_was_written(tmp_path: Path) -> None:
    async def main() -> None:
        archive = await filled(tmp_path / "a.db")
        assert archive._engine is not None
        with archive._engine.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        late = scene_of("поздно " * 5000)
        with pytest.raises(ArchiveError, match="disk is full"):
            await archive.append([late], [encounter_of(late, "late")])
        assert await readable(archive, scenes(60)) == 60
        assert tuple(await archive.get([late.id])) == ()
        with archive._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count=1000000")
        assert (await archive.append([late], [encounter_of(late, "late")])).encounters == 1
        assert (await archive.verify()).faults == ()
        await archive.aclose()

    asyncio.run(main())


_LIMITED = """
import asyncio, os, resource, sys
from scenepipe.errors import ArchiveError
from scenepipe.memory.sqlite import SqliteArchive
from scenepipe.testing.archive_suite import encounter_of, scene_of

async def main(path):
    archive = SqliteArchive(path=path)
    await archive.open()
    size = os.path.getsize(path) + 200_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    try:
        for n in range(10_000):
            scene = scene_of(f"текст {n} " + "слово " * 500)
            await archive.append([scene], [encounter_of(scene, f"new-{n}")])
            print(f"new-{n}", flush=True)
    except ArchiveError as error:
        print("ArchiveError", path in str(error))
    await archive.aclose()

asyncio.run(main(sys.argv[1]))
"""


@posix
def test_a_write_that_the_system_refuses_keeps_what_was_written(tmp_path: Path) -> None:
    async def main() -> list[str]:
        await (await filled(tmp_path / "a.db", 5)).aclose()
        command = [sys.executable, "-c", _LIMITED, str(tmp_path / "a.db")]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[:-1]
        archive = await filled(tmp_path / "a.db", 0)
        stored = [encounter.id for encounter in await archive.encounters()]
        assert (await archive.verify()).faults == ()
        await archive.aclose()
        assert sorted(stored) == sorted([*lines[:-1], *(f"op-{n}" for n in range(5))])
        return lines

    lines = asyncio.run(main())
    assert lines[-1] == "ArchiveError True"
    assert len(lines) > 5


# --- read-only -------------------------------------------------------------------------------------------------------

_NOBODY = """
import asyncio, os, sys
from scenepipe.errors import ArchiveError
from scenepipe.memory.sqlite import SqliteArchive
from scenepipe.testing.archive_suite import encounter_of, query_of, scene_of

async def main(folder):
    scene, late = scene_of("шаг", ["шаг"]), scene_of("поздно")
    path = os.path.join(folder, "a.db")
    archive = SqliteArchive(path=path)
    await archive.open()
    await archive.append([scene], [encounter_of(scene, "1")])
    await archive.find(query_of(scene))
    await archive.aclose()
    os.chmod(path, 0o444)
    os.chmod(folder, 0o555)
    if os.geteuid() == 0:
        os.setuid(65534)
    archive = SqliteArchive(path=path)
    await archive.open()
    assert tuple(await archive.get([scene.id])) == (scene,)
    assert [e.id for e in await archive.encounters()] == ["1"]
    assert (await archive.find(query_of(scene)))[0].reasons == ("same words",)
    try:
        await archive.append([late], [])
    except ArchiveError as error:
        print(error)
    assert (await archive.verify()).faults == ()
    await archive.aclose()
    try:
        await SqliteArchive(path=os.path.join(folder, "new.db")).open()
    except ArchiveError as error:
        print(error)

asyncio.run(main(sys.argv[1]))
"""


@posix
def test_a_read_only_archive_can_be_read(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp())  # a user without rights must reach it, and tmp_path is closed to others
    try:
        done = subprocess.run([sys.executable, "-c", _NOBODY, str(folder)], capture_output=True, text=True, check=False)
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)
    refused, new = done.stdout.splitlines() or (done.stderr, "")
    assert f"archive {folder}/a.db: it is read-only here" in refused
    assert "SQLITE_READONLY" in refused
    assert f"archive {folder}/new.db" in new


# --- a broken file ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9, 0.999])
def test_a_truncated_file_is_read_as_far_as_it_goes(tmp_path: Path, part: float) -> None:
    path = tmp_path / "a.db"

    async def main() -> int:
        await (await filled(path)).aclose()
        os.truncate(path, int(path.stat().st_size * part))
        before = path.read_bytes()
        archive = await filled(path, 0)
        late = scene_of("поздно")
        with pytest.raises(ArchiveError, match="shorter than its header says"):
            await archive.append([late], [])
        count = await readable(archive, scenes(60))
        assert (await archive.verify()).faults[0] == "the file is shorter than its header says"
        await archive.aclose()
        assert path.read_bytes() == before
        return count

    assert asyncio.run(main()) >= (1 if part > 0.5 else 0)


def test_a_cut_inside_the_header_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        await (await filled(tmp_path / "a.db", 1)).aclose()
        os.truncate(tmp_path / "a.db", 40)
        with pytest.raises(ArchiveError, match=r"a\.db"):
            await SqliteArchive(path=str(tmp_path / "a.db")).open()

    asyncio.run(main())


def test_a_flipped_byte_costs_one_scene(tmp_path: Path) -> None:
    path = tmp_path / "a.db"

    async def main() -> None:
        await (await filled(path)).aclose()
        content = bytearray(path.read_bytes())
        at = content.rindex("текст 30 ".encode()) + 20
        content[at] ^= 0x01
        path.write_bytes(content)
        archive = await filled(path, 0)
        stored = scenes(60)
        assert await readable(archive, stored) == 59
        with pytest.raises(ArchiveError, match=stored[30].id):
            await archive.get([scene.id for scene in stored])
        assert len(await archive.encounters()) == 60
        assert stored[30].id not in {hit.scene.id for hit in await archive.find(query_of(stored[30], limit=60))}
        assert len((await archive.verify()).faults) == 1
        exported: list[Scene | Encounter] = []
        with pytest.raises(ArchiveError, match="1 record"):
            async for record in archive.export():
                exported.append(record)
        assert len(exported) == 119
        with pytest.raises(ArchiveError, match="damaged"):
            await archive.append([scene_of("поздно")], [])
        await archive.aclose()
        assert path.read_bytes() == bytes(content)

    asyncio.run(main())


def test_a_changed_column_is_noticed(tmp_path: Path) -> None:
    async def main() -> None:
        await (await filled(tmp_path / "a.db", 3)).aclose()
        file = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
        file.execute("DROP TRIGGER scenes_no_update")
        file.execute("DROP TRIGGER encounters_no_update")
        file.execute("UPDATE scenes SET vector = x'0101' WHERE seq = 2")
        file.execute("UPDATE encounters SET kind = 'spoken' WHERE id = 'op-1'")
        file.close()
        archive = await filled(tmp_path / "a.db", 0)
        assert (await archive.verify()).faults == ("scene row 2: damaged", "encounter op-1: damaged")
        with pytest.raises(ArchiveError, match="op-1"):
            await archive.encounters()
        assert len(await archive.encounters([scenes(3)[0].id])) == 1
        await archive.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("column", ["analysis", "namespace", "key", "linkage", "chain", "code", "created"])
def test_a_column_that_repeats_the_record_is_checked_and_the_record_exported(tmp_path: Path, column: str) -> None:
    async def main() -> None:
        await (await filled(tmp_path / "a.db", 3)).aclose()
        file = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
        file.execute("DROP TRIGGER scenes_no_update")
        file.execute(f"UPDATE scenes SET {column} = '2030' WHERE seq = 2")
        file.close()
        archive = await filled(tmp_path / "a.db", 0)
        assert (await archive.verify()).faults == ("scene row 2: damaged",)
        exported = [record async for record in archive.export()]
        assert {record.id for record in exported if isinstance(record, Scene)} == {s.id for s in scenes(3)}
        await archive.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("seed", range(12))
def test_noise_is_survived(tmp_path: Path, seed: int) -> None:
    """Whole pages of noise: what cannot be read raises ArchiveError, what can be read is right, nothing else happens."""
    path, noise = tmp_path / "a.db", random.Random(seed)

    async def main() -> int:
        await (await filled(path)).aclose()
        content = bytearray(path.read_bytes())
        for _ in range(3):
            at = noise.randrange(1, len(content) // 4096) * 4096
            content[at : at + 4096] = noise.randbytes(4096)
        path.write_bytes(content)
        archive = SqliteArchive(path=str(path))
        try:
            await archive.open()
        except ArchiveError:
            return 0
        count = await readable(archive, scenes(60))
        assert (await archive.verify()).faults
        with pytest.raises(ArchiveError):
            await archive.append([scene_of("поздно")], [])
        await archive.aclose()
        return count

    assert 0 <= asyncio.run(main()) <= 60
