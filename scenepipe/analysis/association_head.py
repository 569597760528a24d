"""Which symbols a text calls, learnt from texts whose associations people of this project wrote down.

One ridge regression (Hoerl & Kennard, 1970) from an encoder's centred unit vector to every symbol of the lexicon: the
target of a written text or word is 1 for its first association falling to one half for its last, of a gloss 1 for its
symbol. A word counts for half a text.
Weights are signed bytes: products with signed-byte vectors are exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from scenepipe.analysis.lexicon import AssociationEntry
from scenepipe.analysis.signed_bytes import SCALE, Bytes, Floats, floats

PENALTY = 8.0
"""By five-fold cross-validation of recall in ten on the written texts."""
LAST = 0.5
WORD_WEIGHT = 0.5
"""By the same cross-validation: 0.4 to 0.8 are alike, none and 1.5 are worse."""


class AssociationHead(NamedTuple):
    """``weights`` int8 [n symbols, dim], ``scale`` float32 [n symbols]."""

    weights: Bytes
    scale: Floats

    def read(self, centred: Bytes) -> Floats:
        """Scores float32 [n, n symbols], about 0 for no call and 1 for a sure one, of centred vectors [n, dim]."""
        exact = centred.astype(np.float32) @ self.weights.astype(np.float32).T
        return np.asarray(exact * self.scale, dtype=np.float32)


def targets(entries: Sequence[AssociationEntry], place: Mapping[str, int]) -> Floats:
    """What is written of each text, float32 [n texts, n symbols]."""
    wanted = np.zeros((len(entries), len(place)), dtype=np.float32)
    for row, entry in enumerate(entries):
        steps = max(len(entry.symbols) - 1, 1)
        for rank, symbol in enumerate(entry.symbols):
            wanted[row, place[symbol]] = 1.0 - (1.0 - LAST) * rank / steps
    return wanted


def fit_association_head(
    texts: Bytes,
    wanted: Floats,
    glosses: Sequence[Bytes],
    words: tuple[Bytes, Floats] | None = None,
    penalty: float = PENALTY,
) -> AssociationHead:
    """Fit on written texts [n, dim] with their targets [n, n symbols], words likewise, glosses [n symbols, dim] by language."""
    count = len(glosses[0])
    rows = [(texts, wanted, 1.0), *([(*words, WORD_WEIGHT)] if words else ())]
    rows += [(gloss, np.eye(count, dtype=np.float32), 1.0) for gloss in glosses]
    weights = np.concatenate([np.full(len(x), weight) for x, _, weight in rows])
    x = np.concatenate([floats(x) for x, _, _ in rows]).astype(np.float64)
    y = np.concatenate([y for _, y, _ in rows]).astype(np.float64)
    y -= np.average(y, axis=0, weights=weights)
    weighted = x * weights[:, None]
    found = np.linalg.solve(weighted.T @ x + penalty * np.eye(x.shape[1]), weighted.T @ y)
    largest = np.maximum(np.abs(found).max(axis=0), 1e-12)
    quantised: Bytes = np.rint(found / largest * SCALE).astype(np.int8).T
    return AssociationHead(np.ascontiguousarray(quantised), (largest / SCALE / SCALE).astype(np.float32))
