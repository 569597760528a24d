"""Chroma and mem0 over the texts and vectors that `archive_stores.py` hands over; no model and no network.

    python _archive_peers.py PEER FOLDER COUNT BATCH

``scenes.jsonl`` in the folder has COUNT rows to store, then those to ask for. Chroma keeps to its defaults with cosine.
mem0 stores as it is told (``infer=False``) in its default vector store, Qdrant in a local folder, with the history that
it always keeps. Neither says that a write is on disk when its call returns.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Row = dict[str, Any]
Add = Callable[[list[Row]], object]
Find = Callable[[Row], list[str]]

LIMIT = 10
COMPARED = 50


def rows(folder: Path) -> Iterator[Row]:
    with (folder / "scenes.jsonl").open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            vector = np.frombuffer(bytes.fromhex(row["vector"]), np.int8).astype(np.float32)
            yield row | {"vector": vector / np.linalg.norm(vector)}


def chroma(folder: Path) -> tuple[Add, Find]:
    import chromadb

    client = chromadb.PersistentClient(str(folder / "chroma"), chromadb.Settings(anonymized_telemetry=False))
    store = client.create_collection("scenes", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None)

    def add(batch: list[Row]) -> None:
        store.add([r["id"] for r in batch], [r["vector"] for r in batch], documents=[r["text"] for r in batch])

    def find(row: Row) -> list[str]:
        found = store.query([row["vector"]], n_results=LIMIT, include=["documents", "distances"])
        return list(found["documents"][0])

    return add, find


class Given:
    """Stands for mem0's embedding model: the vectors that were made already."""

    def __init__(self) -> None:
        self.vectors: dict[str, list[float]] = {}

    def embed(self, text: str, *_: object, **__: object) -> list[float]:
        return self.vectors[text]


def mem0(folder: Path) -> tuple[Add, Find]:
    os.environ |= {"MEM0_TELEMETRY": "False", "MEM0_DIR": str(folder / "mem0"), "OPENAI_API_KEY": "unused"}
    from mem0 import Memory

    place: Any = {"path": str(folder / "qdrant"), "on_disk": True, "embedding_model_dims": 512}
    memory = Memory.from_config(
        {
            "vector_store": {"provider": "qdrant", "config": place},
            "embedder": {"provider": "openai", "config": {"embedding_dims": 512}},
            "history_db_path": str(folder / "history.db"),
        }
    )
    memory.embedding_model = given = Given()

    def add(batch: list[Row]) -> None:
        given.vectors |= {r["text"]: r["vector"].tolist() for r in batch}
        memory.add([{"role": "user", "content": r["text"]} for r in batch], user_id="one", infer=False)

    def find(row: Row) -> list[str]:
        given.vectors[row["text"]] = row["vector"].tolist()
        found = memory.search(row["text"], filters={"user_id": "one"}, top_k=LIMIT)
        return [each["memory"] for each in found["results"]]

    return add, find


def measure(peer: str, folder: Path, count: int, batch: int) -> None:
    """Print one peer's row."""
    add, find = {"chroma": chroma, "mem0": mem0}[peer](folder)
    everything = list(rows(folder))
    stored, asked = everything[:count], everything[count:]
    start = time.perf_counter()
    for first in range(0, count, batch):
        add(stored[first : first + batch])
    spent = time.perf_counter() - start
    find(asked[0])
    times = []
    for row in asked:
        start = time.perf_counter()
        find(row)
        times.append(time.perf_counter() - start)
    times.sort()
    print(
        f"{count / spent:7.0f} scenes/s ({count} of them; not durable)   find p50 {statistics.median(times) * 1e3:7.2f} "
        f"ms  p95 {times[int(0.95 * len(times))] * 1e3:7.2f}   recall@10 {recall_at_10(stored, asked, find):.3f}"
    )


def recall_at_10(stored: list[Row], asked: list[Row], find: Find) -> float:
    """Share of the ten nearest by exact search that are found."""
    exact, found = np.stack([row["vector"] for row in stored]), 0
    for row in asked[:COMPARED]:
        nearest = {stored[number]["text"] for number in np.argsort(-(exact @ row["vector"]))[:LIMIT]}
        found += len(nearest & set(find(row)))
    return found / (LIMIT * len(asked[:COMPARED]))


if __name__ == "__main__":
    name, where, how_many, batch_size = sys.argv[1:]
    package = {"chroma": "chromadb", "mem0": "mem0"}[name]
    if importlib.util.find_spec(package) is None:
        print(f"not measured: {package} is not installed here; name its Python in SCENEPIPE_PEERS")
    else:
        measure(name, Path(where), int(how_many), int(batch_size))
