"""The projection of a codebook's vector block: the view of vectors in which what ought not to matter matters least.

Linear discriminant analysis (Fisher, 1936) over pairs in place of classes, as within-class covariance normalisation does
for speakers (Hatch, Kajarekar & Stolcke, 2006). "Within" is what moves a vector without moving its sense: a dropped
word, translation, and, as in locality preserving projections (He & Niyogi, 2003), the way to a near neighbour.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from scenepipe.analysis.codebook import Projection
from scenepipe.analysis.signed_bytes import SCALE, Bytes, floats

Doubles = npt.NDArray[np.float64]

WIDTH = 96
WEIGHTS = {"dropped": 1.0, "translated": 0.5, "neighbour": 1.0}
"""Of each kind of pair, every kind first brought to the same total scatter."""
RIDGE = 0.3
"""Share of the mean within-scatter added to every direction: with a few thousand pairs the small ones are noise."""
NEIGHBOURS = 3


def fit_projection(rows: Bytes, pairs: dict[str, tuple[Bytes, Bytes]], width: int = WIDTH) -> Projection:
    """Fit on senses [n, dim] and pairs of such vectors by kind (a key of `WEIGHTS`)."""
    dim = rows.shape[1]
    whole = floats(rows).astype(np.float64)
    within = np.zeros((dim, dim))
    for kind, (left, right) in pairs.items():
        scatter = _scatter(floats(left).astype(np.float64) - floats(right))
        within += WEIGHTS[kind] * scatter / max(np.trace(scatter), 1e-12)
    within += RIDGE * np.trace(within) / dim * np.eye(dim) + 1e-9 * np.eye(dim)
    total = _scatter(whole)
    inverse = np.linalg.inv(np.linalg.cholesky(within))
    _, axes = np.linalg.eigh(inverse @ total @ inverse.T)
    found = inverse.T @ axes[:, ::-1][:, : min(width, dim)]
    found /= np.sqrt(np.maximum(np.einsum("ij,ik,kj->j", found, total, found), 1e-12))
    largest = np.maximum(np.abs(found).max(axis=0), 1e-12)
    weights: Bytes = np.rint(found / largest * SCALE).astype(np.int8).T
    return Projection(np.ascontiguousarray(weights), (largest / SCALE / SCALE).astype(np.float32))


def neighbour_pairs(rows: Bytes) -> tuple[Bytes, Bytes]:
    """Every row with its three nearest by cosine."""
    exact = rows.astype(np.float32)
    near = np.empty((len(rows), NEIGHBOURS), dtype=np.int64)
    for start in range(0, len(rows), 1024):
        scores = exact[start : start + 1024] @ exact.T
        scores[np.arange(len(scores)), np.arange(start, start + len(scores))] = -np.inf
        near[start : start + 1024] = np.argsort(-scores, axis=1, kind="stable")[:, :NEIGHBOURS]
    return np.repeat(rows, NEIGHBOURS, axis=0), rows[near.ravel()]


def _scatter(differences: Doubles) -> Doubles:
    return np.asarray(differences.T @ differences / max(len(differences), 1))
