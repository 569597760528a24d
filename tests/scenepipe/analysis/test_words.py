"""Words and their spans."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenepipe.analysis.words import LONGEST_WORD, split_words
from scenepipe.scene import fold

TEXTS = st.text(st.one_of(st.sampled_from("абвёйіїґazé \n-'’.,!?́­​🙂שﷺ\0"), st.characters(codec="utf-8")), max_size=80)


def forms(text: str) -> list[str]:
    return [word.form for word in split_words(text)]


def test_stress_marks_and_soft_hyphens_belong_to_the_word() -> None:
    text = "чу́вствую ше\u00adпот"
    words = split_words(text)
    assert [text[w.start : w.end] for w in words] == ["чу́вствую", "ше\u00adпот"]
    assert [w.form for w in words] == ["чувствую", "шепот"]


def test_decomposed_letters_are_composed_in_the_form_only() -> None:
    text = "и\u0306од е\u0308ж"
    assert forms(text) == ["йод", "еж"]
    assert [w.span for w in split_words(text)] == [(0, 4), (5, 8)]


def test_apostrophes_and_hyphens_stand_inside_words_only() -> None:
    assert forms("'don’t' — что-то -нет- rock'n'roll") == ["don't", "что-то", "нет", "rock'n'roll"]


@pytest.mark.parametrize(
    ("word", "code"),
    [("шаг", "ru"), ("café", "en"), ("їжак", "und"), ("ўсё", "und"), ("ґанок", "und"), ("шaг", "und"), ("שלום", "und")],
)
def test_the_alphabet_decides(word: str, code: str) -> None:
    assert [w.code for w in split_words(word)] == [code]


def test_punctuation_and_line_breaks_end_a_clause() -> None:
    assert [w.clause for w in split_words("я иду, но\nстою")] == [0, 0, 1, 2]


@given(TEXTS)
def test_spans_are_exact_ordered_and_fold_to_the_form(text: str) -> None:
    words = split_words(text)
    assert all(0 <= w.start < w.end <= len(text) for w in words)
    assert all(a.end <= b.start for a, b in pairwise(words))
    for word in words:
        surface = text[word.start : word.end]
        assert surface[0].isalpha()
        if surface.isascii() or set(surface.lower()) <= set("абвёй"):
            assert word.form == fold(surface)


def test_a_megabyte_takes_seconds() -> None:
    start = time.process_time()
    assert len(split_words("Почему я не чувствую шаг? " * 40_000)) == 200_000
    assert len(split_words("щ" * 1_000_000)) == 1
    assert len(split_words("а-" * 500_000)) == 1
    assert time.process_time() - start < 8


def test_a_word_too_long_for_any_language_keeps_its_span() -> None:
    (word,) = split_words("x" * (LONGEST_WORD + 1))
    assert word.span == (0, LONGEST_WORD + 1)
