"""``llm-scene``: the model's answer where it is a scene, the rules where it is not, and never a silent difference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scenepipe.analysis.lexicon import AXES
from scenepipe.context import Resources
from scenepipe.errors import BackendError
from scenepipe.models.catalogue import LocalModel
from scenepipe.modules.llm_scene import REPAIR_TEMPERATURE, LlmScene
from scenepipe.scene import Scene
from scenepipe.scene_prompt import EXAMPLES
from scenepipe.testing.fake_backend import FakeBackend
from scenepipe.testing.stage_suite import StageSuite
from tests.modules.llm_scenes import EN, ENCODER, GOOD, GOOD_EN, RU, Apt, Scripted, answer, read

# --- the shipped suite -----------------------------------------------------------------------------------------------


class TestWithAnswersThatAreNoScenes(StageSuite):
    def make_stage(self) -> LlmScene:
        return LlmScene()

    def resources(self) -> Resources:
        return Resources(backend=FakeBackend(), encoder=ENCODER)


class TestWithAnswersThatAreScenes(StageSuite):
    def make_stage(self) -> LlmScene:
        return LlmScene()

    def resources(self) -> Resources:
        return Resources(backend=Apt(""), encoder=ENCODER)


# --- an answer that is a scene ---------------------------------------------------------------------------------------


def test_a_good_answer_replaces_what_a_model_can_judge_and_nothing_else() -> None:
    seen = read(RU, Scripted(answer()))
    scene, ruled = seen.scene, seen.ruled
    assert not seen.warnings
    assert len(seen.asked) == 1
    assert seen.drawn == GOOD["symbols"]
    assert scene.linkage is not None
    assert ruled.linkage is not None
    assert scene.linkage == ruled.linkage.model_copy(update={"chain": ("дрожь", "тишина", "вход")})
    assert (scene.rhythm, scene.delta) == (ruled.rhythm, ruled.delta)
    assert scene.delta is not None
    assert scene.field is not None
    assert ruled.field is not None
    assert scene.field.vector == ruled.field.vector
    assert scene.field.weights == {**dict.fromkeys(AXES, 0.0), "bodily": 0.75, "inner": 0.25}
    assert Scene.from_json(scene.to_json(vectors=True)) == scene


def test_affect_and_tension_carry_confidence_and_the_spans_of_the_quoted_words() -> None:
    scene = read(RU, Scripted(answer())).scene
    assert scene.emotion is not None
    assert scene.tension is not None
    readings = (scene.emotion.valence, scene.emotion.arousal, scene.emotion.dominance)
    assert [r.value for r in readings] == [-0.4, 0.3, -0.6]
    assert {r.confidence for r in readings} == {0.8}
    assert [scene.text[a:b] for a, b in scene.emotion.valence.evidence] == ["чувствую", "шаг"]
    assert scene.tension.level.value == 0.6
    assert {cause.name for cause in scene.tension.causes} == {"question", "negation"}
    spans = {cause.name: [scene.text[a:b] for a, b in cause.evidence] for cause in scene.tension.causes}
    assert spans == {"question": ["?"], "negation": ["чувствую"]}
    left = 1.0
    for cause in scene.tension.causes:
        left *= 1.0 - cause.amount
    assert 1.0 - left == pytest.approx(0.6, abs=1e-3)


def test_what_read_the_scene_stands_in_its_analysis() -> None:
    model = LocalModel("tiny", Path("x"), "b" * 64, None, "c" * 64)
    names = read(RU, Scripted(answer()), model=model).analysers
    assert {"llm-scene@1/5/open", "scene-answer@1", "scene-prompt@1", "model:tiny@" + "b" * 16} <= set(names)
    warm = read(RU, Scripted(answer()), LlmScene(temperature=0.5, seed=9), model=model).analysers
    assert warm != names, "two ways of drawing are two analyses"


def test_an_english_text_is_asked_about_in_english() -> None:
    seen = read(EN, Scripted(json.dumps(GOOD_EN)))
    assert not seen.fell_back
    assert seen.drawn == GOOD_EN["symbols"]
    assert EXAMPLES["en"][0][0] in (seen.asked[0].prompt or "")
    assert "Текст:" not in (seen.asked[0].prompt or "")


def test_bad_nouns_are_left_out_as_long_as_three_good_ones_are_left() -> None:
    given = ["шаг", "тишина", "ТИШИНА", "бежать", "пычх", "silence", "тихий дом", "дрожь", "тени"]
    seen = read(RU, Scripted(answer(symbols=given)))
    assert seen.drawn == ["тишина", "дрожь", "тень"]


# --- an answer that is none ------------------------------------------------------------------------------------------

NO_SCENES: dict[str, str] = {
    "no JSON": "Сцена тихая и печальная.",
    "half an object": answer()[:120],
    "a list": "[1, 2]",
    "no fields": "{}",
    "one field less": json.dumps({k: v for k, v in GOOD.items() if k != "valence"}),
    "one field more": answer(mood="sad"),
    "a number out of range": answer(valence=11),
    "a number as text": answer(tension="6"),
    "an unknown cause": answer(causes=["weather"]),
    "an unknown axis": answer(axes={**GOOD["axes"], "cosmic": 3}),
    "an axis less": answer(axes={"bodily": 3}),
    "no weight at all": answer(axes=dict.fromkeys(AXES, 0)),
    "nouns of the text": answer(symbols=["шаг", "шаги", "тишина", "дрожь"]),
    "nouns of the other language": answer(symbols=["silence", "pulse", "heat"]),
    "no nouns": answer(symbols=["бежать", "тихий", "вдруг"]),
    "one noun three times": answer(symbols=["тишина", "тишина", "Тишины"]),
    "no dictionary word": answer(symbols=["тишина", "пычх", "ждурь"]),
    "words that are not in the text": answer(words=["море", "берег"]),
}


@pytest.mark.parametrize("text", NO_SCENES.values(), ids=NO_SCENES.keys())
def test_an_answer_that_is_no_scene_leaves_the_rules_and_says_so(text: str) -> None:
    seen = read(RU, Scripted(text))
    assert seen.fell_back
    assert len(seen.asked) == 2
    (warning,) = seen.warnings
    assert (warning.stage, warning.scene_id) == ("llm-scene", seen.scene.id)
    assert warning.message.startswith("the rules' reading stands, the model gave none: ")


def test_the_warning_names_what_was_wrong() -> None:
    (warning,) = read(RU, Scripted(answer(symbols=["шаг", "бежать", "тишина"]))).warnings
    for part in ("1 are left and 3 are needed", "'шаг' stands in the text", "'бежать' is not one noun of 'ru'"):
        assert part in warning.message


def test_a_refused_answer_is_drawn_again_warmer_and_with_another_seed() -> None:
    seen = read(RU, Scripted("{", answer()))
    assert not seen.fell_back
    assert [r.seed for r in seen.asked] == [7, 8]
    assert [r.sampling.temperature for r in seen.asked] == [0.0, REPAIR_TEMPERATURE]
    assert seen.asked[0].prompt == seen.asked[1].prompt


def test_fallback_fail_fails_the_scene() -> None:
    with pytest.raises(BackendError, match="the model gave no scene in 2 tries: .*'fallback: rules' goes on"):
        read(RU, Scripted("{"), LlmScene(fallback="fail"))


def test_an_error_of_the_engine_ends_the_tries() -> None:
    backend = Scripted(answer(), fail_on="чувствую шаг")
    seen = read(RU, backend)
    assert seen.fell_back
    assert "on which this fake backend fails" in seen.warnings[0].message
    assert seen.asked == []
