"""Many scenes that look real, made cheaply: analysing 100,000 texts would take longer than storing them.

Some 2,500 texts of this repository (inputs of the registers and of the benchmarks, Russian and English) are analysed
by the shipped pipeline ``scenes``. A made scene joins two of them that no other one joins: it keeps the first one's
analysis (language, pieces, emotion, tension, field, Δ-code, registers), each symbol of either with a chance of 0.6, the
strongest four as its linkage, and the sum of both vectors with as much noise, drawn with the covariance of the real
ones. So symbols are as frequent, vectors as crowded and spread, and records as long as real ones.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np

import scenepipe
from scenepipe.contracts import Encounter, Query
from scenepipe.models.fetch import local
from scenepipe.recall import shape_of
from scenepipe.scene import Linkage, Origin, Scene, Vector, new_scene

ROOT = Path(__file__).parents[1]
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
KEPT, LINKS = 0.6, 4


def texts() -> list[str]:
    """Every input and every text of a pair, each once."""
    found: set[str] = set()
    for path in [*ROOT.glob("registers/*/examples.jsonl"), *ROOT.glob("benchmarks/data/*.jsonl")]:
        for line in path.read_text("utf-8").splitlines():
            row = json.loads(line)
            found |= {row[name] for name in ("text", "paraphrase", "opposite", "a", "b", "ru", "en") if name in row}
    return sorted(found)


@cache
def analysed() -> tuple[Scene, ...]:
    """The texts as the pipeline ``scenes`` reads them."""
    if local("gemma-3-270m") is None:
        sys.exit("the default model is not on this disk: scenepipe model pull gemma-3-270m")
    with scenepipe.load("scenes") as pipe:
        return tuple(scene for scene in pipe.map(texts(), concurrency=128) if isinstance(scene, Scene))


class Maker:
    """Scene ``number`` is the same at every run.

    Args:
        real: analysed scenes, see `analysed`.
    """

    def __init__(self, real: Sequence[Scene]) -> None:
        self._real = [scene for scene in real if scene.symbols]
        random.Random(1).shuffle(self._real)
        rows = np.stack([np.frombuffer(vector_of(scene).data, np.int8) for scene in self._real]).astype(np.float32)
        self._rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        covariance = self._rows.T @ self._rows / len(rows) + 1e-6 * np.eye(rows.shape[1])
        self._spread = np.linalg.cholesky(covariance).T.astype(np.float32)

    def scene(self, number: int) -> Scene:
        """One made scene, with its encoder's vector."""
        size = len(self._real)
        one, other = number % size, (number + 1 + number // size) % size
        first, second, chance = self._real[one], self._real[other], random.Random(number)
        symbols = tuple(
            {s.key: s for s in (*first.symbols, *second.symbols) if chance.random() < KEPT}.values()  # type: ignore[misc]
        )
        chain = tuple(s.key for s in sorted(symbols, key=lambda s: -s.score)[:LINKS])
        assert first.field is not None
        kept = Vector(data=self._vector(one, other, number), encoder=vector_of(first).encoder)
        made = new_scene(f"{first.text} {second.text}", created=NOON + timedelta(seconds=number))
        return first.model_copy(
            update={
                **{name: getattr(made, name) for name in ("id", "key", "text", "created")},
                "origin": Origin(),
                "symbols": symbols,
                "linkage": Linkage(chain=chain),
                "field": first.field.model_copy(update={"vector": kept}),
            }
        )

    def _vector(self, one: int, other: int, number: int) -> bytes:
        row = self._rows[one] + self._rows[other]
        noise = np.random.default_rng(number).normal(size=len(row)).astype(np.float32) @ self._spread
        row = row + noise * np.linalg.norm(row) / np.linalg.norm(noise)
        return bytes(np.rint(row / np.abs(row).max() * 127).astype(np.int8).tobytes())


def met(scene: Scene, number: int) -> Encounter:
    return Encounter(id=f"op-{number}", scene_id=scene.id, kind="met", at=NOON + timedelta(seconds=number))


def query(scene: Scene, limit: int = 10) -> Query:
    """What the stage ``recall`` asks for a scene."""
    strongest = sorted(scene.symbols or (), key=lambda symbol: -symbol.score)
    vector = vector_of(scene)
    return Query(
        scene_id=scene.id,
        key=scene.key,
        shape=shape_of(scene),
        linkage=scene.linkage.chain if scene.linkage else (),
        symbols=tuple(dict.fromkeys(symbol.key for symbol in strongest)),
        vector=vector.data,
        encoder=vector.encoder,
        limit=limit,
    )


def vector_of(scene: Scene) -> Vector:
    assert scene.field is not None
    assert scene.field.vector is not None
    return scene.field.vector
