"""What is read as a document, and what is refused by name."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from scenepipe.documents import files
from scenepipe.documents.files import Document, read_file
from scenepipe.errors import InputError


def read(path: Path, data: bytes) -> tuple[Document, ...]:
    path.write_bytes(data)
    found = read_file(str(path))
    assert (found.source, found.sha256) == (str(path), hashlib.sha256(data).hexdigest())
    return found.documents


def test_a_text_keeps_every_character(tmp_path: Path) -> None:
    text = "\ufeffПервая.\r\n\r\nВторая\u2028строка.\r"
    assert read(tmp_path / "a.txt", text.encode()) == (Document(text),)
    assert read(tmp_path / "README", text.encode()) == (Document(text),)


def test_markdown_has_its_title(tmp_path: Path) -> None:
    (document,) = read(tmp_path / "a.MD", "# Книга\n\nТекст".encode())
    assert (document.title, document.markdown) == ("Книга", True)


def test_every_row_is_a_document(tmp_path: Path) -> None:
    rows = '\ufeff{"text": "Один", "title": "Т", "year": 1900}\r\n\n{"text": "Два\\u0000", "title": 7}\n'
    assert read(tmp_path / "a.jsonl", rows.encode()) == (
        Document("Один", row=1, title="Т"),
        Document("Два\0", row=3),
    )
    assert read(tmp_path / "b.ndjson", b"") == ()


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.txt", b"abc\xff", "byte 3 is not UTF-8"),
        ("a.txt", "текст".encode("utf-16"), "byte 0 is not UTF-8"),
        ("a.txt", b"ab\0c", "character 2 is NUL"),
        ("a.pdf", b"%PDF", ".pdf is not read"),
        ("a.html", b"<p>", ".html is not read"),
        ("a.jsonl", b'{"text": "x"}\n[1]', "a.jsonl:2: a row is an object with a string 'text'; this has list"),
        ("a.jsonl", b'{"body": "x"}', "a.jsonl:1: a row is an object with a string 'text'; this has keys body"),
        ("a.jsonl", b'{"text": 1}', "a.jsonl:1: a row is an object"),
        ("a.jsonl", b'{"text": "x"', "a.jsonl:1: no JSON"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl:1: no JSON"),
        ("a.jsonl", b'{"text": "x", "n": ' + b"9" * 10_000 + b"}", "a.jsonl:1: no JSON"),
        ("a.jsonl", b'{"text": "a\\ud83d"}', "a.jsonl:1: character 1 of the text is half of a surrogate pair"),
    ],
)
def test_what_is_no_document_is_refused_with_its_place(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError) as refused:
        read_file(str(tmp_path / name))
    assert says in str(refused.value)


def test_what_is_not_there_or_is_a_folder_or_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_file(str(tmp_path / "absent.txt"))
    with pytest.raises(InputError, match=r"is a folder; name its files, .*/\*\.md"):
        read_file(str(tmp_path))
    with pytest.raises(InputError, match="cannot be read"):
        read_file("a\0b")
    monkeypatch.setattr(files, "MAX_BYTES", 10)
    (tmp_path / "a.txt").write_bytes(b"x" * 11)
    with pytest.raises(InputError, match="has more than"):
        read_file(str(tmp_path / "a.txt"))
