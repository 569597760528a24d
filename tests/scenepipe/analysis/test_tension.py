"""Tension and its causes."""

from __future__ import annotations

import pytest

from scenepipe.analysis.emotion import read_emotion
from scenepipe.analysis.lexicon import shipped_lexicon
from scenepipe.analysis.marks import find_marks
from scenepipe.analysis.reading import read_text
from scenepipe.analysis.tension import MOST, read_tension
from scenepipe.analysis.words import split_words
from scenepipe.scene import Tension


def tension(text: str) -> Tension:
    words, marks, symbols = split_words(text), find_marks(text), read_text(text).symbols
    return read_tension(words, symbols, read_emotion(symbols, words, 0, shipped_lexicon()), marks)


@pytest.mark.parametrize(
    ("text", "cause", "surface"),
    [
        ("Стол стоит?", "question", "?"),
        ("Стол стоит!", "exclamation", "!"),
        ("Стол не стоит", "negation", "стоит"),
        ("Стол, но не стул", "contrast", "но"),
        ("a table, yet no chair", "contrast", "yet"),
        ("Стол — стоит", "break", "—"),
        ("Мне страшно", "arousal", "страшно"),
    ],
)
def test_each_cause_raises_it_and_shows_where(text: str, cause: str, surface: str) -> None:
    found = {c.name: c for c in tension(text).causes}
    assert surface in [text[a:b] for a, b in found[cause].evidence]
    assert 0 < found[cause].amount <= MOST[cause]


def test_causes_join_as_a_noisy_or() -> None:
    found = tension("Почему я не чувствую шаг?")
    left = 1.0
    for cause in found.causes:
        left *= 1.0 - cause.amount
    assert found.level.value == pytest.approx(1.0 - left, abs=1e-4)


def test_a_calm_statement_has_none_and_no_words_are_unknown() -> None:
    assert tension("Стол стоит у окна.").level.value == 0.0
    assert tension("🙂 ?!").level.value is None


def test_it_is_a_density_not_a_count() -> None:
    once = tension("Стол стоит?").level.value
    assert once is not None
    assert tension("Стол стоит? " * 20).level.value == once
