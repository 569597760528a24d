"""Vectors as signed bytes, so that the same text has the same analysis alone and in a batch.

An encoder's floats differ in their last bits between batch sizes, builds of NumPy and processors. Everything is computed
from ``round(127 x)``: a component that lies within `GUARD` of a rounding edge sends its text through the encoder once
more, in double precision where the encoder has it, else alone. Products of such integers are exact in float32 up to
2**24, and unit vectors stay under 127**2, so sums come out the same in whatever order a matrix product takes them.
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
Doubles = npt.NDArray[np.float64]

_NOT_SPOKEN = re.compile(r"[^\w'-]+|(?<!\w)['-]+|['-]+(?!\w)")

SCALE = 127.0
GUARD = 1.5e-4
"""In units of 1/127: twice the largest float32 noise of the default encoder that was seen, 7.7e-5, and three times that of
texts that are not one word over and over, 4.9e-5 (1.1 million components against double precision, five kernels of two
OpenBLAS builds). One text in seven is encoded again, which takes a third of the encoder's time once more."""


def floats(vectors: Bytes) -> Floats:
    """``x / 127`` as float32."""
    return np.asarray(vectors.astype(np.float32) / np.float32(SCALE))


def unit(vectors: Floats) -> Floats:
    """Rows of length 1; a row of zeros stays."""
    lengths = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


def quantise(vectors: Floats | Doubles) -> Bytes:
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
    """The encoder's vectors of `spoken` texts as int8 [n, dim], the same for a text whatever stands beside it.

    With an encoder that has ``encode_double(texts) -> float64 [n, dim]`` they are the same on every machine, too.
    """
    texts = [spoken(text) for text in texts]
    vectors = np.asarray(encoder.encode(texts), dtype=np.float32)
    found = quantise(vectors)
    rows = np.flatnonzero(_edge(vectors) < GUARD)
    if len(rows):
        found[rows] = quantise(_again(encoder, [texts[int(row)] for row in rows]))
    return found


def _edge(vectors: Floats) -> Floats:
    """How near each row comes to a place where rounding turns, in units of 1/127."""
    scaled = vectors * SCALE
    return np.asarray(np.abs(scaled - np.floor(scaled) - 0.5).min(axis=1, initial=0.5))


def _again(encoder: Encoder, texts: Sequence[str]) -> Floats | Doubles:
    double = getattr(encoder, "encode_double", None)
    if double is not None:
        return np.asarray(double(texts), dtype=np.float64)
    return np.concatenate([encoder.encode([text]) for text in texts])
