"""Two processes that write one archive at once, half of their operations the same: the exact union, and no lock error."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scenepipe.contracts import Archive
from scenepipe.memory.qdrant_edge import QdrantEdgeArchive
from scenepipe.memory.sqlite import SqliteArchive
from scenepipe.testing.archive_suite import encounter_of, scene_of

OPERATIONS = 10_000 if "SCENEPIPE_SOAK" in os.environ else 200
"""Of each process; half of them are the other's too. ``make soak`` runs 10,000."""


def start(
    archive: type[Archive], options: dict[str, str], first: int, seed: int, count: int = OPERATIONS
) -> subprocess.Popen[str]:
    place = str(Path(__file__).with_name("writer.py"))
    what = [archive.__module__, archive.__name__, json.dumps(options), str(first), str(first + count), str(seed)]
    return subprocess.Popen([sys.executable, place, *what], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


async def check(archive: Archive) -> None:
    await archive.open()
    expected = {f"op-{number}" for number in range(OPERATIONS * 3 // 2)}
    log = await archive.encounters()
    assert len(log) == len(expected)
    assert {encounter.id for encounter in log} == expected
    found = await archive.verify()
    assert (found.scenes, found.encounters, found.faults) == (len(expected), len(expected), ())
    await archive.aclose()


def two_write(archive: type[Archive], options: dict[str, str], make: Callable[[], Archive]) -> None:
    """Every operation was new to exactly one of the two."""
    writers = [start(archive, options, number * OPERATIONS // 2, number) for number in range(2)]
    ends = [(*writer.communicate(timeout=1800), writer.returncode) for writer in writers]
    assert [(error, code) for _, error, code in ends] == [("", 0), ("", 0)]
    assert sum(int(new) for new, *_ in ends) == OPERATIONS * 3 // 2
    asyncio.run(check(make()))


def test_two_writers_of_sqlite_make_the_exact_union(tmp_path: Path) -> None:
    options = {"path": str(tmp_path / "a.db")}
    two_write(SqliteArchive, options, lambda: SqliteArchive(**options))


def test_two_writers_of_postgres_make_the_exact_union(postgres_server: str) -> None:
    module = pytest.importorskip("scenepipe.memory.postgres", reason="pip install 'scenepipe[postgres]'")
    options = {"url": postgres_server, "schema": "two_writers"}
    two_write(module.PostgresArchive, options, lambda: module.PostgresArchive(**options))


def test_two_writers_of_redis_make_the_exact_union(redis_server: Callable[..., Any]) -> None:
    module = pytest.importorskip("scenepipe.memory.redis", reason="pip install 'scenepipe[redis]'")
    options = {"url": redis_server(appendonly="yes", appendfsync="always").url}
    two_write(module.RedisArchive, options, lambda: module.RedisArchive(**options))


def test_a_second_writer_of_qdrant_edge_is_refused_by_name(tmp_path: Path) -> None:
    """It changes nothing; when the first one is done it may write, and all of it is there."""
    pytest.importorskip("qdrant_edge", reason="pip install 'scenepipe[qdrant-edge]'")
    options, mine = {"path": str(tmp_path / "a")}, scene_of("действие 0", ["шаг", "слово0"], vector=[1, 0])

    async def hold() -> tuple[str, int]:
        archive = QdrantEdgeArchive(path=options["path"])
        await archive.open()
        await archive.append([mine], [encounter_of(mine, "op-0")])
        writer = start(QdrantEdgeArchive, options, 0, 0, 200)
        _, error = await asyncio.to_thread(writer.communicate, timeout=300)
        assert [e.id for e in await archive.encounters()] == ["op-0"]
        await archive.aclose()
        return error, writer.returncode

    error, code = asyncio.run(hold())
    assert code == 1
    assert f"ArchiveError: archive {tmp_path / 'a'}: another process has it open" in error
    new, error = start(QdrantEdgeArchive, options, 0, 0, 200).communicate(timeout=300)
    assert (int(new), error) == (199, "")
