from __future__ import annotations

import json
from pathlib import Path

import pytest

from scenepipe.errors import InputError, RegisterError
from scenepipe.evaluation.inputs import Asked, Written, chosen, read_inputs, unseen
from scenepipe.register import Register
from tests.scenepipe.evaluation.conftest import write_register


def write(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) if not isinstance(row, str) else row for row in rows))
    return path


def test_a_file_gives_its_texts_once_with_their_languages(tmp_path: Path) -> None:
    path = write(
        tmp_path / "in.jsonl",
        {"id": 7, "language": "en", "text": "Who are you?", "fit": {"poet": 1}},
        {"text": "Почему дом молчит?"},
        "",
        {"text": "WHO are   you?"},
    )
    assert read_inputs(path) == [Asked("7", "en", "Who are you?"), Asked("in.jsonl:2", "ru", "Почему дом молчит?")]


def test_every_fault_of_a_file_is_named_by_line(tmp_path: Path) -> None:
    path = write(
        tmp_path / "in.jsonl", "{", {"text": " "}, {"text": "שלום"}, {"id": "a", "text": "One house."},
        {"id": "a", "text": "Two houses."}, {"text": "x", "language": "de"},
    )  # fmt: skip
    with pytest.raises(InputError) as caught:
        read_inputs(path)
    message = str(caught.value)
    assert message.startswith("5 faults")
    assert all(f"in.jsonl:{line}:" in message for line in (1, 2, 3, 5, 6))
    assert "'a' is taken" in message


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe"])
def test_a_file_without_rows_or_text_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in.jsonl").write_bytes(content)
    with pytest.raises(InputError):
        read_inputs(tmp_path / "in.jsonl")
    with pytest.raises(InputError, match="cannot be read"):
        read_inputs(tmp_path / "none.jsonl")


def test_the_test_texts_are_asked_where_no_file_is_given(registers: list[Register]) -> None:
    asked = unseen(Written(registers), None)
    assert sorted(row.id for row in asked) == sorted(
        f"{code}-{i}" for code in ("ru", "en") for i in (2, 3, 6, 7, 10, 11)
    )


def test_a_text_that_was_learnt_is_refused(registers: list[Register], tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl", {"id": "x", "text": "where is SHORE number 0?"})
    with pytest.raises(InputError, match="train split: x"):
        unseen(Written(registers), path)


def test_another_registers_learnt_texts_are_not_asked_and_ids_stay_apart(registers: list[Register]) -> None:
    rows = [json.loads(line) for line in (registers[1].folder / "examples.jsonl").read_text().splitlines()]
    for row in rows:
        if row["split"] == "test":
            row["text"] = f"Other {row['text']}"
        elif row["id"] == "en-0":
            row["text"] = "Where is shore number 2?"
    (registers[1].folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = unseen(Written(registers), None)
    assert "Where is shore number 2?" not in {row.text for row in asked}
    assert len({row.id for row in asked}) == len(asked) == 23
    assert "baker/en-2" in {row.id for row in asked}


def test_a_register_without_test_replies_is_refused(tmp_path: Path) -> None:
    made = write_register(tmp_path, "mute", {"ru": "Да {noun}.", "en": "Yes {noun}."}, rows=2)
    with pytest.raises(RegisterError, match="mute.*test"):
        Written([made])


def test_a_smaller_choice_begins_a_larger_one_and_the_seed_decides() -> None:
    asked = [Asked(f"{code}{i}", code, str(i)) for code in ("ru", "en") for i in range(30)]
    small, large = chosen(asked, 5, 1), chosen(asked, 20, 1)
    assert [row.language for row in small] == ["ru"] * 5 + ["en"] * 5
    assert small[:5] == large[:5]
    assert small[5:] == large[20:25]
    assert chosen(asked, 5, 1) == chosen(asked[::-1], 5, 1) == small
    assert chosen(asked, 5, 2) != small
