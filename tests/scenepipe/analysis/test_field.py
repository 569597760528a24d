"""Weights over axes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from scenepipe.analysis.builder import SceneReading
from scenepipe.analysis.field import axis_weights
from scenepipe.analysis.lexicon import AXES, shipped_lexicon
from scenepipe.analysis.reading import read_text
from scenepipe.encoders.usem3 import Usem3Encoder

Read = Callable[..., list[SceneReading]]


@pytest.mark.parametrize("text", ["Почему я не чувствую шаг в себе?", "река", "What is truth?", "a b c d e f g table"])
def test_weights_are_a_simplex(read: Read, text: str) -> None:
    weights = read(text)[0].field.weights
    assert set(weights) == set(AXES)
    assert sum(weights.values()) == pytest.approx(1.0, abs=1e-9)


def test_the_texts_own_symbols_decide_without_an_encoder() -> None:
    weights = axis_weights(read_text("река у леса").symbols, shipped_lexicon().entries, None)
    assert max(weights, key=lambda axis: weights[axis]) == "natural"


def test_cosines_and_associations_move_it() -> None:
    cosines = np.zeros(8, dtype=np.float32)
    cosines[AXES.index("abstract")] = 0.5
    weights = axis_weights((), {}, cosines)
    assert max(weights, key=lambda axis: weights[axis]) == "abstract"
    entries = shipped_lexicon().entries
    moved = axis_weights((), entries, cosines, read_text("река").symbols)
    assert moved["natural"] > weights["natural"]


def test_nothing_known_has_no_weights(read: Read, read_words: Read) -> None:
    assert read("🙂")[0].field.weights == {}
    assert read("🙂")[0].field.vector is None
    assert read_words("плинтус")[0].field.weights == {}


def test_evidence_points_at_the_symbols(read: Read) -> None:
    text = "Старая река молчит"
    evidence = read(text)[0].field.evidence["natural"]
    assert "река" in [text[a:b] for a, b in evidence]


def test_the_vector_is_the_encoders_as_bytes(read: Read, encoder: Usem3Encoder) -> None:
    text = "Старая река молчит"
    vector = read(text)[0].field.vector
    assert vector is not None
    assert vector.encoder == encoder.fingerprint
    expected = np.rint(encoder.encode([text])[0] * 127)
    np.testing.assert_array_equal(np.frombuffer(vector.data, dtype=np.int8), expected)
