"""Valence, arousal, dominance."""

from __future__ import annotations

import numpy as np
import pytest

from scenepipe.analysis.affect_head import fit_head
from scenepipe.analysis.emotion import LEXICON_SHARE, VECTOR_CONFIDENCE, read_emotion
from scenepipe.analysis.lexicon import Affect, Lexicon, shipped_lexicon
from scenepipe.analysis.reading import read_text
from scenepipe.analysis.signed_bytes import quantise, unit
from scenepipe.analysis.words import split_words
from scenepipe.scene import Emotion


def emotion(text: str, *, exclamations: int = 0, felt: Affect | None = None, lexicon: Lexicon | None = None) -> Emotion:
    lexicon = lexicon or shipped_lexicon()
    return read_emotion(read_text(text).symbols, split_words(text), exclamations, lexicon, felt)


def value(text: str) -> float:
    found = emotion(text).valence.value
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("plain", "denied"),
    [("Мне страшно", "Мне не страшно"), ("I am afraid", "I am not afraid"), ("я люблю", "я не люблю")],
)
def test_negation_turns_valence_and_weakens_it(plain: str, denied: str) -> None:
    assert value(plain) * value(denied) < 0
    assert abs(value(denied)) < abs(value(plain))


def test_degree_scales() -> None:
    assert value("очень страшно") < value("страшно") < value("немного страшно") < 0


def test_a_noun_out_of_reach_counts_as_denied() -> None:
    assert value("Я чувствую радость") > 0 > value("Я не чувствую радость")


def test_unknown_words_are_unknown_not_neutral() -> None:
    assert emotion("плинтус у дымохода") == Emotion()
    assert emotion("🙂") == Emotion()


def test_the_vector_speaks_alone_where_no_word_does() -> None:
    felt = emotion("плинтус у дымохода", felt=Affect(0.5, 0.1, 0.0))
    assert (felt.valence.value, felt.valence.confidence) == (0.5, VECTOR_CONFIDENCE)


def test_words_and_vector_are_averaged_by_the_words_confidence() -> None:
    words, both = emotion("страшно").valence, emotion("страшно", felt=Affect(0.5, 0.1, 0.0)).valence
    assert words.value is not None
    share = LEXICON_SHARE * words.confidence
    assert both.value == pytest.approx(share * words.value + (1 - share) * 0.5, abs=1e-3)
    assert both.confidence > max(words.confidence, VECTOR_CONFIDENCE)


def test_a_vector_cannot_undo_negation() -> None:
    words, both = emotion("Мне не страшно").valence, emotion("Мне не страшно", felt=Affect(-0.8, 0.5, -0.5)).valence
    assert both.value == words.value


def test_more_evidence_is_surer_and_spans_are_given() -> None:
    text = "страшно, больно"
    one, two = emotion("страшно").valence, emotion(text).valence
    assert two.confidence > one.confidence
    assert [text[a:b] for a, b in two.evidence] == ["страшно", "больно"]


def test_exclamations_raise_arousal() -> None:
    calm, loud = emotion("страшно").arousal.value, emotion("страшно", exclamations=2).arousal.value
    assert calm is not None
    assert loud is not None
    assert loud == pytest.approx(calm + 0.2)


def test_a_head_learns_what_is_linear_and_is_exact() -> None:
    draw = np.random.default_rng(2)
    vectors = quantise(unit(draw.normal(size=(400, 12)).astype(np.float32)))
    affect = np.clip(vectors[:, :3] / 127.0, -1, 1).astype(np.float64)
    head = fit_head(vectors[:200], affect[:200], vectors[200:], affect[200:])
    read = head.read(vectors)
    assert all(np.corrcoef(read[:, i], affect[:, i])[0, 1] > 0.98 for i in range(3))
    np.testing.assert_array_equal(head.read(vectors[7:8]), read[7:8])


def test_a_head_of_nothing_reads_nothing() -> None:
    empty = np.zeros((0, 5), dtype=np.int8)
    head = fit_head(empty, np.zeros((0, 3)), empty, np.zeros((0, 3)))
    assert not head.read(np.ones((2, 5), dtype=np.int8)).any()
