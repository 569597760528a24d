"""What a model is asked to say: the schema stays in what every engine compiles, and a scene drafts an answer of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from scenepipe.analysis.lexicon import AXES, shipped_lexicon
from scenepipe.analysis.model_answer import LARGEST_ANSWER, SceneAnswer, answer_of, answer_schema, parse_answer
from scenepipe.analysis.model_reading import ModelReading, judge, vocabulary
from scenepipe.analysis.reading import read_text
from scenepipe.context import Context, Resources
from scenepipe.modules.rule_scene import RuleScene
from scenepipe.scene import Emotion, Reading, Scene, Symbol, new_scene
from scenepipe.scene_prompt import EXAMPLES

STRICT = {
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "enum",
    "pattern",
    "minimum",
    "maximum",
} | {
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
}
"""Keywords that OpenAI's strict mode takes, among those that are of use here."""
TEXTS = (
    "Почему я не чувствую шаг в себе?",
    "Это не страх.",
    "Why can I not feel the step in me?",
    "We laughed all day!",
)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    stage = RuleScene(associations=10)
    stage.open(Resources())
    ctx = Context(Resources(), run="t", pipeline="t", emit=lambda event: None)
    return stage.run_batch([new_scene(text).with_(**read_text(text)._asdict()) for text in TEXTS], ctx)


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema inside a schema."""
    yield schema
    inner = [*schema.get("properties", {}).values(), *schema.get("prefixItems", ())]
    for node in [*inner, *([schema["items"]] if "items" in schema else [])]:
        yield from nodes(node)


@pytest.mark.parametrize("code", ["ru", "en"])
@pytest.mark.parametrize("symbols", [3, 5, 12])
def test_the_open_schema_stays_within_the_strict_subset(code: str, symbols: int) -> None:
    schema = answer_schema(code, symbols)
    jsonschema.Draft202012Validator.check_schema(schema)
    for node in nodes(schema):
        assert node.keys() <= STRICT
        assert "type" in node
        if node["type"] == "object":
            assert node["required"] == list(node["properties"])
            assert node["additionalProperties"] is False


@pytest.mark.parametrize("code", ["ru", "en"])
def test_written_examples_keep_to_the_schema_and_numbers_out_of_range_do_not(code: str) -> None:
    validator = jsonschema.Draft202012Validator(answer_schema(code, 12))
    for _, told in EXAMPLES[code]:
        assert validator.is_valid(given := told.model_dump(mode="json"))
        for wrong in ({"valence": 11}, {"tension": -1}, {"symbols": ["one", "два", "3"]}, {"causes": ["weather"]}):
            assert not validator.is_valid(given | wrong)


def test_a_vocabulary_bounds_each_place(scenes: list[Scene]) -> None:
    places = vocabulary(scenes[0], shipped_lexicon(), 5)
    schema = answer_schema("ru", 5, places)
    validator = jsonschema.Draft202012Validator(schema["properties"]["symbols"])
    assert validator.is_valid([place[0] for place in places])
    assert not validator.is_valid([place[0] for place in reversed(places)])
    assert not validator.is_valid([place[0] for place in places[:4]])


def test_an_answer_without_end_is_not_read() -> None:
    (why,) = parse_answer("[" * (LARGEST_ANSWER + 1))  # type: ignore[misc]
    assert "at most 65536 are read" in str(why)


# --- a draft ---------------------------------------------------------------------------------------------------------


def test_a_draft_says_what_the_scene_says(scenes: list[Scene]) -> None:
    for scene in scenes:
        draft = answer_of(scene)
        assert draft is not None
        assert parse_answer(draft.to_json()) == draft
        told = judge(draft, scene, shipped_lexicon(), 10)
        assert isinstance(told, ModelReading), (scene.text, told)
        drawn = [symbol.key for symbol in scene.hyperscene or () if symbol.origin != "text"]
        assert [symbol.key for symbol in told.hyperscene if symbol.origin == "model"] == drawn
        assert scene.linkage is not None
        assert told.linkage == scene.linkage
        assert scene.field is not None
        for axis in AXES:
            assert told.field.weights[axis] == pytest.approx(scene.field.weights.get(axis, 0.0), abs=0.05)
        assert scene.emotion is not None
        assert scene.tension is not None
        for name in ("valence", "arousal", "dominance"):
            assert getattr(told.emotion, name).value == pytest.approx(
                getattr(scene.emotion, name).value or 0.0, abs=0.051
            )
        assert told.tension.level.value == pytest.approx(scene.tension.level.value, abs=0.051)


def test_a_draft_quotes_the_strongest_words_of_the_text(scenes: list[Scene]) -> None:
    draft = answer_of(scenes[2])
    assert draft is not None
    assert "step" in draft.words
    assert set(draft.words) <= set(TEXTS[2].rstrip("?").split())


def test_what_says_too_little_drafts_nothing(scenes: list[Scene]) -> None:
    scene = scenes[0]
    assert answer_of(new_scene("ещё не прочитано")) is None
    assert answer_of(scene.with_(hyperscene=(scene.hyperscene or ())[:4])) is None, "fewer than three nouns"
    assert answer_of(scene.with_(symbols=())) is None, "no word to rest on"
    blank = scene.field.model_copy(update={"weights": {}}) if scene.field else None
    assert answer_of(scene.with_(field=blank)) is None


def test_a_draft_stays_within_the_scales(scenes: list[Scene]) -> None:
    far = Emotion(valence=Reading(value=1.0, confidence=1.0), arousal=Reading(value=-1.0), dominance=Reading())
    many = tuple(
        Symbol(lemma=word, language="ru", part="noun", origin="lexicon") for word in EXAMPLES["ru"][0][1].symbols
    )
    draft = answer_of(scenes[0].with_(emotion=far, hyperscene=many * 2))
    assert isinstance(draft, SceneAnswer)
    assert (draft.valence, draft.arousal, draft.dominance, draft.confidence) == (10, -10, 0, 10)
    assert len(draft.symbols) == 12
    assert max(draft.axes.values()) == 10
