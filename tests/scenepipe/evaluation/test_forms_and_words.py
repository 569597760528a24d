from __future__ import annotations

import pytest

from scenepipe.evaluation.forms import fresh, said
from scenepipe.evaluation.words import read_words


@pytest.mark.parametrize(
    ("text", "symbols", "found"),
    [
        ("Дрожью отвечает тишина.", ["дрожь", "тишина", "вход"], ["дрожь", "тишина"]),
        ("Стекла на полу.", ["стекло", "пол"], ["стекло", "пол"]),
        ("Мёд и ёлка", ["мед", "елка"], ["мед", "елка"]),
        ("Two windows were open", ["window", "door"], ["window"]),
        ("Нет страха", ["не:страх"], ["не:страх"]),
        ("", ["дом"], []),
    ],
)
def test_a_symbol_is_said_in_any_form(text: str, symbols: list[str], found: list[str]) -> None:
    assert said(text, symbols) == found


def test_fresh_symbols_are_those_that_the_input_does_not_say() -> None:
    assert fresh(["шаг", "тишина"], "Я слышу шаги") == ["тишина"]


def test_counts_of_a_reply() -> None:
    good = read_words("Тишина стоит в доме.", "ru")
    assert (good.faithful, good.words, good.unknown, good.repetition) == (True, 4, 0, 0.0)
    assert read_words("Тишина стоит молчалие.", "ru").unknown == 1
    assert read_words("The house is silent.", "ru").faithful is False
    assert read_words("a stone a stone a stone", "en").repetition > 0.4
    assert read_words("", "en") == (False, 0, 0, 0.0)
