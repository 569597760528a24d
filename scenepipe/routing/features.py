"""A scene as named numbers beside its vector: field, emotion, tension, form and rhythm.

Every number is standardised by its mean and spread over the 830 inputs of the shipped registers. They are constants, so
that a register of thirty rows has the same scale as one of a thousand, and adding a register changes no other's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import log1p, nan
from typing import TYPE_CHECKING, Literal, NamedTuple

from scenepipe.analysis.lexicon import AXES
from scenepipe.analysis.tension import MOST
from scenepipe.scene import Emotion, Rhythm, Scene, Symbol, Tension

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FARTHEST = 3.0
"""Spreads from the mean at which a number stops to count: a million words are as long as a hundred."""
MARKS = ("question", "exclamation", "contrast", "negation", "break")
PARTS: tuple[Literal["noun", "verb", "adjective", "adverb"], ...] = ("noun", "verb", "adjective", "adverb")


class Feature(NamedTuple):
    """One number: what it is called in a reason, its mean and its spread."""

    name: str
    usual: float
    spread: float


FEATURES: tuple[Feature, ...] = (
    Feature("bodily field", 0.1, 0.12),
    Feature("inner field", 0.12, 0.095),
    Feature("sensory field", 0.13, 0.11),
    Feature("natural field", 0.08, 0.1),
    Feature("social field", 0.2, 0.16),
    Feature("temporal field", 0.125, 0.13),
    Feature("abstract field", 0.13, 0.145),
    Feature("spatial field", 0.1, 0.115),
    Feature("valence", 0.04, 0.21),
    Feature("arousal", 0.04, 0.19),
    Feature("dominance", 0.0, 0.14),
    Feature("tension", 0.19, 0.16),
    Feature("question", 0.27, 0.44),
    Feature("exclamation", 0.0, 0.3),
    Feature("contrast", 0.07, 0.25),
    Feature("negation", 0.18, 0.38),
    Feature("break", 0.01, 0.1),
    Feature("length", 2.3, 0.34),
    Feature("pauses", 0.165, 0.085),
    Feature("syllables", 1.8, 0.5),
    Feature("density", 0.52, 0.143),
    Feature("nouns", 0.5, 0.22),
    Feature("verbs", 0.35, 0.21),
    Feature("adjectives", 0.1, 0.144),
    Feature("adverbs", 0.05, 0.11),
)
"""Field: weights of the axes. Marks: share of sentences (0..1). Length: log(1 + words). Pauses, density: marks of pause
and symbols by word. Syllables: by word. Parts of speech: shares of the symbols."""


def read_features(scene: Scene) -> list[float]:
    """The numbers of a scene in the order of `FEATURES`; nan where the scene does not know."""
    weights = scene.field.weights if scene.field is not None else {}
    return [
        *(weights.get(axis, nan) for axis in AXES),
        *_emotion(scene.emotion),
        *_tension(scene.tension),
        *_rhythm(scene.rhythm),
        *_symbols(scene.symbols, scene.rhythm),
    ]


def standardise(rows: Sequence[Sequence[float]]) -> npt.NDArray[np.float64]:
    """Spreads from the mean, [n, features], within `FARTHEST`; what is not known is at the mean."""
    import numpy as np

    table = np.asarray(rows, dtype=np.float64).reshape(len(rows), len(FEATURES))
    usual, spread = (np.array([getattr(feature, part) for feature in FEATURES]) for part in ("usual", "spread"))
    found = np.nan_to_num((table - usual) / spread, nan=0.0, posinf=FARTHEST, neginf=-FARTHEST)
    return np.asarray(np.clip(found, -FARTHEST, FARTHEST))


def _emotion(emotion: Emotion | None) -> list[float]:
    if emotion is None:
        return [nan] * 3
    readings = (emotion.valence, emotion.arousal, emotion.dominance)
    return [nan if reading.value is None else reading.value for reading in readings]


def _tension(tension: Tension | None) -> list[float]:
    if tension is None or tension.level.value is None:
        return [nan] * (1 + len(MARKS))
    causes = {cause.name: cause.amount / MOST[cause.name] for cause in tension.causes if cause.name in MARKS}
    return [tension.level.value, *(causes.get(name, 0.0) for name in MARKS)]


def _rhythm(rhythm: Rhythm | None) -> list[float]:
    if rhythm is None or not rhythm.words:
        return [nan] * 3
    syllables = rhythm.syllables.value
    per_word = nan if syllables is None else syllables / rhythm.words
    return [log1p(rhythm.words), len(rhythm.pauses) / rhythm.words, per_word]


def _symbols(symbols: Sequence[Symbol] | None, rhythm: Rhythm | None) -> list[float]:
    words = rhythm.words if rhythm is not None else 0
    density = len(symbols) / words if symbols is not None and words else nan
    if not symbols:
        return [density, *[nan] * len(PARTS)]
    parts = Counter(symbol.part for symbol in symbols)
    return [density, *(parts[part] / len(symbols) for part in PARTS)]
