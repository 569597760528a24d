"""Exact search over the vectors of one namespace and one encoder, kept in memory as float32 (2 KB a scene at 512-d).

`scenepipe.memory.turned` keeps it at a few milliseconds for 100,000 vectors of 512 dimensions, without an approximation.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from scenepipe.memory.turned import TurnedRows

SIMILARITY_FLOOR = 0.35
_FEWEST = 200

K = TypeVar("K", bound=Hashable)
H = TypeVar("H", bound=Hashable)
Allowed = Callable[[Sequence[K]], Container[K]]
"""Given keys, the nearest first, says which of them may be found."""


class VectorIndex(Generic[K]):
    """Grows by `add`; rows are signed bytes as `scenepipe.scene.Vector` keeps them. Only equal lengths are compared."""

    def __init__(self) -> None:
        self._blocks: dict[int, _Block[K]] = {}

    def __len__(self) -> int:
        return sum(len(block.keys) for block in self._blocks.values())

    def add(self, keys: Sequence[K], vectors: Sequence[bytes]) -> None:
        """Append rows."""
        rows: dict[int, list[tuple[K, bytes]]] = {}
        for key, vector in zip(keys, vectors, strict=True):
            rows.setdefault(len(vector), []).append((key, vector))
        for dim, found in rows.items():
            self._blocks.setdefault(dim, _Block(dim)).add(found)

    def search(self, vector: bytes, limit: int, allowed: Allowed[K] | None = None) -> dict[K, float]:
        """Cosine by key of the nearest rows, nearest first, nothing below `SIMILARITY_FLOOR`.

        Args:
            limit: how many rows are found; several with one key count once.
            allowed: what may be found; all for None. It is asked about a few hundred rows at a time, until enough are.
        """
        block = self._blocks.get(len(vector))
        return block.search(vector, limit, allowed) if block else {}


class _Block(Generic[K]):
    """Rows of one length."""

    def __init__(self, dim: int) -> None:
        self.keys: list[K] = []
        self._rows = TurnedRows(dim)

    def add(self, rows: Sequence[tuple[K, bytes]]) -> None:
        fresh = np.frombuffer(b"".join(vector for _, vector in rows), np.int8).reshape(len(rows), -1)
        self._rows.add(_unit(fresh.astype(np.float32)))
        self.keys += [key for key, _ in rows]

    def search(self, vector: bytes, limit: int, allowed: Allowed[K] | None) -> dict[K, float]:
        asked = _unit(np.frombuffer(vector, np.int8).astype(np.float32))
        if allowed is None:
            near, cosines = self._rows.nearest(asked, SIMILARITY_FLOOR, limit)
        else:
            near, cosines = self._rows.near(asked, SIMILARITY_FLOOR)
        order = np.argsort(-cosines, kind="stable")
        cosine = dict(zip(near.tolist(), cosines.tolist(), strict=True))
        found: dict[K, float] = {}
        for row in self._admitted(near[order], limit, allowed):
            found.setdefault(self.keys[row], min(1.0, cosine[int(row)]))
        return found

    def _admitted(self, near: npt.NDArray[np.intp], limit: int, allowed: Allowed[K] | None) -> Iterator[np.intp]:
        """The first rows that may be found, at most ``limit``."""
        start, size = 0, max(_FEWEST, limit)
        while start < len(near) and limit > 0:
            page = near[start : start + size]
            known = allowed([self.keys[row] for row in page]) if allowed else None
            passed = [row for row in page if known is None or self.keys[row] in known][:limit]
            yield from passed
            start, size, limit = start + size, 4 * size, limit - len(passed)


def by_scene(found: Mapping[tuple[str, H], float]) -> dict[str, float]:
    """Cosine by scene id of rows whose keys begin with one; of several analyses the nearest counts."""
    nearest: dict[str, float] = {}
    for (scene_id, _), cosine in found.items():
        nearest.setdefault(scene_id, cosine)
    return nearest


def _unit(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.where(length == 0, 1, length), np.float32)
