"""Input rows: formats, and what becomes of bad ones."""

from __future__ import annotations

import asyncio
import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenepipe.cli import rows
from scenepipe.cli.guard import Refused
from scenepipe.cli.rows import RowReader, lines, measure, stdin_lines
from scenepipe.context import Failure
from scenepipe.mixture import of
from scenepipe.scene import Scene


def read(data: bytes, **options: object) -> list[Scene | Failure]:
    return list(RowReader(**options).read(lines(io.BytesIO(data))))  # type: ignore[arg-type]


def message(row: Scene | Failure) -> str:
    assert isinstance(row, Failure)
    return row.message


def text(row: Scene | Failure) -> str:
    assert isinstance(row, Scene)
    return row.text


def test_plain_lines_are_texts_and_the_last_end_of_line_is_no_row() -> None:
    found = read("Раз\r\ntwo {\n".encode())
    assert [text(row) for row in found] == ["Раз", "two {"]


def test_jsonl_is_decided_by_the_first_line_that_is_not_blank() -> None:
    found = read(b'\n{"text": "a", "user": "u", "chat": "c", "turn": 3, "id": 7}\nplain\n')
    assert isinstance(found[0], Failure)
    assert isinstance(found[1], Scene)
    assert (found[1].origin.user, found[1].origin.chat, found[1].origin.turn) == ("u", "c", 3)
    assert isinstance(found[2], Failure)
    assert found[2].text == "plain"
    assert text(read(b'plain\n{"text": "a"}\n')[1]) == '{"text": "a"}'


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"text": "a", "txt": 1}', "txt"),
        (b'{"text": 1}', "text"),
        (b'{"user": "a"}', "text"),
        (b'{"text": "a", "turn": "3"}', "turn"),
        (b'{"text": "a"', "line"),
        (b"[]", "line"),
        (b'{"text": "  ", "id": "r7"}', "id 'r7'"),
        (b'{"text": "\xff"}', "UTF-8"),
        (b'{"text": "\\ud800"}', "line"),
        (b"", "empty"),
    ],
)
def test_a_bad_row_is_a_failure_in_its_place_that_says_why(line: bytes, says: str) -> None:
    found = read(b'{"text": "good"}\n' + line + b'\n{"text": "good"}\n')
    assert [isinstance(row, Scene) for row in found] == [True, False, True]
    failure = found[1]
    assert isinstance(failure, Failure)
    assert (failure.row, failure.stage, failure.error) == (1, "input", "InputError")
    assert failure.message.startswith("row 1: ")
    assert says in failure.message
    json.loads(failure.model_dump_json())


def test_a_byte_order_mark_is_no_part_of_the_first_row() -> None:
    assert text(read(b"\xef\xbb\xbfone\n")[0]) == "one"
    assert text(read(b'\xef\xbb\xbf{"text": "one"}\n')[0]) == "one"


def test_an_endless_line_is_cut_and_the_next_row_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_LINE_BYTES", 100)
    monkeypatch.setattr(rows, "_BLOCK", 7)
    found = read(b"a" * 100 + b"\n" + b"b" * 1000 + b"\nc\n")
    assert text(found[0]) == "a" * 100
    assert "100 bytes" in message(found[1])
    assert text(found[2]) == "c"


def test_rows_before_the_first_are_counted_and_the_format_is_still_theirs() -> None:
    found = read(b'{"text": "a"}\n{"text": "b"}\n\n', first=1)
    assert text(found[0]) == "b"
    assert isinstance(found[1], Failure)
    assert found[1].row == 2


def test_a_mixture_is_given_to_every_scene() -> None:
    mixture = of({"poet": 0.5})
    assert all(isinstance(row, Scene) and row.registers == mixture for row in read(b"a\nb\n", mixture=mixture))


@given(st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line), max_size=12))
def test_every_line_becomes_exactly_one_row(found: list[bytes]) -> None:
    data = b"".join(line + b"\n" for line in found)
    results = read(data)
    assert len(results) == len(found)
    failures = [(number, row) for number, row in enumerate(results) if isinstance(row, Failure)]
    assert all(row.row == number for number, row in failures)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=30), min_size=1))
def test_jsonl_texts_come_back_as_they_were(texts: list[str]) -> None:
    data = "".join(json.dumps({"text": each}) + "\n" for each in texts).encode()
    assert [text(row) for row in read(data)] == texts


@given(st.binary(max_size=300))
def test_measured_rows_are_the_rows_read(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("rows") / "in"
    path.write_bytes(data)
    measured = measure(path)
    assert measured.rows == len(list(lines(io.BytesIO(data))))
    assert measured.size == len(data)


def test_standard_input_is_read_as_it_comes_and_compared_when_resumed() -> None:
    async def collect(data: bytes, first: int, last: str | None) -> list[Scene | Failure]:
        reader, writer = os.pipe()
        os.write(writer, data)
        os.close(writer)
        try:
            return [row async for row in RowReader(first=first).aread(stdin_lines(reader), last)]
        finally:
            os.close(reader)

    assert [text(row) for row in asyncio.run(collect(b"one\ntwo\nthree", 2, "two"))] == ["three"]
    with pytest.raises(Refused, match="same input"):
        asyncio.run(collect(b"one\nother\nthree", 2, "two"))


def test_a_measured_file_names_size_and_hash(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_bytes(b"abc")
    found = measure(path)
    assert (found.name, found.size, found.rows) == ("in.txt", 3, 1)
    assert found.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
