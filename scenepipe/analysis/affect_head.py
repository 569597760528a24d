"""Affect from an encoder's vector: three linear readings fitted on this project's own rated words and sentences.

Ridge regression (Hoerl & Kennard, 1970) of valence, arousal and dominance on centred unit vectors; sentences count
twice as much as words. Ridge shrinks what it predicts, so the readings are stretched by the slope that five-fold
cross-validation on the sentences gives. Weights are kept as signed bytes: products with signed-byte vectors are exact.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from scenepipe.analysis.signed_bytes import SCALE, Bytes, Floats, floats

Doubles = npt.NDArray[np.float64]

PENALTY = 20.0
"""By five-fold cross-validation on the rated sentences: 3 to 80 tried, r 0.56 / 0.67 / 0.45 at 20."""
SENTENCE_WEIGHT = 2.0
FOLDS = 5


class AffectHead(NamedTuple):
    """``weights`` int8 [3, dim], ``scale`` float32 [3], ``offset`` float32 [3]: valence, arousal, dominance."""

    weights: Bytes
    scale: Floats
    offset: Floats

    def read(self, vectors: Bytes) -> Doubles:
        """Affect float64 [n, 3], each in -1..1, of centred vectors [n, dim]."""
        exact = vectors.astype(np.float32) @ self.weights.astype(np.float32).T
        values = exact.astype(np.float64) * self.scale.astype(np.float64) + self.offset.astype(np.float64)
        return np.asarray(np.clip(values, -1.0, 1.0), dtype=np.float64)


def fit_head(words: Bytes, word_affect: Doubles, sentences: Bytes, sentence_affect: Doubles) -> AffectHead:
    """Fit on words [n, dim] with affect [n, 3] and sentences likewise; zero where there is nothing to fit on."""
    if not len(words) + len(sentences):
        dim = words.shape[1]
        return AffectHead(np.zeros((3, dim), np.int8), np.zeros(3, np.float32), np.zeros(3, np.float32))
    x, y = floats(words).astype(np.float64), _centred(word_affect)
    u, v = floats(sentences).astype(np.float64), _centred(sentence_affect)
    whole = _ridge(x, y, u, v)
    slope = _slope(x, y, u, v) if len(u) >= 10 * FOLDS else np.ones(3)
    largest = np.maximum(np.abs(whole).max(axis=0), 1e-12)
    weights: Bytes = np.rint(whole / largest * SCALE).astype(np.int8).T
    offset = sentence_affect.mean(axis=0) if len(u) else word_affect.mean(axis=0)
    return AffectHead(
        np.ascontiguousarray(weights),
        (largest * slope / SCALE / SCALE).astype(np.float32),
        offset.astype(np.float32),
    )


def _ridge(x: Doubles, y: Doubles, u: Doubles, v: Doubles) -> Doubles:
    gram = x.T @ x + SENTENCE_WEIGHT * (u.T @ u) + PENALTY * np.eye(x.shape[1])
    return np.asarray(np.linalg.solve(gram, x.T @ y + SENTENCE_WEIGHT * (u.T @ v)), dtype=np.float64)


def _slope(x: Doubles, y: Doubles, u: Doubles, v: Doubles) -> Doubles:
    """What predictions of sentences left out must be multiplied by to fit them best, at least 1."""
    fold = np.arange(len(u)) % FOLDS
    held = np.zeros_like(v)
    for k in range(FOLDS):
        held[fold == k] = u[fold == k] @ _ridge(x, y, u[fold != k], v[fold != k])
    return np.asarray(np.maximum((held * v).sum(axis=0) / np.maximum((held * held).sum(axis=0), 1e-12), 1.0))


def _centred(values: Doubles) -> Doubles:
    return values - values.mean(axis=0) if len(values) else values
