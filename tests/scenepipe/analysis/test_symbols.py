"""Symbols: lemmas, parts, concepts, and what a text denies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenepipe.analysis.reading import read_text
from scenepipe.analysis.words import split_words
from scenepipe.scene import Symbol, fold


def symbols(text: str) -> dict[str, Symbol]:
    return {symbol.key: symbol for symbol in read_text(text).symbols}


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("Почему я не чувствую шаг в себе?", ["не:чувствовать", "шаг"]),
        ("Why can I not feel the step in me?", ["not:feel", "step"]),
        ("нет страха", ["не:страх"]),
        ("Нет никакого страха", ["не:страх"]),
        ("страха нет", ["не:страх"]),
        ("без страха", ["не:страх"]),
        ("Мне не очень страшно", ["не:страшно"]),
        ("не могу не смеяться", ["смеяться"]),
        ("не без страха", ["страх"]),
        ("не только боль, но и радость", ["боль", "радость"]),
        ("I do not feel it", ["not:feel"]),
        ("I can’t sleep", ["not:sleep"]),
        ("never cry", ["not:cry"]),
        ("no fear", ["not:fear"]),
        ("without great fear", ["great", "not:fear"]),
        ("not only pain", ["pain"]),
        ("not here, pain stays", ["pain", "stay"]),
    ],
)
def test_negation_scope(text: str, keys: list[str]) -> None:
    assert list(symbols(text)) == keys


def test_translations_share_a_concept() -> None:
    russian, english = symbols("дрожь")["дрожь"], symbols("I am trembling")["trembling"]
    assert russian.concept == english.concept == "trembling"
    assert russian.part == english.part == "noun"


@pytest.mark.parametrize(
    ("text", "key", "part"),
    [
        ("I want to face it", "face", "verb"),
        ("her face", "face", "noun"),
        ("a sad day", "sad", "adjective"),
        ("she walks slowly", "slowly", "adverb"),
        ("kindness", "kindness", "noun"),
        ("тёплый вечер", "тёплый", "adjective"),
        ("он дрожит", "дрожать", "verb"),
        ("мне холодно", "холодно", "adverb"),
    ],
)
def test_part_of_speech(text: str, key: str, part: str) -> None:
    assert symbols(text)[key].part == part


def test_yo_stress_and_case_change_no_symbol() -> None:
    plain = [(s.key, s.score) for s in read_text("тихий шёпот меда").symbols]
    for variant in ("ТИХИЙ ШЕПОТ МЁДА", "ти́хий шё\u00adпот меда"):
        assert [(s.key, s.score) for s in read_text(variant).symbols] == plain


def test_repeats_are_one_symbol_with_every_span_and_more_strength() -> None:
    once, twice = symbols("река молчит")["река"], symbols("река молчит, река")["река"]
    assert twice.evidence == ((0, 4), (13, 17))
    assert twice.score > once.score


def test_a_text_that_states_and_denies_has_both() -> None:
    assert list(symbols("страх есть, и нет страха")) == ["страх", "не:страх"]


def test_words_of_other_languages_are_no_symbols() -> None:
    assert symbols("Ich habe heute keine Angst vor dem Wald") == {}
    assert symbols("Я не відчуваю кроку в собі") == {}


RUSSIAN = st.sampled_from(["шаг", "не", "боюсь", "тишина", "дверь", "нет", "без", "страха", "очень", "пла́чу", "я"])
ENGLISH = st.sampled_from(["step", "not", "fear", "without", "door", "trembling", "never", "very", "don't", "I"])
SEPARATORS = st.sampled_from([" ", ", ", ". ", "\n", " — ", " 🙂 "])


@given(st.lists(st.tuples(st.one_of(RUSSIAN, ENGLISH), SEPARATORS), max_size=20))
def test_evidence_holds_the_surface_of_the_lemma(parts: list[tuple[str, str]]) -> None:
    text = "".join(word + gap for word, gap in parts)
    by_span = {word.span: word for word in split_words(text)}
    for symbol in read_text(text).symbols:
        assert symbol.evidence
        for span in symbol.evidence:
            word = by_span[span]
            assert word.form == fold(text[slice(*span)])
            again = [s for s in read_text(word.form).symbols if s.part == symbol.part]
            assert not again or again[0].lemma == symbol.lemma


@given(st.text(max_size=60))
def test_any_text_has_symbols_with_exact_spans(text: str) -> None:
    for symbol in read_text(text).symbols:
        assert all(0 <= start < end <= len(text) for start, end in symbol.evidence)
        assert 0.0 <= symbol.score <= 1.0
