"""The scene request: its template is fixed for a version, its examples are what the stage itself would take."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenepipe.analysis.lexicon import shipped_lexicon
from scenepipe.analysis.model_answer import MOST_SYMBOLS, answer_schema, parse_answer
from scenepipe.analysis.model_reading import ModelReading, judge
from scenepipe.analysis.reading import read_text
from scenepipe.prompt import one_line
from scenepipe.scene import new_scene
from scenepipe.scene_prompt import EXAMPLES, LONGEST_TEXT, SCENE_PROMPT_VERSION, SceneRequest, quoted

SHA256 = {1: "a1a1363ba18b2b1b67eb2013a33b41b64f74a4f79940420359f04a2ccd8ecec1"}
"""Of everything that a version shows a model. A change of it is a new version: adapters were trained on the old one."""


def test_a_version_is_one_template() -> None:
    shown = []
    for code in ("ru", "en"):
        shown += [SceneRequest("x", code, MOST_SYMBOLS).render(), SceneRequest("x", code, examples=False).render()]
        shown += [message.content for message in SceneRequest("x", code, MOST_SYMBOLS).messages()]
    assert hashlib.sha256("\n".join(shown).encode()).hexdigest() == SHA256[SCENE_PROMPT_VERSION]


@pytest.mark.parametrize("code", ["ru", "en"])
def test_the_examples_are_answers_that_the_stage_takes_whole(code: str) -> None:
    lexicon = shipped_lexicon()
    for text, told in EXAMPLES[code]:
        assert parse_answer(told.to_json()) == told
        scene = new_scene(text).with_(**read_text(text)._asdict())
        reading = judge(told, scene, lexicon, MOST_SYMBOLS)
        assert isinstance(reading, ModelReading)
        drawn = [symbol.lemma for symbol in reading.hyperscene if symbol.origin == "model"]
        assert drawn == list(told.symbols), "every noun is known and none stands in the text"
        assert reading.emotion.valence.confidence == told.confidence / 10, "every quoted word stands in the text"
        assert all(lexicon.find(code, word) is not None for word in told.symbols), "the lexicon can say it"


def test_fields_come_in_the_order_of_the_schema() -> None:
    for told in (told for pairs in EXAMPLES.values() for _, told in pairs):
        assert list(json.loads(told.to_json())) == answer_schema("en", 5)["required"]


@pytest.mark.parametrize("symbols", [3, 5, 12])
def test_examples_show_as_many_nouns_as_are_asked_for(symbols: int) -> None:
    lines = SceneRequest("x", "en", symbols).render().splitlines()
    for line in (lines[1], lines[4]):
        told = json.loads(line.partition(": ")[2])
        assert len(told["symbols"]) == symbols
        assert set(told["chain"]) <= set(told["symbols"])


@pytest.mark.parametrize("code", ["ru", "en"])
def test_a_stop_string_opens_the_template_and_stands_in_no_answer(code: str) -> None:
    request = SceneRequest("x", code)
    assert any(stop in request.render() for stop in request.stop)
    for pairs in EXAMPLES.values():
        for text, told in pairs:
            assert not any(stop in json.dumps(json.loads(told.to_json()), indent=1) for stop in request.stop), text


def test_an_undetermined_language_is_asked_about_in_english() -> None:
    assert SceneRequest("x", "und").render() == SceneRequest("x", "en").render()


@settings(deadline=None)
@given(st.text(max_size=3000))
def test_any_text_is_one_json_string_on_one_line(text: str) -> None:
    told = quoted(text)
    line = one_line(text)
    inner = json.loads(told)
    assert "\n" not in told
    assert inner == line or (len(line) > LONGEST_TEXT >= len(inner) and inner[:500] == line[:500])
    assert inner[-500:] == line[-500:]
