"""A backup is one moment of an archive that goes on being written, and is read once before it counts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from scenepipe.contracts import Verification
from scenepipe.errors import ArchiveError
from scenepipe.memory.backup import backup_archive
from scenepipe.memory.memory import MemoryArchive
from scenepipe.memory.sqlite import SqliteArchive
from scenepipe.testing.archive_suite import encounter_of, scene_of


def test_an_archive_is_copied_while_it_is_written(tmp_path: Path) -> None:
    async def main() -> tuple[int, Verification]:
        archive = SqliteArchive(path=str(tmp_path / "a.db"))
        await archive.open()
        for number in range(20):
            scene = scene_of(f"шаг {number}", ["шаг"])
            await archive.append([scene], [encounter_of(scene, str(number))])

        async def write() -> None:
            for number in range(20, 60):
                scene = scene_of(f"шаг {number}", ["шаг"])
                await archive.append([scene], [encounter_of(scene, str(number))])

        writing = asyncio.create_task(write())
        done = await backup_archive(archive, tmp_path / "copy.db")
        await writing
        await archive.aclose()
        copy = SqliteArchive(path=str(tmp_path / "copy.db"))
        await copy.open()
        found = await copy.verify()
        await copy.aclose()
        return done.scenes, found

    scenes, found = asyncio.run(main())
    assert found.faults == ()
    assert 20 <= scenes == found.scenes == found.encounters <= 60
    assert sorted(path.name for path in tmp_path.glob("copy*")) == ["copy.db"]


def test_an_archive_in_process_is_exported(tmp_path: Path) -> None:
    async def main() -> None:
        archive, scene = MemoryArchive(), scene_of("шаг")
        await archive.append([scene], [encounter_of(scene, "1")])
        done = await backup_archive(archive, tmp_path / "a.jsonl")
        assert (done.form, done.scenes, done.encounters) == ("export", 1, 1)
        with pytest.raises(ArchiveError, match="is not overwritten"):
            await backup_archive(archive, tmp_path / "a.jsonl")

    asyncio.run(main())
