"""The Qdrant Edge archive: the conformance suite, its folder, damage, and kill -9."""

from __future__ import annotations

import asyncio
import json
import os
import random
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from scenepipe.contracts import Archive, Query
from scenepipe.errors import ArchiveError
from scenepipe.memory import edge_cache
from scenepipe.memory.qdrant_edge import EdgeEngine, QdrantEdgeArchive
from scenepipe.testing.archive_material import COMMON_HITS, NOON, common_archive
from scenepipe.testing.archive_suite import ENCODER, ArchiveFactory, ArchiveSuite, encounter_of, query_of, scene_of

edge = pytest.importorskip("qdrant_edge", reason="pip install 'scenepipe[qdrant-edge]'")


def opened(path: Path) -> QdrantEdgeArchive:
    return QdrantEdgeArchive(path=str(path))


class TestQdrantEdgeArchive(ArchiveSuite):
    @pytest.fixture
    def archive_factory(self, tmp_path: Path) -> ArchiveFactory:
        return lambda name="archive": opened(tmp_path / name)


async def write(path: Path, count: int = 3) -> list[str]:
    archive = opened(path)
    await archive.open()
    scenes = [scene_of(f"текст {n}", ["шаг", f"слово{n}"], linkage=["шаг"], vector=[100, n]) for n in range(count)]
    await archive.append(scenes, [encounter_of(s, f"op-{n}", chat="c") for n, s in enumerate(scenes)])
    await archive.aclose()
    return [scene.id for scene in scenes]


def refusal(path: Path) -> str:
    with pytest.raises(ArchiveError) as caught:
        asyncio.run(opened(path).open())
    return str(caught.value)


# --- The folder ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_folders_belong_to_their_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    asyncio.run(write(Path("~/a/b")))
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b", "a/b/shard")] == [0o700] * 3


def test_a_file_and_a_foreign_folder_are_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert "give 'path' a folder" in refusal(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("mine")
    assert "other files (notes.txt)" in refusal(tmp_path / "folder")
    assert [entry.name for entry in (tmp_path / "folder").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ({"version": 3, "engine": "0.9"}, "upgrade scenepipe"),
        ({"version": 1, "engine": "0.8"}, "made by Qdrant Edge 0.8, this is for 0.9; export it"),
        ({"version": "x"}, "archive.json is damaged"),
    ],
)
def test_archives_of_other_versions_are_refused(tmp_path: Path, mark: dict[str, object], message: str) -> None:
    asyncio.run(write(tmp_path / "a"))
    (tmp_path / "a" / "archive.json").write_text(json.dumps(mark))
    assert message in refusal(tmp_path / "a")


def test_a_second_archive_in_the_same_process_is_refused(tmp_path: Path) -> None:
    async def body(archive: Archive) -> None:
        with pytest.raises(ArchiveError, match="one process at a time"):
            await opened(tmp_path / "a").open()
        await archive.append([scene_of("шаг")], [])

    ArchiveSuite().use(lambda name: opened(tmp_path / "a"), body)
    assert len(asyncio.run(write(tmp_path / "a"))) == 3


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    source = """
import asyncio, sys
from scenepipe.errors import ArchiveError
from scenepipe.memory.qdrant_edge import QdrantEdgeArchive
try:
    asyncio.run(QdrantEdgeArchive(path=sys.argv[1]).open())
except ArchiveError as error:
    print(error)
"""

    async def body(archive: Archive) -> str:
        command = [sys.executable, "-c", source, str(tmp_path / "a")]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
        return str(done.stdout)

    assert "another process has it open" in ArchiveSuite().use(lambda name: opened(tmp_path / "a"), body)


# --- Vectors ---------------------------------------------------------------------------------------------------------


def test_vectors_of_several_lengths_live_together(tmp_path: Path) -> None:
    short, long = scene_of("шаг", vector=[100, 0]), scene_of("ход", vector=[100, 0, 0])
    dark = scene_of("тьма", vector=[0, 0])

    async def body(archive: Archive) -> None:
        for scene in (short, long, dark):
            await archive.append([scene], [])
        assert tuple(await archive.get([dark.id])) == (dark,)
        for scene in (short, long):
            assert scene.field is not None
            assert scene.field.vector is not None
            found = await archive.find(Query(vector=scene.field.vector.data, encoder=ENCODER))
            assert [hit.scene for hit in found] == [scene]

    suite = ArchiveSuite()
    suite.use(lambda name: opened(tmp_path / "a"), body)

    async def again(archive: Archive) -> None:
        assert len(await archive.find(Query(vector=b"\x64\x00\x00", encoder=ENCODER))) == 1

    suite.use(lambda name: opened(tmp_path / "a"), again)


def test_the_vector_index_is_built_when_enough_is_new(tmp_path: Path) -> None:
    """Also by a process that writes little itself, and not before."""

    def kinds() -> set[str]:
        files = (tmp_path / "a" / "shard" / "segments").glob("*/segment.json")
        configs = [json.loads(file.read_bytes())["config"]["vector_data"] for file in files]
        return {vector["index"]["type"] for config in configs for vector in config.values()}

    async def add(number: int, index_every: int) -> None:
        archive = QdrantEdgeArchive(path=str(tmp_path / "a"), index_every=index_every)
        await archive.open()
        noise = random.Random(number)
        scenes = [
            scene_of(f"{number} {n}", vector=[noise.randrange(-127, 128) for _ in range(512)]) for n in range(200)
        ]
        await archive.append(scenes, [])
        assert (await archive.find(query_of(scenes[7])))[0].scene == scenes[7]
        await archive.aclose()

    for number in range(2):
        asyncio.run(add(number, 10_000))
    assert kinds() == {"plain"}
    asyncio.run(add(3, 250))
    assert "hnsw" in kinds()


# --- Damage ----------------------------------------------------------------------------------------------------------


def test_a_changed_record_is_noticed(tmp_path: Path) -> None:
    ids = asyncio.run(write(tmp_path / "a"))
    shard = edge.EdgeShard.load(str(tmp_path / "a" / "shard"))
    found, _ = shard.scroll(edge.ScrollRequest(limit=10, with_payload=True, with_vector=False))
    changed = {record.payload["scene"]: record for record in found if record.payload.get("ordinal")}[ids[1]]
    data = changed.payload["json"].replace("текст", "тексс")
    shard.update(edge.UpdateOperation.set_payload([changed.id], {"json": data}))
    shard.flush()
    shard.close()

    async def body(archive: Archive) -> None:
        assert (await archive.verify()).faults == (f"scene point {changed.id}: damaged",)
        with pytest.raises(ArchiveError, match=ids[1]):
            await archive.get(ids)
        assert len(await archive.get([ids[0], ids[2]])) == 2
        assert {hit.scene.id for hit in await archive.find(Query(symbols=("шаг",)))} == {ids[0], ids[2]}

    ArchiveSuite().use(lambda name: opened(tmp_path / "a"), body)


@pytest.mark.parametrize("seed", range(6))
def test_noise_is_survived(tmp_path: Path, seed: int) -> None:
    """Files of the engine with noise: the archive is refused by name, or what comes back is right."""
    ids, noise = asyncio.run(write(tmp_path / "a", 20)), random.Random(seed)
    files = sorted(file for file in (tmp_path / "a" / "shard").rglob("*") if file.is_file() and file.stat().st_size)
    for file in noise.sample(files, 3):
        content = bytearray(file.read_bytes())
        for _ in range(20):
            content[noise.randrange(min(len(content), 20_000))] = noise.randrange(256)
        file.write_bytes(content)

    async def body() -> None:
        archive = opened(tmp_path / "a")
        try:
            await archive.open()
            found = await archive.verify()
            good = [scene.text for scene in await archive.get(ids)] if not found.faults else []
            assert found.faults or good == [f"текст {n}" for n in range(20)]
        except ArchiveError as error:
            assert str(tmp_path / "a") in str(error)
        finally:
            await archive.aclose()

    asyncio.run(body())


# --- kill -9 ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="uses POSIX signals")
def test_every_acknowledged_encounter_survives_kill_9(
    tmp_path: Path, kill_9: Callable[[type[Archive], Path], None]
) -> None:
    kill_9(QdrantEdgeArchive, tmp_path / "a")


def test_no_write_step_loses_anything_to_kill_9(
    tmp_path: Path, kill_9_at_steps: Callable[[type[Archive], Path], None]
) -> None:
    kill_9_at_steps(QdrantEdgeArchive, tmp_path / "a")


def test_a_folder_half_made_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "a" / ".lock.shard" / "segments").mkdir(parents=True)
    (tmp_path / "a" / ".lock").touch()
    (tmp_path / "a" / ".lock.new").write_text("{")

    async def body(archive: Archive) -> None:
        scene = scene_of("шаг", ["шаг"])
        await archive.append([scene], [])
        assert [hit.scene for hit in await archive.find(query_of(scene))] == [scene]

    ArchiveSuite().use(lambda name: opened(tmp_path / "a"), body)


@pytest.mark.parametrize("most", [0, 3, 250_000], ids=["read each time", "more than is kept", "kept"])
def test_what_is_kept_for_searches_changes_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """What was written, forgotten and rebuilt after the first search is found, or not, as by reading each time."""
    monkeypatch.setattr(edge_cache, "MOST_ROWS", most)
    scenes, log = common_archive()
    late, gone = scene_of("потом", ["дом"], vector=[100, 5, 0]), scenes[0]

    async def main() -> None:
        archive = QdrantEdgeArchive(path=str(tmp_path / "a"))
        await archive.open()
        await archive.append(scenes, log)
        for query, expected in COMMON_HITS:
            assert [hit.scene.text for hit in await archive.find(query)] == [text for text, *_ in expected]
        await archive.append([late], [encounter_of(late, "late")])
        assert (await archive.find(query_of(late)))[0].scene == late
        await archive.forget([gone.id], at=NOON + timedelta(days=9))
        assert gone.id not in {hit.scene.id for hit in await archive.find(query_of(gone))}
        await archive.rebuild()
        assert (await archive.find(query_of(late)))[0].scene == late
        await archive.aclose()

    asyncio.run(main())


class Refusing:
    """A shard of which the next flush fails, after everything was handed to it."""

    def __init__(self, shard: Any) -> None:
        self._shard = shard
        self.refusals = 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shard, name)

    def flush(self) -> None:
        if self.refusals:
            self.refusals -= 1
            raise OSError("no space left on device")
        self._shard.flush()


def test_what_is_kept_is_not_trusted_after_a_write_that_failed(tmp_path: Path) -> None:
    """The engine has taken the scene; a repeated append writes nothing new, and a search has to find it."""
    first, second = scene_of("шаг", ["шаг"]), scene_of("другой шаг", ["шаг"])

    async def main() -> None:
        archive = opened(tmp_path / "a")
        await archive.open()
        await archive.append([first], [])
        assert [hit.scene for hit in await archive.find(query_of(first))] == [first]
        engine = archive._engine
        assert isinstance(engine, EdgeEngine)
        engine._shard = Refusing(engine._shard)
        with pytest.raises(ArchiveError, match="no space left"):
            await archive.append([second], [])
        assert (await archive.append([second], [])).scenes == 0
        assert (await archive.find(query_of(second)))[0].scene == second
        await archive.aclose()

    asyncio.run(main())


def test_rows_are_kept_up_to_a_number_of_scenes_whatever_was_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_cache, "MOST_ROWS", 3)
    scenes = [scene_of(f"шаг {n}", ["шаг"]) for n in range(4)]
    met = [encounter_of(scenes[0], f"op-{n}") for n in range(20)]

    async def main() -> None:
        archive = opened(tmp_path / "a")
        await archive.open()
        await archive.append(scenes[:2], met)
        await archive.find(query_of(scenes[0]))
        engine = archive._engine
        assert isinstance(engine, EdgeEngine)
        kept = []
        for scene in scenes[2:]:
            await archive.append([scene], [])
            kept.append(len(engine._kept._rows or ()))
        assert kept == [3, 0], "beyond the limit they are dropped, not counted on"
        assert (await archive.find(query_of(scenes[3])))[0].scene == scenes[3]
        assert engine._kept._rows is None
        await archive.aclose()

    asyncio.run(main())
