"""Durable writes a second and the time of a recall, of every store side by side.

    python benchmarks/archive_stores.py [SCENES] [STORE ...]

Scenes of ten symbols (Zipf over 20,000 lemmas) with a clustered vector of 512 dimensions are appended in batches of
64, each with its encounter; an append returns when the store has it on disk. Then 200 recalls by symbols, linkage and
vector; the time on the clock and that of the processor, which a busy machine spoils less. recall@10 compares the
scenes that were near in meaning with exact search. PostgreSQL is measured where SCENEPIPE_POSTGRES_URL names a
server, Qdrant where SCENEPIPE_QDRANT_URL does. Default: 20,000 scenes.
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scenepipe.contracts import Archive, Encounter, Query
from scenepipe.registry import default_registry
from scenepipe.scene import Analysis, Linkage, Scene, SemanticField, Symbol, Vector, new_scene

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
ENCODER = "benchmark@1"
DIM, BATCH, QUERIES, LEMMAS, CLUSTERS = 512, 64, 200, 20_000, 200


def scenes(count: int) -> Iterator[Scene]:
    """Distinct scenes, the same at every run."""
    chance, noise = random.Random(1), np.random.default_rng(1)
    centres = noise.normal(size=(CLUSTERS, DIM))
    weights = [1 / (rank + 10) for rank in range(LEMMAS)]
    for number in range(count):
        lemmas = list(dict.fromkeys(f"лемма{n}" for n in chance.choices(range(LEMMAS), weights, k=10)))
        row = centres[number % CLUSTERS] + noise.normal(size=DIM)
        data = np.clip(np.rint(row / np.linalg.norm(row) * 127 * 4), -127, 127).astype(np.int8).tobytes()
        yield new_scene(f"текст {number}: {' '.join(lemmas)} " * 5, created=NOON + timedelta(seconds=number)).with_(
            symbols=tuple(Symbol(lemma=lemma, language="ru", score=0.5) for lemma in lemmas),
            linkage=Linkage(chain=tuple(lemmas[:4])),
            field=SemanticField(axes="benchmark@1", vector=Vector(data=data, encoder=ENCODER)),
            analysis=Analysis(analysers=("benchmark@1",), encoder=ENCODER),
        )


def met(scene: Scene, number: int) -> Encounter:
    return Encounter(id=f"op-{number}", scene_id=scene.id, kind="met", at=NOON + timedelta(seconds=number))


def query(scene: Scene, other: Scene) -> Query:
    """Half of one scene's symbols, and the vector of another."""
    keys = tuple(symbol.key for symbol in scene.symbols or ())[::2]
    return Query(symbols=keys, linkage=keys[:2], vector=vector_of(other).data, encoder=ENCODER, limit=10)


async def measure(archive: Archive, count: int) -> None:
    """Print one store's row. Only the scenes that are asked for later are kept here."""
    chance = random.Random(2)
    picks = [(chance.randrange(count), chance.randrange(count)) for _ in range(QUERIES)]
    wanted = {number for pick in picks for number in pick}
    kept: dict[int, Scene] = {}
    ids, rows = [], np.empty((count, DIM), np.int8)
    await archive.open()
    batch: list[tuple[int, Scene]] = []
    spent = busy = 0.0
    for number, scene in enumerate(scenes(count)):
        batch.append((number, scene))
        ids.append(scene.id)
        rows[number] = np.frombuffer(vector_of(scene).data, np.int8)
        if number in wanted:
            kept[number] = scene
        if len(batch) == BATCH or number == count - 1:
            log = [met(scene, number) for number, scene in batch]
            start, used = time.perf_counter(), time.process_time()
            await archive.append([scene for _, scene in batch], log)
            spent, busy = spent + time.perf_counter() - start, busy + time.process_time() - used
            batch = []
    start = time.perf_counter()
    await archive.find(query(kept[picks[0][0]], kept[picks[0][1]]))
    first, times, used = time.perf_counter() - start, [], time.process_time()
    for one, other in picks:
        start = time.perf_counter()
        await archive.find(query(kept[one], kept[other]))
        times.append(time.perf_counter() - start)
    used, peak = time.process_time() - used, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    times.sort()
    near = await recall_at_10(archive, ids, rows, [vector_of(kept[other]) for _, other in picks[:50]])
    print(
        f"{count / spent:7.0f} scenes/s (cpu {busy / count * 1e3:5.2f} ms each)   "
        f"find p50 {statistics.median(times) * 1e3:7.2f} ms  p95 {times[int(0.95 * len(times))] * 1e3:7.2f}  "
        f"cpu {used / QUERIES * 1e3:6.2f}  first {first * 1e3:6.0f}   recall@10 {near:.3f}   peak {peak:5.0f} MiB"
    )
    await archive.aclose()


def vector_of(scene: Scene) -> Vector:
    assert scene.field is not None
    assert scene.field.vector is not None
    return scene.field.vector


async def recall_at_10(archive: Archive, ids: list[str], rows: npt.NDArray[np.int8], asked: list[Vector]) -> float:
    """Share of the ten nearest by exact search that the store finds by vector alone."""
    exact = rows.astype(np.float32)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    found = 0
    for vector in asked:
        cosines = exact @ np.frombuffer(vector.data, np.int8).astype(np.float32)
        nearest = {ids[row] for row in np.argsort(-cosines)[:10]}
        hits = await archive.find(Query(vector=vector.data, encoder=ENCODER, limit=10))
        found += len(nearest & {hit.scene.id for hit in hits})
    return found / (10 * len(asked))


def options(store: str, folder: Path) -> dict[str, str] | None:
    """Constructor options of a store, None where it cannot run here."""
    if store in ("postgres", "qdrant"):
        url = os.environ.get(f"SCENEPIPE_{store.upper()}_URL")
        mine = {"postgres": "schema", "qdrant": "prefix"}[store]
        return {"url": url, mine: f"benchmark_{os.getpid()}"} if url else None
    return {} if store == "memory" else {"path": str(folder / ("a.db" if store == "sqlite" else "a"))}


def main(count: int, stores: list[str]) -> None:
    """Measure each store in a process of its own, so that the peak is its own."""
    registry = default_registry()
    print(f"{count} scenes, vectors of {DIM}, batches of {BATCH}, full durability")
    for store in stores or [name for name in registry.names("archive") if name != "memory"]:
        with tempfile.TemporaryDirectory() as folder:
            given = options(store, Path(folder))
            print(f"{store:12}", end=" ", flush=True)
            if given is None or registry.missing("archive", store):
                print("not measured: no server, or its extra is not installed")
                continue
            child = os.fork()
            if child == 0:
                asyncio.run(measure(registry.load("archive", store)(**given), count))
                sys.stdout.flush()
                os._exit(0)
            os.waitpid(child, 0)


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    main(numbers[0] if numbers else 20_000, [argument for argument in sys.argv[1:] if not argument.isdigit()])
