"""Vectors as signed bytes, so that the same text has the same analysis alone and in a batch.

An encoder's floats differ by about 2e-7 between batch sizes. Everything is computed from ``round(127 x)``: a component
that lies within `GUARD` of a rounding edge sends its text through the encoder once more, alone. Products of such
integers are exact in float32 up to 2**24, and unit vectors stay under 127**2, so sums come out the same in whatever
order a matrix product takes them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from scenepipe.contracts import Encoder

from scenepipe.scene import fold

Bytes = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float32]

_NOT_SPOKEN = re.compile(r"[^\w'-]+|(?<!\w)['-]+|['-]+(?!\w)")

SCALE = 127.0
GUARD = 1e-4
"""In units of 1/127: four times the largest difference seen between a text alone and in a batch (2.2e-7 x 127)."""


def floats(vectors: Bytes) -> Floats:
    """``x / 127`` as float32."""
    return np.asarray(vectors.astype(np.float32) / np.float32(SCALE))


def unit(vectors: Floats) -> Floats:
    """Rows of length 1; a row of zeros stays."""
    lengths = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


def quantise(vectors: Floats) -> Bytes:
    """``round(127 x)`` as int8."""
    rounded: Bytes = np.clip(np.rint(vectors * SCALE), -127, 127).astype(np.int8)
    return rounded


def cosines(left: Bytes, right: Bytes) -> Floats:
    """Cosines [n, m] of unit rows; exact, so the same in any batch."""
    return np.asarray(left.astype(np.float32) @ right.astype(np.float32).T / np.float32(SCALE * SCALE))


def spoken(text: str) -> str:
    """What is encoded of a text: its words in folded form, without punctuation, which moves a vector more than it says.

    A text without a letter or digit stays as it is, folded.
    """
    folded = fold(text)
    return " ".join(_NOT_SPOKEN.sub(" ", folded).split()) or folded


def encode_bytes(encoder: Encoder, texts: Sequence[str]) -> Bytes:
    """The encoder's vectors of `spoken` texts as int8 [n, dim], the same for a text whatever stands beside it."""
    texts = [spoken(text) for text in texts]
    vectors = np.asarray(encoder.encode(texts), dtype=np.float32)
    if len(texts) > 1:
        scaled = vectors * SCALE
        edge = np.abs(scaled - np.floor(scaled) - 0.5).min(axis=1)
        for row in np.flatnonzero(edge < GUARD):
            vectors[row] = encoder.encode([texts[int(row)]])[0]
    return quantise(vectors)
