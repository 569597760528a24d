"""The Scene value: identity, folding, JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenepipe.errors import InputError
from scenepipe.scene import (
    STAGE_FIELDS,
    Delta,
    Echo,
    Language,
    Linkage,
    Origin,
    Receipt,
    Reply,
    Scene,
    SemanticField,
    Symbol,
    Turn,
    Vector,
    fold,
    new_scene,
    scene_id,
    scene_key,
)
from scenepipe.tools import ToolCall

TEXTS = st.text(min_size=1).filter(lambda t: t.strip())


def test_same_words_met_twice_are_one_scene_and_two_occasions() -> None:
    first = new_scene("шаг", Origin(run="a"))
    second = new_scene("шаг", Origin(run="b"))
    assert first.id == second.id
    assert first.key == second.key
    assert first.origin != second.origin


def test_namespaces_never_share_a_scene() -> None:
    assert scene_id("шаг", "anna") != scene_id("шаг", "boris")
    assert scene_key("шаг", "anna") != scene_key("шаг", "boris")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ёлка", "елка"),
        ("«шаг»", '"шаг"'),
        ("ша\u0301г", "шаг"),
        ("тиши\u00adна", "тишина"),
        ("a  b\n c", "A B C"),
        ("cafe\u0301", "CAFE"),
        ("don’t", "don't"),
    ],
)
def test_spelling_is_folded_for_the_key_only(one: str, other: str) -> None:
    assert scene_key(one) == scene_key(other)
    assert scene_id(one) != scene_id(other)
    assert new_scene(one).text == one


@pytest.mark.parametrize(
    ("one", "other"),
    [("Мне страшно", "Мне не страшно"), ("дрожь тишина вход", "вход тишина дрожь"), ("Шаг.", "Шаг?"), ("мои", "мой")],
)
def test_what_means_something_else_keeps_another_key(one: str, other: str) -> None:
    assert scene_key(one) != scene_key(other)


@given(TEXTS)
def test_folding_is_idempotent(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(TEXTS)
def test_json_returns_the_same_scene(text: str) -> None:
    scene = new_scene(text)
    assert Scene.from_json(scene.to_json()) == scene


def test_vector_rides_only_when_asked() -> None:
    field = SemanticField(axes="axes@1", weights={"bodily": 1.0}, vector=Vector(data=bytes([1, 255, 3]), encoder="e"))
    scene = new_scene("шаг").with_(field=field)
    assert "vector" not in json.loads(scene.to_json())["field"]
    assert Scene.from_json(scene.to_json(vectors=True)) == scene


@pytest.mark.parametrize("bad", ["", " \n\t", "\u2003"])
def test_empty_text_is_refused(bad: str) -> None:
    with pytest.raises(InputError, match="empty"):
        new_scene(bad)


def test_lone_surrogate_is_refused_with_its_place() -> None:
    with pytest.raises(InputError, match="surrogate at character 2"):
        new_scene("ab\ud800")


def test_bytes_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="bytes was given"):
        new_scene(b"abc")  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["\0", "a\0b", "🙂", "שלום", "𝔘𝔫𝔦", "x" * 1_000_000])
def test_odd_texts_are_scenes(text: str) -> None:
    scene = new_scene(text)
    assert Scene.from_json(scene.to_json()).text == text


@given(
    st.one_of(
        st.text(),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
        ).map(json.dumps),
    )
)
def test_any_json_is_a_scene_or_a_named_refusal(data: str) -> None:
    try:
        Scene.from_json(data)
    except InputError as error:
        assert "not a scene" in str(error)


@given(
    st.sampled_from(STAGE_FIELDS),
    st.recursive(st.none() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)),
)
def test_wrong_field_values_are_refused_by_field(name: str, value: object) -> None:
    raw = json.loads(new_scene("шаг").to_json()) | {name: value}
    try:
        scene = Scene.from_json(json.dumps(raw))
    except InputError as error:
        assert name in str(error)
    else:
        assert Scene.from_json(scene.to_json()) == scene


def test_unknown_field_is_refused() -> None:
    raw = json.loads(new_scene("шаг").to_json()) | {"mood": 1}
    with pytest.raises(InputError, match="mood"):
        Scene.from_json(json.dumps(raw))


def test_scene_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        new_scene("шаг").text = "other"  # type: ignore[misc]


def test_symbol_key_carries_polarity_in_its_language() -> None:
    assert Symbol(lemma="чувствовать", language="ru", polarity=-1).key == "не:чувствовать"
    assert Symbol(lemma="feel", language="en", polarity=-1).key == "not:feel"
    assert Symbol(lemma="шаг", language="ru").key == "шаг"


def test_linkage_is_one_value_seen_twice() -> None:
    assert Linkage(chain=("дрожь", "тишина", "вход")).joined == "дрожьтишинавход"


def test_delta_shows_its_codebook() -> None:
    assert str(Delta(code=41, codebook="c1", margin=0.1, alternative=40)) == "Δ41@c1"


def test_stage_fields_follow_the_scene() -> None:
    assert STAGE_FIELDS[0] == "language"
    assert STAGE_FIELDS[-1] == "outputs"
    assert not {"id", "text", "created"} & set(STAGE_FIELDS)
    assert Language().code == "und"


def test_a_chats_fields_are_written_only_in_a_chat() -> None:
    """So that a stored scene has the bytes that it had before there were any."""
    plain = new_scene("шаг")
    assert "turns" not in plain.to_json()
    assert "parent" not in plain.to_json()
    origin = Origin(chat="a", turn=2, parent="p", regenerate=True)
    turns = (Turn(text="раз", reply="один", scene_id="1"), Turn(text="два"))
    echo = Echo(scene_id="2", text="три", source="a.jsonl:4", span=(3, 9))
    talked = new_scene("шаг", origin).with_(turns=turns, echoes=(echo,))
    assert Scene.from_json(talked.to_json()) == talked
    assert Scene.from_json(plain.to_json()) == plain
    assert new_scene("шаг", Origin(parent="p")).to_json().count('"parent":"p"') == 1


def test_calls_of_tools_are_written_only_where_there_are_some() -> None:
    receipt = Receipt(backend="fake", model="m", mode="exact", prompt_version=1, prompt_sha256="0" * 64)
    spoken = new_scene("шаг").with_(reply=Reply(text="да", receipt=receipt))
    assert spoken.reply is not None
    calls = (ToolCall(id="c", name="weather_of", arguments='{"town": "Тверь"}'),)
    called = spoken.with_(reply=spoken.reply.model_copy(update={"tool_calls": calls, "finish_reason": "tool_calls"}))
    assert "tool_calls" not in spoken.to_json()
    for scene in (spoken, called):
        assert Scene.from_json(scene.to_json()) == scene
    assert called.reply is not None
    assert (spoken.reply.answers, called.reply.answers) == (True, False)
