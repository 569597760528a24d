"""Words, lines, syllables, pauses, marked stress."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenepipe.analysis.marks import find_marks
from scenepipe.analysis.rhythm import read_rhythm
from scenepipe.analysis.words import split_words
from scenepipe.scene import Rhythm


def rhythm(text: str) -> Rhythm:
    return read_rhythm(text, split_words(text), find_marks(text))


@pytest.mark.parametrize(
    ("text", "count"),
    [("тишина", 3), ("в дом", 1), ("Почему я не чувствую шаг в себе", 11), ("ёж", 1), ("strange", 1), ("table", 2), ("walked", 1), ("wanted", 2), ("the", 1)],
)  # fmt: skip
def test_syllables(text: str, count: int) -> None:
    assert rhythm(text).syllables.value == count


def test_russian_is_exact_and_english_is_not() -> None:
    assert rhythm("тишина").syllables.confidence == 1.0
    assert rhythm("silence").syllables.confidence == 0.7


def test_lines_and_pauses() -> None:
    text = "тихо, темно\n\nи дом…"
    found = rhythm(text)
    assert (found.words, found.lines, found.syllables_per_line) == (4, 2, (4, 2))
    assert [text[a:b] for a, b in found.pauses] == [",", "\n\n", "…"]


def test_other_languages_have_unknown_syllables() -> None:
    found = rhythm("שלום עולם")
    assert found.words == 2
    assert found.syllables.value is None
    assert found.syllables_per_line == ()


def test_stress_is_unknown_without_marks() -> None:
    assert rhythm("мороз и солнце, день чудесный").stress.value is None


def test_stress_marks_give_pattern_and_metre() -> None:
    found = rhythm("Моро́з и со́лнце, де́нь чуде́сный\nЕщё ты дре́млешь, дру́г преле́стный")
    assert found.stress.value == "-+x+-+-+-|-+x+-+-+-"
    assert found.metre.value == "iamb"


@pytest.mark.parametrize(
    ("text", "metre"),
    [
        ("Бу́ря мгло́ю не́бо кро́ет", "trochee"),
        ("Ту́чки небе́сные, ве́чные стра́нники", "dactyl"),
        ("Одна́жды, в студёную зи́мнюю по́ру", "amphibrach"),
    ],
)
def test_metres(text: str, metre: str) -> None:
    assert rhythm(text).metre.value == metre


def test_a_word_without_its_mark_leaves_the_metre_unknown() -> None:
    found = rhythm("Моро́з и солнце, де́нь чуде́сный")
    assert found.stress.value is not None
    assert "?" in found.stress.value
    assert found.stress.confidence < 1.0
    assert found.metre.value is None


@given(st.text(max_size=80))
def test_lines_add_up_to_the_whole(text: str) -> None:
    found = rhythm(text)
    if found.syllables.value is not None:
        assert sum(found.syllables_per_line) == found.syllables.value
    assert all(0 <= a < b <= len(text) for a, b in found.pauses)
