"""The in-process archive behaves as every archive does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from scenepipe.memory import tombstones
from scenepipe.memory.memory import MemoryArchive
from scenepipe.memory.tombstones import Graves, living_scenes
from scenepipe.scene import Scene
from scenepipe.testing.archive_suite import ArchiveFactory, ArchiveSuite, encounter_of, scene_of


class TestMemoryArchive(ArchiveSuite):
    persistent = False

    @pytest.fixture
    def archive_factory(self) -> ArchiveFactory:
        return lambda name="archive": MemoryArchive()


def test_an_append_looks_at_no_scene_that_it_does_not_name(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []

    def counted(scenes: Iterable[Scene], graves: Graves) -> list[Scene]:
        found = living_scenes(scenes, graves)
        looked_at.extend(scene.id for scene in found)
        return found

    async def main() -> None:
        archive, scenes = MemoryArchive(), [scene_of(f"шаг {n}") for n in range(9)]
        await archive.append(scenes, [])
        monkeypatch.setattr(tombstones, "living_scenes", counted)
        await archive.append([], [encounter_of(scenes[3], "again")])
        assert looked_at == [scenes[3].id]

    asyncio.run(main())
