"""Exact search over the vectors of one namespace and one encoder, kept in memory as float32 (2 KB a scene at 512-d).

Brute force: measured at 20,000 vectors of 512 dimensions it takes a few milliseconds, less than an index extension.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

import numpy as np
import numpy.typing as npt

SIMILARITY_FLOOR = 0.35


class VectorIndex:
    """Grows by `add`; rows are signed bytes as `scenepipe.scene.Vector` keeps them. Only equal lengths are compared."""

    def __init__(self) -> None:
        self._blocks: dict[int, _Block] = {}

    def __len__(self) -> int:
        return sum(len(block.ids) for block in self._blocks.values())

    def add(self, ids: Sequence[str], vectors: Sequence[bytes]) -> None:
        """Append rows."""
        rows: dict[int, list[tuple[str, bytes]]] = {}
        for name, vector in zip(ids, vectors, strict=True):
            rows.setdefault(len(vector), []).append((name, vector))
        for dim, found in rows.items():
            self._blocks.setdefault(dim, _Block(dim)).add(found)

    def search(self, vector: bytes, limit: int, allowed: Container[str] | None = None) -> dict[str, float]:
        """Cosine by id of the nearest rows, nearest first, nothing below `SIMILARITY_FLOOR`.

        Args:
            limit: how many rows are looked at; several analyses of one scene count once.
            allowed: ids that may be found; all for None.
        """
        block = self._blocks.get(len(vector))
        return block.search(vector, limit, allowed) if block else {}


class _Block:
    """Rows of one length."""

    def __init__(self, dim: int) -> None:
        self.ids: list[str] = []
        self._rows: npt.NDArray[np.float32] = np.empty((0, dim), np.float32)

    def add(self, rows: Sequence[tuple[str, bytes]]) -> None:
        fresh = np.frombuffer(b"".join(vector for _, vector in rows), np.int8).reshape(len(rows), -1)
        start, end = len(self.ids), len(self.ids) + len(rows)
        if end > len(self._rows):
            grown = np.empty((max(end, 2 * len(self._rows), 256), self._rows.shape[1]), np.float32)
            grown[:start] = self._rows[:start]
            self._rows = grown
        self._rows[start:end] = _unit(fresh.astype(np.float32))
        self.ids += [name for name, _ in rows]

    def search(self, vector: bytes, limit: int, allowed: Container[str] | None) -> dict[str, float]:
        cosines = self._rows[: len(self.ids)] @ _unit(np.frombuffer(vector, np.int8).astype(np.float32))
        near = np.flatnonzero(cosines >= SIMILARITY_FLOOR)
        if allowed is not None:
            near = near[[self.ids[row] in allowed for row in near]] if len(near) else near
        if len(near) > limit:
            near = near[np.argpartition(-cosines[near], limit)[:limit]]
        found: dict[str, float] = {}
        for row in near[np.argsort(-cosines[near], kind="stable")]:
            found.setdefault(self.ids[row], min(1.0, float(cosines[row])))
        return found


def _unit(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.where(length == 0, 1, length), np.float32)
