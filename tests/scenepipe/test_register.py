from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from scenepipe.errors import RegisterError
from scenepipe.models.catalogue import LocalModel
from scenepipe.prompt import PROMPT_VERSION
from scenepipe.register import (
    Register,
    adapter_of,
    available,
    check_register,
    examples,
    find_registers,
    load_register,
)

MODEL = LocalModel("tiny", Path("tiny.gguf"), "a" * 64, None, "b" * 64)
CARD: dict[str, Any] = {
    "register": 1,
    "name": "sailor",
    "titles": {"ru": "Моряк", "en": "Sailor"},
    "description": {"ru": "Говорит о море.", "en": "Speaks of the sea."},
    "symbol": "⚓",
    "emoji": "⛵",
    "licence": "CC0-1.0",
    "adapters": {"tiny": "adapters/tiny"},
}
ROWS: list[dict[str, Any]] = [
    {
        "id": "ru-1",
        "language": "ru",
        "split": "train",
        "text": "Где берег?",
        "linkage": ["волна"],
        "reply": "За волной.",
        "fit": 1,
    },
    {
        "id": "en-1",
        "language": "en",
        "split": "dev",
        "text": "Where is land?",
        "linkage": ["wave"],
        "reply": "Past waves.",
        "fit": 1,
    },
    {
        "id": "en-2",
        "language": "en",
        "split": "test",
        "text": "Who is there?",
        "linkage": ["gull"],
        "reply": "Gulls.",
        "fit": 0.5,
    },
]


def write_card(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    card = {key: value for key, value in {**CARD, **changes}.items() if value is not ...}
    (folder / "register.yaml").write_text(yaml.safe_dump(card, allow_unicode=True), encoding="utf-8")
    return folder


def write_rows(folder: Path, rows: list[dict[str, Any]] = ROWS) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "examples.jsonl").write_text(lines, encoding="utf-8")


def write_adapter(folder: Path, *, zero: bool = False, **receipt: Any) -> None:
    where = folder / "adapters" / "tiny"
    where.mkdir(parents=True)
    key = "base_model.model.model.layers.0.self_attn.q_proj"
    b = np.zeros((4, 2), np.float32) if zero else np.ones((4, 2), np.float32)
    save_file(
        {f"{key}.lora_A.weight": np.ones((2, 4), np.float32), f"{key}.lora_B.weight": b},
        where / "adapter_model.safetensors",
    )
    (where / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 2}))
    made = {
        "receipt": 1,
        "model": "tiny",
        "prompt_version": PROMPT_VERSION,
        "base": {"sha256": MODEL.sha256, "tokenizer_sha256": MODEL.tokenizer_sha256},
        "adapter_sha256": hashlib.sha256((where / "adapter_model.safetensors").read_bytes()).hexdigest(),
        "data_sha256": hashlib.sha256((folder / "examples.jsonl").read_bytes()).hexdigest(),
        "training": {"rank": 2},
        "figures": {"loss": 1.5},
        **receipt,
    }
    (where / "receipt.json").write_text(json.dumps(made))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A register with nothing to find fault with."""
    made = write_card(tmp_path / "registers" / "sailor")
    write_rows(made)
    write_adapter(made)
    (made / "README.md").write_text("# Sailor\n")
    return made


# --- card ----------------------------------------------------------------------------------------------------------------


def test_a_card_becomes_a_register(folder: Path) -> None:
    assert load_register(folder) == Register(
        name="sailor",
        folder=folder,
        titles={"ru": "Моряк", "en": "Sailor"},
        description={"ru": "Говорит о море.", "en": "Speaks of the sea."},
        symbol="⚓",
        emoji="⛵",
        licence="CC0-1.0",
        adapters={"tiny": folder / "adapters" / "tiny"},
    )


def test_all_faults_of_a_card_come_at_once(tmp_path: Path) -> None:
    folder = write_card(
        tmp_path / "pirate",
        register=2,
        titles={"ru": "Моряк"},
        symbol="two",
        licence=...,
        voice="loud",
        adapters={"tiny": "../elsewhere", "other": "/etc"},
    )
    with pytest.raises(RegisterError) as caught:
        load_register(folder)
    message = str(caught.value)
    assert message.startswith(f"8 faults in {folder / 'register.yaml'}")
    for part in (
        "register: Input should be 1",
        "titles.en: Field required",
        "symbol: String should have at most 1 character",
        "licence: Field required",
        "voice: Extra inputs are not permitted",
        "name: it is 'sailor' and the folder is 'pirate'",
        f"adapters.tiny: '../elsewhere' leads to {tmp_path / 'elsewhere'}, outside",
        "adapters.other: '/etc' must be a path inside",
    ):
        assert part in message


@pytest.mark.parametrize("given", [".", "adapters/../..", "adapters/../../other/adapters", "a\0b", "/"])
def test_an_adapter_outside_the_folder_is_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises(RegisterError, match=r"adapters\.tiny: "):
        load_register(write_card(tmp_path / "sailor", adapters={"tiny": given}))


def test_an_adapter_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    folder = write_card(tmp_path / "sailor")
    (folder / "adapters").mkdir()
    (folder / "adapters" / "tiny").symlink_to(tmp_path / "secret")
    with pytest.raises(RegisterError, match="outside"):
        load_register(folder)


def test_a_link_made_after_loading_is_refused_too(folder: Path, tmp_path: Path) -> None:
    register = load_register(folder)
    (folder / "adapters").rename(tmp_path / "moved")
    (folder / "adapters").symlink_to(tmp_path / "moved")
    with pytest.raises(RegisterError, match="outside"):
        adapter_of(register, MODEL)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a mapping that starts with 'register: 1' is needed"),
        ("- a\n- b\n", "a mapping"),
        ("a: [", "is not YAML"),
        ("!!python/object/apply:os.system ['true']", "is not YAML"),
        ("[" * 20_000, "is not YAML"),
        ("a: &a [*a]\nname: *a\nadapters: *a\n", "name: Input should be a valid string"),
        ("# " + "x" * (1 << 20), "at most 1048576 are read"),
        ("name: \x07", "is not YAML"),
    ],
)
def test_a_card_that_cannot_be_read_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "register.yaml").write_text(text)
    with pytest.raises(RegisterError, match=said) as caught:
        load_register(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_many_aliases_cost_nothing(tmp_path: Path) -> None:
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    (tmp_path / "register.yaml").write_text(laughs + "titles: *a59\n")
    with pytest.raises(RegisterError, match="titles: Input should be a valid dictionary"):
        load_register(tmp_path)


def test_a_card_that_is_missing_a_link_or_no_text_is_refused(tmp_path: Path) -> None:
    card = tmp_path / "register.yaml"
    with pytest.raises(RegisterError, match="does not exist"):
        load_register(tmp_path)
    card.write_bytes(b"name: \xff")
    with pytest.raises(RegisterError, match="not UTF-8 text: byte 6"):
        load_register(tmp_path)
    card.rename(tmp_path / "real")
    card.symlink_to(tmp_path / "real")
    with pytest.raises(RegisterError, match="symbolic link"):
        load_register(tmp_path)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(changes=st.dictionaries(st.sampled_from([*CARD, "other"]), json_like, max_size=4))
def test_any_card_is_read_or_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = write_card(tmp_path / "sailor", **changes)
    try:
        assert load_register(folder).name == "sailor"
    except RegisterError as error:
        assert "register.yaml" in str(error)


# --- find ----------------------------------------------------------------------------------------------------------------


def test_registers_are_found_in_the_order_asked(tmp_path: Path) -> None:
    for name in ("sailor", "poet"):
        write_card(tmp_path / "one" / name, name=name)
    write_card(tmp_path / "two" / "sailor", licence="other")
    roots = [tmp_path / "absent", tmp_path / "one", tmp_path / "two"]
    found = find_registers(["sailor", "poet"], roots)
    assert list(found) == ["sailor", "poet"]
    assert found["sailor"].folder == tmp_path / "one" / "sailor", "the first root wins"
    assert list(available(roots)) == ["poet", "sailor"]


def test_an_unknown_name_and_a_broken_card_are_named_together(tmp_path: Path) -> None:
    write_card(tmp_path / "sailor")
    write_card(tmp_path / "poet")
    with pytest.raises(RegisterError) as caught:
        find_registers(["sailer", "poet"], [tmp_path])
    assert f"unknown register 'sailer' (looked in {tmp_path}); did you mean 'sailor'? possible: poet, sailor" in str(
        caught.value
    )
    assert "name: it is 'sailor' and the folder is 'poet'" in str(caught.value)


# --- examples ------------------------------------------------------------------------------------------------------------


def test_examples_are_read_in_order(folder: Path) -> None:
    rows = examples(load_register(folder))
    assert [row.id for row in rows] == ["ru-1", "en-1", "en-2"]
    assert (rows[0].linkage, rows[0].fit, rows[2].fit) == (("волна",), 1.0, 0.5)


def test_faults_of_rows_are_named_by_line(folder: Path) -> None:
    bad = {**ROWS[1], "language": "fr", "fit": 1.5}
    del bad["reply"]
    text = "\n".join([json.dumps(ROWS[0]), "", json.dumps(bad), "{", json.dumps({**ROWS[2], "extra": 1})])
    (folder / "examples.jsonl").write_text(text)
    with pytest.raises(RegisterError) as caught:
        examples(load_register(folder))
    message = str(caught.value)
    assert message.startswith("5 faults")
    for part in (
        "examples.jsonl:3: language: Input should be 'ru' or 'en'",
        "examples.jsonl:3: reply: Field required",
        "examples.jsonl:3: fit: Input should be less than or equal to 1",
        "examples.jsonl:4: row: Invalid JSON",
        "examples.jsonl:5: extra: Extra inputs are not permitted",
    ):
        assert part in message


# --- adapters ------------------------------------------------------------------------------------------------------------


def test_a_proven_adapter_is_given(folder: Path) -> None:
    found = adapter_of(load_register(folder), MODEL)
    assert found.folder == folder / "adapters" / "tiny"
    assert found.sha256 == found.receipt.adapter_sha256
    assert found.receipt.figures == {"loss": 1.5}


@pytest.mark.parametrize(
    ("receipt", "said"),
    [
        ({"model": "other"}, "it was trained on 'other' and the card gives it to 'tiny': another base model"),
        (
            {"base": {"sha256": "c" * 64, "tokenizer_sha256": "b" * 64}},
            "on weights cccccccccccc…, .* another base model",
        ),
        (
            {"base": {"sha256": "a" * 64, "tokenizer_sha256": "c" * 64}},
            "with vocabulary cccccccccccc…, .* another tokenizer",
        ),
        ({"prompt_version": PROMPT_VERSION + 1}, f"scene prompt version {PROMPT_VERSION + 1}, this is version"),
        ({"adapter_sha256": "d" * 64}, "the receipt says dddddddddddd…: the file was changed after training"),
        ({"receipt": 2}, "is not a receipt:\n  receipt: Input should be 1"),
        ({"base": {}}, "base.tokenizer_sha256: Field required"),
    ],
)
def test_an_adapter_that_is_not_for_this_model_is_refused(folder: Path, receipt: dict[str, Any], said: str) -> None:
    path = folder / "adapters" / "tiny" / "receipt.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **receipt}))
    with pytest.raises(RegisterError, match=said):
        adapter_of(load_register(folder), MODEL)


def test_all_reasons_are_named_at_once(folder: Path) -> None:
    path = folder / "adapters" / "tiny" / "receipt.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "prompt_version": 9, "adapter_sha256": "d" * 64}))
    with pytest.raises(RegisterError) as caught:
        adapter_of(load_register(folder), MODEL)
    assert "register 'sailor', adapter for 'tiny'" in str(caught.value)
    assert "version 9" in str(caught.value)
    assert "changed after training" in str(caught.value)


def test_a_tampered_adapter_is_refused(folder: Path) -> None:
    path = folder / "adapters" / "tiny" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(RegisterError, match="changed after training"):
        adapter_of(load_register(folder), MODEL)


def test_another_model_or_a_missing_folder_is_named(folder: Path, tmp_path: Path) -> None:
    register = load_register(folder)
    with pytest.raises(RegisterError, match="no adapter for model 'tinny'; did you mean 'tiny'"):
        adapter_of(register, LocalModel("tinny", Path("x"), "a" * 64, None, ""))
    (folder / "adapters").rename(tmp_path / "gone")
    with pytest.raises(RegisterError, match="does not exist; train it"):
        adapter_of(register, MODEL)


# --- check ---------------------------------------------------------------------------------------------------------------


def findings(folder: Path, model: LocalModel | None = MODEL) -> list[tuple[str, str, str]]:
    return [(f.level, f.where, f.message) for f in check_register(load_register(folder), model)]


def test_a_clean_register_has_no_findings(folder: Path) -> None:
    assert findings(folder) == []
    assert findings(folder, None) == []


@pytest.mark.parametrize(
    ("number", "change", "level", "said"),
    [
        (1, {"id": "ru-1"}, "error", "this id is used 2 times"),
        (1, {"text": "ГДЕ  Берег?", "language": "ru"}, "error", "the same text as ru-1"),
        (0, {"reply": "  "}, "error", "its reply is empty; nothing is left to learn from"),
        (0, {"reply": "Beyond the wave."}, "error", "its reply is written in another script"),
        (1, {"text": "Где земля, волна?"}, "error", "its text is written in another script"),
        (0, {"linkage": []}, "error", "its linkage is empty"),
        (0, {"linkage": ["волна", "чайка"]}, "warning", "its reply does not use чайка"),
        (1, {"split": "train"}, "error", "no row of split 'dev'"),
        (0, {"language": "en"}, "warning", "no row in language 'ru'"),
    ],
)
def test_faults_of_examples_are_found(folder: Path, number: int, change: dict[str, Any], level: str, said: str) -> None:
    rows = [{**row, **(change if place == number else {})} for place, row in enumerate(ROWS)]
    write_rows(folder, rows)
    found = findings(folder)
    assert any(lev == level and w.startswith("examples.jsonl") and said in m for lev, w, m in found), found


def test_inflected_and_negated_symbols_count_as_used(folder: Path) -> None:
    reply = "Чёрные волны не чувствуют шагов."
    write_rows(folder, [{**ROWS[0], "linkage": ["волна", "шаг", "не:чувствовать"], "reply": reply}, *ROWS[1:]])
    assert not [m for _, w, m in findings(folder) if w.startswith("examples.jsonl")]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"id": "f-1", "language": "ru", "text": "Сколько будет дважды два?", "fit": 0.1}] * 2, "is used 2 times"),
        ([{"id": "f-1", "language": "en", "text": "WHO is there?", "fit": 0.1}], "the same text as"),
        ([{"id": "f-1", "language": "en", "text": "Сколько?", "fit": 0.1}], "another script"),
        ([{"id": "f-1", "language": "en", "text": " ", "fit": 0.1}], "its text is empty"),
        ([{"id": "f-1", "language": "en", "text": "How many?", "fit": 1.1}], "fits.jsonl:1: fit"),
    ],
)
def test_faults_of_inputs_without_replies_are_found(folder: Path, rows: list[dict[str, Any]], said: str) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "fits.jsonl").write_text(lines, encoding="utf-8")
    found = findings(folder)
    assert any(lev == "error" and w.startswith("fits.jsonl") and said in m for lev, w, m in found), found


def test_unreadable_examples_are_one_finding(folder: Path) -> None:
    (folder / "examples.jsonl").write_text("{")
    assert ("error", "examples.jsonl") in [(level, where) for level, where, _ in findings(folder)]


def test_changed_examples_are_a_reason_to_train_again(folder: Path) -> None:
    write_rows(folder, [{**ROWS[0], "fit": 0.25}, *ROWS[1:]])
    assert findings(folder) == [
        ("warning", "adapters tiny", "examples.jsonl has changed since it was trained; train it again")
    ]


def test_a_missing_readme_and_a_card_without_adapters(tmp_path: Path) -> None:
    folder = write_card(tmp_path / "sailor", adapters={})
    write_rows(folder)
    assert [(level, where) for level, where, _ in findings(folder, None)] == [
        ("warning", "README.md"),
        ("warning", "register.yaml"),
    ]
    assert ("error", "adapters") in [(level, where) for level, where, _ in findings(folder)]


@pytest.mark.parametrize("model", [MODEL, None])
def test_an_adapter_that_changes_nothing_is_found(tmp_path: Path, model: LocalModel | None) -> None:
    folder = write_card(tmp_path / "sailor")
    write_rows(folder)
    write_adapter(folder, zero=True)
    assert any("it changes nothing" in message for _, _, message in findings(folder, model))


@pytest.mark.parametrize("model", [MODEL, None])
def test_what_adapter_of_refuses_check_finds(folder: Path, model: LocalModel | None) -> None:
    path = folder / "adapters" / "tiny" / "receipt.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "prompt_version": 9}))
    assert any(level == "error" and "prompt version 9" in message for level, _, message in findings(folder, model))
    (folder / "adapters" / "tiny" / "extra.bin").write_bytes(b"")
    assert any("pickled" in message for _, _, message in findings(folder, None))


def test_rows_longer_than_the_context_are_found(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gguf

    from scenepipe.models import fetch

    monkeypatch.setenv("SCENEPIPE_CACHE", str(tmp_path / "cache"))
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{n:02X}>" for n in range(256)), "▁"]
    writer = gguf.GGUFWriter(tmp_path / "tiny.gguf", "llama")
    writer.add_block_count(1)
    writer.add_embedding_length(8)
    writer.add_head_count(2)
    writer.add_context_length(120)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([2, 3, 3, *[6] * 256, 1])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    write_rows(folder, [{**ROWS[0], "reply": "За волной. " * 20}, *ROWS[1:]])
    found = findings(folder, fetch.local(str(tmp_path / "tiny.gguf")))
    long = [where for _, where, message in found if "tokens, the model's context is 120" in message]
    assert long == ["examples.jsonl ru-1"]


CARD_LINES = "register: 1\nname: sailor\ntitles: {ru: М, en: S}\ndescription: {ru: Г., en: S.}\nsymbol: '~'\nemoji: x\nlicence: CC0-1.0\n"


@pytest.mark.parametrize("adapters", ["adapters: {}  # none yet\n", ""])
def test_a_trained_adapter_is_named_in_a_card_that_names_none(tmp_path: Path, adapters: str) -> None:
    from scenepipe.register import name_adapter

    folder = tmp_path / "sailor"
    folder.mkdir()
    (folder / "register.yaml").write_text("# my card\n" + CARD_LINES + adapters, encoding="utf-8")
    assert name_adapter(load_register(folder), "gemma-3-270m")
    assert load_register(folder).adapters == {"gemma-3-270m": folder.resolve() / "adapters/gemma-3-270m"}
    text = (folder / "register.yaml").read_text(encoding="utf-8")
    assert text.startswith("# my card\n" + CARD_LINES)
    assert name_adapter(load_register(folder), "gemma-3-270m")
    assert (folder / "register.yaml").read_text(encoding="utf-8") == text
    assert not name_adapter(load_register(folder), "another-model")
