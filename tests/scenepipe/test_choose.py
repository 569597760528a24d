"""The stated score: each part moves for its own reason alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scenepipe.choose import parts_of, score_of
from scenepipe.testing.hash_encoder import HashEncoder


def parts(reply: str, *, text: str = "шаг", linkage: tuple[str, ...] = (), language: str = "ru") -> dict[str, float]:
    return parts_of(reply, text=text, linkage=linkage, language=language, encoder=HashEncoder())


def test_inflected_symbols_count() -> None:
    got = parts("Дрожью полна тишиной комната", linkage=("дрожь", "тишина", "вход"))
    assert got["linkage"] == 0.6667
    assert parts("The doors tremble", linkage=("door", "silence"), language="en")["linkage"] == 0.5


def test_a_symbol_inside_another_word_does_not_count() -> None:
    assert parts("входить удалось", linkage=("вход",))["linkage"] == 0.0
    assert parts("соловей поёт", linkage=("соль",))["linkage"] == 0.0


def test_repeated_pairs_cost() -> None:
    assert parts("в голове и в голове и в голове")["repetition"] > 0.4
    assert parts("в голове шумит тихая река")["repetition"] == 0.0


def test_another_script_costs() -> None:
    assert parts("this is English")["strange"] == 1.0
    assert parts("это по-русски")["strange"] == 0.0
    assert parts("anything", language="und")["strange"] == 0.0


def test_words_that_no_dictionary_has_cost() -> None:
    assert parts("магазонец пельна молчит")["unknown"] == 1.0
    assert parts("тихая река молчит")["unknown"] == 0.0


def test_nearness_to_the_text_counts() -> None:
    assert parts("шаг есть шаг")["aptness"] > parts("кот")["aptness"]
    assert parts_of("шаг", text="шаг", linkage=(), language="ru", encoder=None)["aptness"] == 0.0


@given(st.text(), st.sampled_from(["ru", "en", "und"]))
def test_any_reply_has_a_finite_score(reply: str, language: str) -> None:
    got = parts(reply, linkage=("дрожь", "x"), language=language)
    assert -4.1 <= score_of(got) <= 2.01
    assert all(0.0 <= got[name] <= 1.0 for name in got if name != "aptness")
