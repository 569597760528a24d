"""A model's answer as scene fields: the text's own nouns and polarity stay, causes add up, evidence is in the text."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenepipe.analysis.lexicon import AXES, shipped_lexicon
from scenepipe.analysis.model_answer import MOST_SYMBOLS, SceneAnswer
from scenepipe.analysis.model_reading import ModelReading, judge, noun, nouns, simplex, vocabulary
from scenepipe.analysis.reading import read_text
from scenepipe.context import Context, Resources
from scenepipe.modules.rule_scene import RuleScene
from scenepipe.scene import Scene, new_scene

LEXICON = shipped_lexicon()


@pytest.fixture(scope="module")
def rules() -> Any:
    stage = RuleScene()
    stage.open(Resources())
    ctx = Context(Resources(), run="t", pipeline="t", emit=lambda event: None)
    return lambda text: stage.run_batch([new_scene(text).with_(**read_text(text)._asdict())], ctx)[0]


def answer(**changes: Any) -> SceneAnswer:
    start: dict[str, Any] = {
        "words": ("страх",),
        "symbols": ("тишина", "дрожь", "вход", "пепел"),
        "chain": ("пепел", "вход", "дрожь"),
        "valence": -5,
        "arousal": 2,
        "dominance": -3,
        "tension": 5,
        "causes": ("arousal", "question"),
        "axes": dict.fromkeys(AXES, 1),
        "confidence": 10,
    }
    return SceneAnswer(**start | changes)


def read(scene: Scene, **changes: Any) -> ModelReading:
    told = judge(answer(**changes), scene, LEXICON, MOST_SYMBOLS)
    assert isinstance(told, ModelReading), told
    return told


def test_the_model_orders_what_is_associated(rules: Any) -> None:
    scene = rules("Во мне живёт страх.")
    assert read(scene).linkage.chain[:2] == ("пепел", "вход")
    assert read(scene, chain=("дрожь", "страх", "тишина")).linkage.chain[:2] == ("дрожь", "тишина")


def test_a_denied_noun_keeps_its_polarity_whatever_the_model_says(rules: Any) -> None:
    yes, no = rules("Это страх."), rules("Это не страх.")
    assert not {"страх", "не:страх"} & set(read(yes).linkage.chain)
    assert read(no).linkage.chain[0] == "не:страх"
    assert read(no, chain=("дрожь", "страх", "тишина")).linkage.chain == ("дрожь", "не:страх", "тишина")


def test_a_chain_of_strangers_is_filled_from_the_symbols(rules: Any) -> None:
    scene = rules("Мне страшно.")
    assert read(scene, words=("страшно",), chain=("море", "море", "якорь")).linkage.chain == ("тишина", "дрожь", "вход")
    assert read(scene, words=("страшно",), chain=("море", "вход", "вход")).linkage.chain == ("вход", "тишина", "дрожь")


def test_symbols_get_weaker_by_rank_and_by_what_is_not_in_the_text(rules: Any) -> None:
    scene = rules("Во мне живёт страх.")
    scores = [s.score for s in read(scene).hyperscene if s.origin == "model"]
    assert scores == [1.0, 0.95, 0.9, 0.85]
    half = read(scene, words=("страх", "море"), confidence=8)
    assert half.emotion.valence.confidence == 0.4
    assert [s.score for s in half.hyperscene if s.origin == "model"][0] == 0.4
    assert half.emotion.valence.evidence == ((13, 18),)


def test_words_are_found_in_any_writing_of_the_same_form(rules: Any) -> None:
    scene = rules("СТРА\u0301Х и ещё раз страх")
    assert read(scene, words=("страх",)).emotion.valence.evidence == ((0, 6), (17, 22))
    told = judge(answer(words=("страх мой",)), scene, LEXICON, 5)
    assert isinstance(told, ModelReading)
    assert told.emotion.valence.confidence == 0.5, "a phrase counts by its words"


@settings(deadline=None)
@given(tension=st.integers(0, 10), causes=st.sets(st.sampled_from(["arousal", "negation", "question", "break"])))
def test_causes_add_up_to_the_level(rules: Any, tension: int, causes: set[str]) -> None:
    told = read(rules("Во мне живёт страх?"), tension=tension, causes=tuple(causes)).tension
    assert told.level.value == tension / 10
    left = 1.0
    for cause in told.causes:
        left *= 1.0 - cause.amount
    if causes and tension:
        assert {cause.name for cause in told.causes} == causes
        assert 1.0 - left == pytest.approx(tension / 10, abs=1e-3)
    else:
        assert told.causes == ()


def test_a_cause_has_the_spans_that_the_rules_found_or_the_models(rules: Any) -> None:
    scene = rules("Во мне живёт страх?")
    spans = {
        c.name: [scene.text[a:b] for a, b in c.evidence]
        for c in read(scene, causes=("question", "break")).tension.causes
    }
    assert spans == {"question": ["?"], "break": ["страх"]}


@pytest.mark.parametrize(
    ("word", "code", "lemma"),
    [
        ("тени", "ru", "тень"),
        ("Тишина", "ru", "тишина"),
        ("мед", "ru", "мёд"),
        ("trembling", "en", "trembling"),
        ("harbours", "en", "harbour"),
        ("бежать", "ru", None),
        ("тишина", "en", None),
        ("silence", "ru", None),
        ("тихий дом", "ru", None),
        ("дом-музей", "ru", None),
        ("дом!", "ru", None),
        ("пычх", "ru", None),
        ("the", "en", None),
        ("", "ru", None),
        ("7", "en", None),
    ],
)
def test_only_single_nouns_that_a_dictionary_knows(word: str, code: Any, lemma: str | None) -> None:
    found = noun(word, code, LEXICON)
    assert (found[0] if found else None) == lemma


def test_a_noun_of_the_text_is_refused_in_either_language(rules: Any) -> None:
    kept, refused = nouns(["дрожь", "тишина"], rules("Эта странная trembling снова живёт во мне"), LEXICON)
    assert [symbol.lemma for symbol in kept] == ["тишина"]
    assert refused == ["'дрожь' stands in the text"]


@pytest.mark.parametrize("places", [3, 5, 8, 9, 12])
def test_places_share_the_lexicon_without_a_double(rules: Any, places: int) -> None:
    scene = rules("Во мне живёт страх.")
    lists = vocabulary(scene, LEXICON, places)
    assert len(lists) == places
    assert all(lists)
    flat = [word for words in lists for word in words]
    assert len(flat) == len(set(flat))
    assert "страх" not in flat
    if places >= len(AXES):
        assert len(flat) >= len(LEXICON.symbols) - 1
    heaviest = max(scene.field.weights, key=scene.field.weights.get)
    assert {entry.leading for entry in LEXICON.symbols if entry.ru in lists[0]} == {heaviest}


@settings(deadline=None)
@given(st.lists(st.integers(0, 10), min_size=8, max_size=8))
def test_a_simplex_sums_to_one_or_is_empty(values: list[int]) -> None:
    weights = simplex(dict(zip(AXES, map(float, values), strict=True)))
    if not any(values):
        assert weights == {}
        return
    assert sum(weights.values()) == pytest.approx(1.0, abs=1e-9)
    assert all(0.0 <= weight <= 1.0 for weight in weights.values())
    order = sorted(AXES, key=lambda axis: values[AXES.index(axis)])
    shares = [weights[axis] for axis in order]
    assert all(a <= b + 1e-3 for a, b in pairwise(shares)), "the order stays, but for rounding"
