"""The Δ-code of a scene: the cell of the codebook that its features fall in.

Features (`FEATURES_VERSION`) are five blocks, each of unit length times its weight: the text's sense, a vector, seen
through the codebook's projection (what a dropped word or a translation moves counts little there), affect, field, rhythm,
polarity. The sense is the mean of two centred unit vectors, of the whole text and of its content words alone: where a
function word is dropped, only one of them moves. Features are rounded to signed bytes before they are compared, products of
bytes are summed exactly, and of equal cells the lower one wins, so a text has one code on every machine whose encoder
gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log1p
from typing import TYPE_CHECKING

from scenepipe.analysis.codebook import Codebook, Projection
from scenepipe.analysis.field import Weights
from scenepipe.analysis.lexicon import AXES
from scenepipe.analysis.marks import Marks
from scenepipe.analysis.rhythm import syllables
from scenepipe.analysis.signed_bytes import cosines, floats, quantise, unit
from scenepipe.analysis.words import Word
from scenepipe.scene import Delta, Emotion, Symbol

if TYPE_CHECKING:
    from scenepipe.analysis.signed_bytes import Bytes, Floats

DELTA_VERSION = "delta@2"
FEATURES_VERSION = "features@2"
BLOCK_WEIGHTS: Mapping[str, float] = {"vector": 1.0, "affect": 0.05, "field": 0.1, "rhythm": 0.02, "polarity": 0.2}
"""Heavier blocks lose codes: at affect 0.35, field 0.25, rhythm 0.1, polarity 0.35 a dropped word keeps 0.76 of them, at
these 0.85 (905 sentences of EmoBank, 627 poems of RIFMA)."""
_UNIFORM = 1.0 / len(AXES)


@dataclass(frozen=True)
class DeltaView:
    """What a text's features are made of, beside its vector."""

    emotion: Emotion
    weights: Weights
    words: Sequence[Word]
    pauses: int
    lines: int
    symbols: Sequence[Symbol]
    marks: Marks


def sense_of(whole: Bytes, content: Bytes) -> Bytes:
    """The sense int8 [n, dim] of texts whose centred vectors are ``whole``, those of their content words ``content``."""
    return quantise(unit(floats(whole) + floats(content)))


def features(sense: Bytes, views: Sequence[DeltaView], projection: Projection) -> Bytes:
    """Features int8 [n, width + 18] of texts of this `sense_of` [n, dim]."""
    import numpy as np

    blocks = {
        "vector": projection.of(sense),
        "affect": _block([_affect(view) for view in views]),
        "field": _block([[view.weights.get(axis, _UNIFORM) - _UNIFORM for axis in AXES] for view in views]),
        "rhythm": _block([_rhythm(view) for view in views]),
        "polarity": _block([_polarity(view) for view in views]),
    }
    return quantise(unit(np.concatenate([unit(blocks[name]) * w for name, w in BLOCK_WEIGHTS.items()], axis=1)))


def place(rows: Bytes, codebook: Codebook) -> list[Delta]:
    """The cell of each row of features, with its margin (difference of cosines) over the next best one."""
    import numpy as np

    scores = cosines(rows, codebook.centroids)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :2]
    return [
        Delta(
            code=int(best),
            codebook=codebook.name,
            margin=round(float(row[best]) - float(row[second]), 6),
            alternative=int(second),
            gloss=codebook.gloss(int(best)),
        )
        for row, (best, second) in zip(scores, order, strict=True)
    ]


def _block(rows: Sequence[Sequence[float]]) -> Floats:
    import numpy as np

    return np.asarray(rows, dtype=np.float32)


def _affect(view: DeltaView) -> list[float]:
    readings = (view.emotion.valence, view.emotion.arousal, view.emotion.dominance)
    return [reading.value or 0.0 for reading in readings]


def _rhythm(view: DeltaView) -> list[float]:
    """Length, lines, pauses per word, syllables per word: each about -1..1 over short texts.

    Syllables are those of `syllables` whatever dictionary is installed, so that a code does not depend on it.
    """
    words = max(len(view.words), 1)
    spoken = sum(syllables(word) for word in view.words) / words
    return [log1p(words) / 2 - 1, log1p(view.lines) - 1, view.pauses / words - 0.2, spoken / 2 - 1]


def _polarity(view: DeltaView) -> list[float]:
    """Balance of stated and denied symbols, questions and exclamations by sentence."""
    denied = sum(symbol.polarity < 0 for symbol in view.symbols)
    stated = len(view.symbols) - denied
    sentences = view.marks.sentences
    balance = (stated - 2 * denied) / max(len(view.symbols), 1)
    asked = len(view.marks.questions) / sentences
    return [balance, 2 * min(1.0, asked) - 1, min(1.0, len(view.marks.exclamations) / sentences)]
