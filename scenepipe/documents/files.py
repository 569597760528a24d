"""Files to documents: plain text, Markdown, and JSONL with a ``text`` in every row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenepipe.documents.markup import title_of
from scenepipe.errors import InputError

MARKDOWN = frozenset({".md", ".markdown", ".mdown", ".mkd"})
ROWS = frozenset({".jsonl", ".ndjson"})
MARKED_UP = frozenset(
    {".html", ".htm", ".xml", ".json", ".csv", ".tsv", ".pdf", ".doc", ".docx", ".odt", ".epub", ".fb2", ".rtf", ".tex"}
)
MAX_BYTES = 256 * 2**20
_LONGEST_TITLE = 200


@dataclass(frozen=True)
class Document:
    """One text to be cut: a file, or one row of it.

    Args:
        row: line of a JSONL file, from 1; None where the text is the whole file.
    """

    text: str
    row: int | None = None
    title: str | None = None
    markdown: bool = False


@dataclass(frozen=True)
class File:
    """A file's documents and the hash of its bytes."""

    source: str
    sha256: str
    documents: tuple[Document, ...]


def read_file(source: str) -> File:
    """Read a file whole.

    Raises:
        InputError: it is no text, Markdown or JSONL file, cannot be read, or a row of it is wrong; names the place.
    """
    path = Path(source).expanduser()
    if path.suffix.lower() in MARKED_UP:
        raise InputError(f"{source}: {path.suffix} is not read; make it text or Markdown, with pandoc for instance")
    data = _bytes(path, source)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: byte {error.start} is not UTF-8 ({error.reason}); save it as UTF-8 text") from None
    if "\0" in text:
        raise InputError(f"{source}: character {text.index(chr(0))} is NUL; this is no text file")
    if path.suffix.lower() in ROWS:
        documents = tuple(_rows(text, source))
    else:
        markdown = path.suffix.lower() in MARKDOWN
        documents = (Document(text, title=title_of(text) if markdown else None, markdown=markdown),)
    return File(source, hashlib.sha256(data).hexdigest(), documents)


def _bytes(path: Path, source: str) -> bytes:
    try:
        if path.is_dir():
            raise InputError(f"{source} is a folder; name its files, {source.rstrip('/')}/*.md for instance")
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{source} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_BYTES:
        raise InputError(f"{source} has more than {MAX_BYTES // 2**20} MB; split it")
    return data


def _rows(text: str, source: str) -> Iterator[Document]:
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if line.strip():
            row = _row(line, f"{source}:{number}")
            title = row.get("title")
            title = title[:_LONGEST_TITLE] if isinstance(title, str) else None
            yield Document(row["text"], row=number, title=title or None)


def _row(line: str, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = (
            error.msg if isinstance(error, json.JSONDecodeError) else "it is nested too deeply or has a huge number"
        )
        raise InputError(f"{place}: no JSON: {reason}; a row is an object with a text") from None
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        found = f"keys {', '.join(map(str, list(row)[:8])) or 'none'}" if isinstance(row, dict) else type(row).__name__
        raise InputError(f"{place}: a row is an object with a string 'text'; this has {found}")
    try:
        row["text"].encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{place}: character {error.start} of the text is half of a surrogate pair") from None
    return row
