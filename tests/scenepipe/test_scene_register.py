"""A register of kind ``scene``: the same folder with other rows; it answers `llm-scene` and is no voice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scenepipe.analysis.model_answer import SceneAnswer
from scenepipe.context import Context, Resources
from scenepipe.errors import ConfigError, RegisterError
from scenepipe.mixture import Mixture
from scenepipe.modules.route import Route
from scenepipe.prompt import PROMPT_VERSION, ScenePrompt
from scenepipe.register import (
    Example,
    SceneExample,
    adapter_of,
    check_register,
    examples,
    load_register,
    prompt_and_answer,
    rows_of,
    scene_examples,
)
from scenepipe.scene import Language, SemanticField, new_scene
from scenepipe.scene_prompt import EXAMPLES, SCENE_PROMPT_VERSION, SceneRequest
from tests.scenepipe.test_register import CARD, MODEL, ROWS, write_adapter, write_card, write_rows

RU, EN = EXAMPLES["ru"][0][1], EXAMPLES["en"][0][1]
SCENES: list[dict[str, Any]] = [
    {"id": id, "language": code, "split": split, "text": text, "scene": json.loads(told.to_json())}
    for id, code, split, text, told in (
        ("ru-1", "ru", "train", *EXAMPLES["ru"][0]),
        ("ru-2", "ru", "dev", *EXAMPLES["ru"][1]),
        ("en-1", "en", "test", *EXAMPLES["en"][0]),
    )
]


def reader(folder: Path, rows: list[dict[str, Any]] = SCENES, **card: Any) -> Path:
    made = write_card(folder / "sailor", kind="scene", **card)
    write_rows(made, rows)
    (made / "README.md").write_text("# Sailor\n")
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A reader of scenes with nothing to find fault with."""
    made = reader(tmp_path)
    write_adapter(made, kind="scene", prompt_version=SCENE_PROMPT_VERSION)
    return made


def findings(folder: Path) -> list[tuple[str, str, str]]:
    return [(f.level, f.where, f.message) for f in check_register(load_register(folder), MODEL)]


def test_a_card_says_its_kind_and_is_a_voice_otherwise(folder: Path, tmp_path: Path) -> None:
    assert load_register(folder).kind == "scene"
    assert load_register(write_card(tmp_path / "voice" / "sailor")).kind == "voice"
    with pytest.raises(RegisterError, match="kind: Input should be 'voice' or 'scene'"):
        load_register(write_card(tmp_path / "other" / "sailor", kind="picture"))


def test_rows_are_read_by_the_kind(folder: Path, tmp_path: Path) -> None:
    register = load_register(folder)
    rows = scene_examples(register)
    assert [row.id for row in rows] == ["ru-1", "ru-2", "en-1"]
    assert rows[0].scene == RU
    assert rows_of(register) == rows
    with pytest.raises(RegisterError, match="'sailor' is of kind 'scene', not a voice"):
        examples(register)
    voice = write_card(tmp_path / "voice" / "sailor")
    write_rows(voice)
    assert all(isinstance(row, Example) for row in rows_of(load_register(voice)))
    with pytest.raises(RegisterError, match="its rows are replies, not scenes"):
        scene_examples(load_register(voice))


def test_rows_of_the_other_kind_are_faults(folder: Path) -> None:
    write_rows(folder, ROWS)
    with pytest.raises(RegisterError, match="examples.jsonl:1: scene: Field required"):
        scene_examples(load_register(folder))


def test_a_row_is_asked_without_examples_and_answered_with_its_scene(folder: Path) -> None:
    row = scene_examples(load_register(folder))[0]
    prompt, answer = prompt_and_answer(row, "an echo")
    assert prompt == SceneRequest(row.text, "ru", examples=False).render()
    assert SceneAnswer.model_validate_json(answer) == RU
    voice = Example.model_validate(ROWS[0])
    assert prompt_and_answer(voice, "эхо") == (
        ScenePrompt(voice.text, "ru", voice.linkage, ("эхо",)).render(),
        voice.reply,
    )


# --- check -----------------------------------------------------------------------------------------------------------


def test_a_clean_reader_has_no_findings(folder: Path) -> None:
    assert findings(folder) == []


@pytest.mark.parametrize(
    ("change", "scene", "level", "said"),
    [
        ({"text": " "}, {}, "error", "its text is empty"),
        ({"text": "Why is it so quiet in the house?"}, {}, "error", "its text is in 'en', its language is 'ru'"),
        ({}, {"symbols": ["война", "тишина", "память", "пепел"]}, "warning", "'война' stands in the text"),
        ({}, {"symbols": ["бежать", "тишина", "память", "пепел"]}, "warning", "'бежать' is not one noun of 'ru'"),
        ({}, {"symbols": ["тишина", "память", "тишины"]}, "error", "2 are left and 3 are needed"),
        ({}, {"chain": ["море", "память", "пепел"]}, "warning", "chain: море stand neither among its symbols"),
        ({}, {"words": ["море"]}, "error", "'море' do not stand in the text"),
        ({}, {"axes": dict.fromkeys(SCENES[0]["scene"]["axes"], 0)}, "error", "every weight is 0"),
        ({"id": "ru-2"}, {}, "error", "this id is used 2 times"),
        ({"split": "dev"}, {}, "error", "no row of split 'train'"),
    ],
)
def test_faults_of_rows_are_found(
    tmp_path: Path, change: dict[str, Any], scene: dict[str, Any], level: str, said: str
) -> None:
    row = SCENES[0] | change | {"scene": SCENES[0]["scene"] | scene}
    made = reader(tmp_path, [row, *SCENES[1:]], adapters={})
    assert [1 for lev, _, m in findings(made) if lev == level and said in m], findings(made)


# --- adapters --------------------------------------------------------------------------------------------------------


def test_an_adapter_belongs_to_its_kind(folder: Path, tmp_path: Path) -> None:
    assert adapter_of(load_register(folder), MODEL).receipt.kind == "scene"
    voice = write_card(tmp_path / "voice" / "sailor")
    write_rows(voice)
    write_adapter(voice, kind="scene", prompt_version=SCENE_PROMPT_VERSION)
    with pytest.raises(RegisterError, match="trained as kind 'scene' and the card says 'voice'"):
        adapter_of(load_register(voice), MODEL)


def test_a_reader_of_another_prompt_version_is_refused(tmp_path: Path) -> None:
    made = reader(tmp_path)
    write_adapter(made, kind="scene", prompt_version=SCENE_PROMPT_VERSION + 1)
    with pytest.raises(RegisterError, match=f"on scene request version {SCENE_PROMPT_VERSION + 1}, this is version"):
        adapter_of(load_register(made), MODEL)


def test_receipts_without_a_kind_are_of_voices(tmp_path: Path) -> None:
    made = write_card(tmp_path / "sailor")
    write_rows(made)
    write_adapter(made, prompt_version=PROMPT_VERSION)
    assert adapter_of(load_register(made), MODEL).receipt.kind == "voice"


# --- route -----------------------------------------------------------------------------------------------------------


def routed(stage: Route, folder: Path, tmp_path: Path) -> Mixture | None:
    voice = write_card(tmp_path / "voice" / "gull", name="gull")
    write_rows(voice)
    found = {"gull": load_register(voice), "sailor": load_register(folder)}
    resources = Resources(registers=found)
    stage.open(resources)
    ctx = Context(resources, run="t", pipeline="t", emit=lambda event: None)
    start = new_scene("Где берег?").with_(language=Language(code="ru"), field=SemanticField(axes="axes@1"), symbols=())
    return stage.run_batch([start], ctx)[0].registers


def test_a_reader_never_enters_a_mixture(folder: Path, tmp_path: Path) -> None:
    mixture = routed(Route(), folder, tmp_path)
    assert mixture is not None
    assert set(mixture.weights) == {"gull"}


def test_a_fixed_mixture_that_names_a_reader_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mixture.sailor: sailor reads scenes and speaks no replies"):
        routed(Route(mixture={"sailor": 0.5}), folder, tmp_path)


def test_the_card_of_the_other_tests_is_a_voice() -> None:
    assert "kind" not in CARD
    assert SceneExample.model_fields["scene"].annotation is SceneAnswer
