"""What is left of a Qdrant Edge archive after a full disk, lost permissions and truncated files."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from scenepipe.errors import ArchiveError
from scenepipe.memory.qdrant_edge import QdrantEdgeArchive
from scenepipe.scene import Scene
from scenepipe.testing.archive_suite import encounter_of, query_of, scene_of

pytest.importorskip("qdrant_edge", reason="pip install 'scenepipe[qdrant-edge]'")
posix = pytest.mark.skipif(os.name != "posix", reason="uses POSIX limits and users")


def scenes(count: int) -> list[Scene]:
    return [scene_of(f"текст {n} " + "слово " * 300, ["шаг"], vector=[100, n % 50]) for n in range(count)]


async def filled(path: Path, count: int) -> QdrantEdgeArchive:
    archive = QdrantEdgeArchive(path=str(path))
    await archive.open()
    if count:
        stored = scenes(count)
        await archive.append(stored, [encounter_of(s, f"op-{n}") for n, s in enumerate(stored)])
    return archive


async def acknowledged(path: Path) -> list[str]:
    """Everything stored, after a check that all of it can be read."""
    archive = await filled(path, 0)
    stored = [encounter.id for encounter in await archive.encounters()]
    assert (await archive.verify()).faults == ()
    await archive.aclose()
    return sorted(stored)


def run(source: str, *arguments: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [*before, sys.executable, "-c", source, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


# --- a full disk -----------------------------------------------------------------------------------------------------

_WRITES = """
import asyncio, random, resource, sys
from scenepipe.errors import ArchiveError
from scenepipe.memory.qdrant_edge import QdrantEdgeArchive
from scenepipe.testing.archive_suite import encounter_of, scene_of

async def main(path, limit):
    archive = QdrantEdgeArchive(path=path)
    await archive.open()
    if int(limit):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    try:
        for n in range(200):
            scene = scene_of(random.Random(n).randbytes(500_000).hex())  # the engine compresses
            await archive.append([scene], [encounter_of(scene, f"new-{n}")])
            print(f"new-{n}", flush=True)
    except ArchiveError as error:
        print("ArchiveError", path in str(error), flush=True)
    try:
        await archive.aclose()
    except ArchiveError as error:
        print("closed", path in str(error), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@posix
def test_a_write_that_the_system_refuses_keeps_what_was_written(tmp_path: Path) -> None:
    async def make() -> None:
        await (await filled(tmp_path / "a", 5)).aclose()

    asyncio.run(make())
    done = run(_WRITES, str(tmp_path / "a"), "1000000")  # no new page or log of the engine, which have 32 MB each
    lines = done.stdout.split()
    new = [line for line in lines if line.startswith("new-")]
    assert lines[len(new) :][:2] == ["ArchiveError", "True"], done.stderr
    assert set(asyncio.run(acknowledged(tmp_path / "a"))) >= {*new, *(f"op-{n}" for n in range(5))}


def mounts() -> bool:
    """May this user mount a small file system of its own?"""
    if shutil.which("unshare") is None:
        return False
    tried = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
    return tried.returncode == 0


_FULL = """
set -e
mount -t tmpfs -o size=150m none "$1"
cp -a "$2/." "$1/a"
"$3" -c "$4" "$1/a" 0 || echo "ended with $?"
rm -rf "$2"
cp -a "$1/a" "$2"
"""


def test_a_full_disk_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    """The engine writes through memory maps, where a full disk may end the process (SIGBUS): what was acknowledged stays."""
    if not mounts():
        pytest.skip("no mounts for this user")

    async def make() -> None:
        await (await filled(tmp_path / "a", 5)).aclose()

    asyncio.run(make())
    (tmp_path / "disk").mkdir()
    arguments = [str(tmp_path / "disk"), str(tmp_path / "a"), sys.executable, _WRITES]
    command = ["unshare", "-rm", "sh", "-c", _FULL, "sh", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    new = [line for line in done.stdout.split() if line.startswith("new-")]
    assert "ArchiveError True" in done.stdout or "ended with 135" in done.stdout, (done.stdout[-200:], done.stderr)
    assert new
    assert set(asyncio.run(acknowledged(tmp_path / "a"))) >= {*new, *(f"op-{n}" for n in range(5))}


# --- read-only -------------------------------------------------------------------------------------------------------

_NOBODY = """
import asyncio, os, sys
from scenepipe.errors import ArchiveError
from scenepipe.memory.qdrant_edge import QdrantEdgeArchive

async def main(path):
    if os.geteuid() == 0:
        os.setuid(65534)
    try:
        await QdrantEdgeArchive(path=path).open()
    except ArchiveError as error:
        print(error)

asyncio.run(main(sys.argv[1]))
"""


@posix
def test_a_read_only_folder_is_refused_by_name_and_left_alone(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp())  # a user without rights must reach it, and tmp_path is closed to others

    async def make() -> None:
        await (await filled(folder / "a", 5)).aclose()

    try:
        asyncio.run(make())
        places = [folder, folder / "a", *(folder / "a").rglob("*")]
        for place in places:
            place.chmod(0o555 if place.is_dir() else 0o444)
        before = {place: place.read_bytes() for place in places if place.is_file()}
        done = run(_NOBODY, str(folder / "a"))
        assert f"archive {folder / 'a'}: " in done.stdout, done.stderr
        assert {place: place.read_bytes() for place in before} == before
        for place in places:
            place.chmod(0o755 if place.is_dir() else 0o644)
        assert len(asyncio.run(acknowledged(folder / "a"))) == 5
    finally:
        shutil.rmtree(folder)


# --- truncated files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [0.0, 0.5, 0.99])
def test_truncated_files_are_refused_by_name_or_read_right(tmp_path: Path, part: float) -> None:
    """Each file of the engine in turn. The same archive with the file as it was is whole again: nothing got worse."""

    async def make() -> None:
        await (await filled(tmp_path / "whole", 20)).aclose()

    async def read(path: Path) -> str:
        archive = QdrantEdgeArchive(path=str(path))
        try:
            await archive.open()
            faults = (await archive.verify()).faults
            found = {scene.id for scene in await archive.get([scene.id for scene in scenes(20)])}
            await archive.find(query_of(scenes(1)[0]))
            return "whole" if not faults and len(found) == 20 else f"{len(faults)} faults, {len(found)} scenes"
        except ArchiveError as error:
            assert str(path) in str(error)
            return "refused"
        finally:
            await archive.aclose()

    asyncio.run(make())
    files = sorted(f for f in (tmp_path / "whole").rglob("*") if f.is_file() and f.stat().st_size)
    seen = set()
    for number, file in enumerate(files):
        damaged = tmp_path / f"{number}"
        shutil.copytree(tmp_path / "whole", damaged)
        os.truncate(damaged / file.relative_to(tmp_path / "whole"), int(file.stat().st_size * part))
        seen.add(asyncio.run(read(damaged)))
        shutil.rmtree(damaged)
    assert asyncio.run(read(tmp_path / "whole")) == "whole"
    assert "refused" in seen
