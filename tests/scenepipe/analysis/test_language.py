"""Language by script, then by whether the words are known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenepipe.analysis.language import detect_language
from scenepipe.analysis.words import split_words
from scenepipe.scene import Language


def language(text: str) -> Language:
    return detect_language(split_words(text))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Почему я не чувствую шаг в себе?", "ru"),
        ("Why can I not feel the step in me?", "en"),
        ("Trembling hands", "en"),
        ("ТИШИНА", "ru"),
        ("Я не відчуваю кроку в собі", "und"),
        ("Защо гората мълчи, когато вървя през нощта", "und"),
        ("Ich habe heute keine Angst vor dem Wald", "und"),
        ("שלום עולם", "und"),
        ("我害怕", "und"),
    ],
)
def test_code(text: str, code: str) -> None:
    assert language(text).code == code


@pytest.mark.parametrize("text", ["🙂🙂", "123 - 45", "\0\0", "?!"])
def test_without_letters_nothing_is_known(text: str) -> None:
    assert language(text) == Language(code="und", confidence=0.0, spans=())


def test_mixed_text_has_a_run_per_language() -> None:
    text = "Мне холодно and my hands are trembling"
    found = language(text)
    assert [(run.code, text[slice(*run.span)]) for run in found.spans] == [
        ("ru", "Мне холодно"),
        ("en", "and my hands are trembling"),
    ]
    assert found.confidence < language("and my hands are trembling").confidence


def test_longer_texts_are_surer() -> None:
    assert language("шаг").confidence < language("Почему я не чувствую шаг в себе?").confidence < 1.0


@given(st.text(max_size=60))
def test_any_text_has_a_language(text: str) -> None:
    found = language(text)
    assert 0.0 <= found.confidence <= 1.0
    assert all(text[slice(*run.span)].strip() for run in found.spans)
