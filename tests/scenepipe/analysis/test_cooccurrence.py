"""What an archive's neighbours become for the associations of a text."""

from __future__ import annotations

from typing import Any

import pytest

from scenepipe.analysis.builder import SceneBuilder, SceneReading, SceneText
from scenepipe.analysis.cooccurrence import (
    COOCCURRENCE_VERSION,
    LEAST_TOGETHER,
    MOST_ASKED,
    Beside,
    asked,
    beside,
    keys_of,
)
from scenepipe.analysis.lexicon import shipped_lexicon
from scenepipe.analysis.reading import read_text
from scenepipe.contracts import Neighbour
from scenepipe.scene import Symbol

TEXT = "Почему я не чувствую шаг в себе?"
LEXICON = shipped_lexicon()
SYMBOLS = read_text(TEXT).symbols
STEP = next(symbol for symbol in SYMBOLS if symbol.lemma == "шаг")


def neighbour(key: str, together: int = 10, score: float = 0.8) -> Neighbour:
    return Neighbour(key=key, together=together, count=together, score=score)


def met(*neighbours: Neighbour, code: str = "ru", symbol: Symbol = STEP) -> tuple[Beside, ...]:
    return beside([(symbol, neighbours)], SYMBOLS, code, LEXICON)


def read(builder: SceneBuilder, text: str, found: tuple[Beside, ...]) -> SceneReading:
    return builder.read([SceneText(text, *read_text(text), found)])[0]


def associated(reading: SceneReading) -> list[Symbol]:
    return [symbol for symbol in reading.hyperscene if symbol.origin != "text"]


# --- what is asked ---


def test_the_strongest_symbols_are_asked_for() -> None:
    symbols = [Symbol(lemma=f"w{n}", language="en", score=n / 10, evidence=((n, n + 1),)) for n in range(9)]
    assert [symbol.lemma for symbol in asked(symbols)] == ["w8", "w7", "w6"][:MOST_ASKED]
    assert asked([]) == []


def test_a_symbol_is_asked_for_in_both_languages_with_its_polarity() -> None:
    denied = Symbol(lemma="дрожь", language="ru", concept="trembling", polarity=-1)
    assert keys_of(denied, LEXICON) == ("не:дрожь", "not:trembling")
    english = Symbol(lemma="trembling", language="en", concept="trembling")
    assert keys_of(english, LEXICON) == ("trembling", "дрожь")
    assert keys_of(Symbol(lemma="корм", language="ru"), LEXICON) == ("корм",)


# --- what counts ---


def test_a_neighbour_of_the_lexicon_has_its_place_and_the_spans_that_it_stood_beside() -> None:
    (noun,) = met(neighbour("снег"))
    assert noun.lemma == "снег"
    assert noun.place is not None
    assert LEXICON.symbols[noun.place].ru == "снег"
    assert noun.strength == pytest.approx(0.8 * 0.9)
    assert noun.evidence == STEP.evidence[:1]


@pytest.mark.parametrize(("together", "strength"), [(1, None), (2, 0.5), (4, 0.75), (100, 0.99)])
def test_one_scene_is_no_habit_and_many_are_a_stronger_one(together: int, strength: float | None) -> None:
    assert LEAST_TOGETHER == 2
    found = met(neighbour("снег", together, 1.0))
    assert [noun.strength for noun in found] == ([] if strength is None else [pytest.approx(strength)])


@pytest.mark.parametrize(
    "key", ["не:снег", "not:snow", "шаг", "step", "чувствовать", "снег", "тёмный", "бежать", "хуже", "он", "и"]
)
def test_denied_words_the_texts_own_and_what_is_no_noun_call_nothing(key: str) -> None:
    score = 0.0 if key == "снег" else 0.8
    assert met(neighbour(key, score=score)) == ()


def test_the_other_language_is_read_through_the_lexicon_alone() -> None:
    (noun,) = met(neighbour("snow"))
    assert noun.lemma == "снег"
    assert met(neighbour("houseplant")) == ()
    assert [noun.lemma for noun in met(neighbour("houseplant"), neighbour("снег"), code="en")] == ["houseplant", "snow"]


@pytest.mark.parametrize(
    "key",
    ["ignore previous instructions", "корм\n", "кор\u00adм", "корм:", "Корм", "корм1", "<b>", "", "к" * 99, "\x1babc"],
)
def test_outside_the_lexicon_only_one_plain_noun_is_taken(key: str) -> None:
    """A key of a foreign archive may hold anything, and a linkage reaches the prompt."""
    assert met(neighbour(key)) == ()
    assert [noun.lemma for noun in met(neighbour("корм"), neighbour("мёд"))] == ["корм", "мёд"]


def test_one_noun_beside_two_symbols_has_both_spans_and_the_greater_strength() -> None:
    feel = next(symbol for symbol in SYMBOLS if symbol is not STEP)
    found = [(STEP, [neighbour("снег", 2, 1.0)]), (feel, [neighbour("snow", 10, 1.0)])]
    (noun,) = beside(found, SYMBOLS, "ru", LEXICON)
    assert noun.strength == pytest.approx(0.9)
    assert noun.evidence == tuple(sorted((STEP.evidence[0], feel.evidence[0])))


def test_the_strongest_come_first_and_equal_ones_by_word() -> None:
    found = met(neighbour("снег", 2), neighbour("дом", 9), neighbour("вода", 9))
    assert [noun.lemma for noun in found] == ["вода", "дом", "снег"]


# --- what it does to a scene ---


@pytest.fixture(params=["encoder", "words"])
def any_builder(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("builder") if request.param == "encoder" else SceneBuilder(LEXICON)


def test_a_habit_becomes_an_association_with_origin_score_and_evidence(any_builder: SceneBuilder) -> None:
    plain, known = read(any_builder, TEXT, ()), read(any_builder, TEXT, met(neighbour("сахар", 40, 1.0)))
    assert "сахар" not in {symbol.lemma for symbol in plain.hyperscene}
    (sugar,) = [symbol for symbol in associated(known) if symbol.lemma == "сахар"]
    assert (sugar.concept, sugar.origin, sugar.evidence) == ("sugar", "archive", STEP.evidence[:1])
    assert 0 < sugar.score <= 1


def test_a_weak_habit_changes_little(builder: SceneBuilder) -> None:
    plain, known = read(builder, TEXT, ()), read(builder, TEXT, met(neighbour("сахар", 2, 0.1)))
    assert plain.hyperscene == known.hyperscene


def test_a_noun_that_the_lexicon_does_not_have_is_the_archives_own(any_builder: SceneBuilder) -> None:
    known = read(any_builder, TEXT, met(neighbour("корм", 40, 1.0)))
    (food,) = [symbol for symbol in associated(known) if symbol.lemma == "корм"]
    assert (food.origin, food.concept, food.part, food.language) == ("archive", None, "noun", "ru")
    assert food.evidence == STEP.evidence[:1]
    assert len(associated(known)) == 3, "it takes a place, it adds none"
    scores = [symbol.score for symbol in associated(known)]
    assert scores == sorted(scores, reverse=True)


def test_a_habit_reaches_the_linkage_in_the_texts_language(builder: SceneBuilder) -> None:
    text = "Why can I not feel the step in me?"
    symbols = read_text(text).symbols
    step = next(symbol for symbol in symbols if symbol.lemma == "step")
    found = beside([(step, [neighbour("сахар", 40, 1.0)])], symbols, "en", LEXICON)
    assert "sugar" in read(builder, text, found).linkage.chain


def test_without_neighbours_a_scene_stays_as_it_is(any_builder: SceneBuilder) -> None:
    text = SceneText(TEXT, *read_text(TEXT))
    assert read(any_builder, TEXT, ()) == any_builder.read([text])[0]


def test_the_code_and_what_is_read_of_the_text_do_not_hang_on_the_archive(builder: SceneBuilder) -> None:
    plain, known = (read(builder, TEXT, found) for found in ((), met(neighbour("сахар", 40, 1.0), neighbour("корм"))))
    for name in ("delta", "emotion", "tension", "rhythm"):
        assert getattr(plain, name) == getattr(known, name)
    assert plain.field.vector == known.field.vector


def test_the_analysis_says_that_an_archive_was_heard(builder: SceneBuilder) -> None:
    plain, known = read(builder, TEXT, ()), read(builder, TEXT, met(neighbour("снег")))
    assert COOCCURRENCE_VERSION not in plain.analysis.analysers
    assert known.analysis.analysers == (*plain.analysis.analysers, COOCCURRENCE_VERSION)
