"""Valence, arousal, dominance."""

from __future__ import annotations

import numpy as np
import pytest

from scenepipe.analysis.emotion import GUESS_CONFIDENCE, guess_affect, read_emotion
from scenepipe.analysis.lexicon import Affect, Lexicon, shipped_lexicon
from scenepipe.analysis.reading import read_text
from scenepipe.analysis.words import split_words
from scenepipe.scene import Emotion


def emotion(
    text: str, *, exclamations: int = 0, guess: Affect | None = None, lexicon: Lexicon | None = None
) -> Emotion:
    lexicon = lexicon or shipped_lexicon()
    return read_emotion(read_text(text).symbols, split_words(text), exclamations, lexicon, guess)


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


def test_a_guess_is_unsure_and_only_used_without_words() -> None:
    guess = Affect(0.5, 0.1, 0.0)
    guessed = emotion("плинтус у дымохода", guess=guess)
    assert (guessed.valence.value, guessed.valence.confidence) == (0.5, GUESS_CONFIDENCE)
    assert emotion("страшно", guess=guess) == emotion("страшно")


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


def test_guess_follows_the_nearest_words_and_knows_when_there_are_none() -> None:
    values = np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    near = guess_affect(np.array([0.9, 0.1], dtype=np.float32), values)
    assert near is not None
    assert near.valence > 0.9
    assert guess_affect(np.array([0.05, 0.01], dtype=np.float32), values) is None
