"""Durable writes a second and the time of a recall, of every store side by side, and of Chroma and mem0 beside them.

    python benchmarks/archive_stores.py [SCENES] [STORE ...]

Scenes made of real analyses (see ``_archive_scenes.py``) are appended in batches of 64, each with its encounter; an
append returns when the store has it on disk. Then 200 recalls of scenes that are not stored, asked as the stage
``recall`` asks; recall@10 compares what is found by vector alone with exact search. Times are those on the clock and of
the processor, which a busy machine spoils less. PostgreSQL is measured where SCENEPIPE_POSTGRES_URL names a server,
Qdrant where SCENEPIPE_QDRANT_URL does. The peers get the same texts and vectors and no model; they may stand in an
environment of their own, whose Python SCENEPIPE_PEERS names. Default: 20,000 scenes; asked at 100,000, on one core:

    OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/archive_stores.py 100000 sqlite qdrant-edge chroma mem0
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from _archive_scenes import Maker, analysed, met, query, vector_of

from scenepipe.contracts import Archive, Query
from scenepipe.memory.vectors import SIMILARITY_FLOOR
from scenepipe.registry import default_registry
from scenepipe.scene import Scene, Vector

BATCH, QUERIES, COMPARED = 64, 200, 50
PEERS = ("chroma", "mem0")
MEM0_MOST = 2_000
"""mem0 writes one memory at a time and its local store compares one by one, so more of them would take hours."""


class Spent(NamedTuple):
    """Seconds on the clock and of this process."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Spent:
        return cls(time.perf_counter(), time.process_time())

    def since(self, start: Spent) -> Spent:
        return Spent(self.wall - start.wall, self.cpu - start.cpu)


async def measure(archive: Archive, maker: Maker, count: int) -> None:
    """Print one store's row."""
    await archive.open()
    ids, rows, wrote = await fill(archive, maker, count)
    asked = [maker.scene(number) for number in range(count, count + QUERIES)]
    first, times, used = await recalls(archive, asked)
    near = await recall_at_10(archive, ids, rows, [vector_of(scene) for scene in asked[:COMPARED]])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{count / wrote.wall:7.0f} scenes/s (cpu {wrote.cpu / count * 1e3:5.2f} ms each)   "
        f"find p50 {statistics.median(times) * 1e3:7.2f} ms  p95 {times[int(0.95 * len(times))] * 1e3:7.2f}  "
        f"cpu {used / len(times) * 1e3:6.2f}  first {first * 1e3:6.0f}   recall@10 {near:.3f}   peak {peak:5.0f} MiB"
    )
    await archive.aclose()


async def fill(archive: Archive, maker: Maker, count: int) -> tuple[list[str], npt.NDArray[np.int8], Spent]:
    """Append scenes; their ids, their vectors, and the time of the appends alone."""
    ids: list[str] = []
    vectors: list[bytes] = []
    wall = cpu = 0.0
    for begin in range(0, count, BATCH):
        numbers = range(begin, min(begin + BATCH, count))
        batch = [maker.scene(number) for number in numbers]
        log = [met(scene, number) for scene, number in zip(batch, numbers, strict=True)]
        start = Spent.now()
        await archive.append(batch, log)
        spent = Spent.now().since(start)
        wall, cpu = wall + spent.wall, cpu + spent.cpu
        ids += [scene.id for scene in batch]
        vectors += [vector_of(scene).data for scene in batch]
    return ids, np.frombuffer(b"".join(vectors), np.int8).reshape(count, -1), Spent(wall, cpu)


async def recalls(archive: Archive, asked: list[Scene]) -> tuple[float, list[float], float]:
    """Seconds of the first recall, which reads what is kept in memory, of each after it, sorted, and CPU of these."""
    start, times = Spent.now(), []
    await archive.find(query(asked[0]))
    first, begun = Spent.now().since(start).wall, Spent.now()
    for scene in asked:
        start = Spent.now()
        await archive.find(query(scene))
        times.append(Spent.now().since(start).wall)
    return first, sorted(times), Spent.now().since(begun).cpu


async def recall_at_10(archive: Archive, ids: list[str], rows: npt.NDArray[np.int8], asked: list[Vector]) -> float:
    """Share of the ten nearest by exact search, those at or above the floor, that the store finds by vector alone."""
    exact = rows.astype(np.float32)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    found = wanted = 0
    for vector in asked:
        row = np.frombuffer(vector.data, np.int8).astype(np.float32)
        cosines = exact @ (row / np.linalg.norm(row))
        nearest = {ids[row] for row in np.argsort(-cosines)[:10] if cosines[row] >= SIMILARITY_FLOOR}
        wanted += len(nearest)
        hits = await archive.find(Query(vector=vector.data, encoder=vector.encoder, limit=10))
        found += len(nearest & {hit.scene.id for hit in hits})
    return found / wanted


def options(store: str, folder: Path) -> dict[str, str] | None:
    """Constructor options of a store, None where it cannot run here."""
    if store in ("postgres", "qdrant", "redis"):
        url = os.environ.get(f"SCENEPIPE_{store.upper()}_URL")
        mine = "schema" if store == "postgres" else "prefix"
        return {"url": url, mine: f"benchmark_{os.getpid()}"} if url else None
    if store == "weaviate":
        return None
    return {} if store == "memory" else {"path": str(folder / ("a.db" if store == "sqlite" else "a"))}


def measure_store(store: str, maker: Maker, count: int, folder: Path) -> None:
    """In a process of its own, so that the peak is its own."""
    registry = default_registry()
    given = options(store, folder)
    if given is None or registry.missing("archive", store):
        print("not measured: no server, or its extra is not installed")
        return
    child = os.fork()
    if child == 0:
        asyncio.run(measure(registry.load("archive", store)(**given), maker, count))
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)


def measure_peer(peer: str, maker: Maker, count: int, folder: Path) -> None:
    """Hand the same texts and vectors to ``_archive_peers.py``, in the Python in which the peers are installed."""
    count = min(count, MEM0_MOST) if peer == "mem0" else count
    with (folder / "scenes.jsonl").open("w", encoding="utf-8") as file:
        for number in range(count + QUERIES):
            scene = maker.scene(number)
            file.write(json.dumps({"id": scene.id, "text": scene.text, "vector": vector_of(scene).data.hex()}) + "\n")
    python = os.environ.get("SCENEPIPE_PEERS", sys.executable)
    place = Path(__file__).with_name("_archive_peers.py")
    subprocess.run([python, str(place), peer, str(folder), str(count), str(BATCH)], check=False)


def main(count: int, stores: list[str]) -> None:
    """Measure what is named, or everything."""
    registry, maker = default_registry(), Maker(analysed())
    print(f"{count} scenes, batches of {BATCH}, full durability")
    for store in stores or [*(name for name in registry.names("archive") if name != "memory"), *PEERS]:
        with tempfile.TemporaryDirectory() as folder:
            print(f"{store:12}", end=" ", flush=True)
            (measure_peer if store in PEERS else measure_store)(store, maker, count, Path(folder))


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    main(numbers[0] if numbers else 20_000, [argument for argument in sys.argv[1:] if not argument.isdigit()])
