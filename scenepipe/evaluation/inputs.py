"""What is asked: texts that no register has learnt from, and the registers' own written replies."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from scenepipe.analysis.reading import read_text
from scenepipe.errors import InputError, RegisterError
from scenepipe.models.receipt import messages
from scenepipe.register import Example, Register, examples
from scenepipe.scene import fold

LANGUAGES: tuple[Literal["ru", "en"], ...] = ("ru", "en")
LARGEST_INPUTS = 64 << 20


class Asked(NamedTuple):
    """One input with its language."""

    id: str
    language: str
    text: str


class _Row(BaseModel):
    """A line of an inputs file; other keys, such as ``fit``, are not looked at."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    text: str
    id: str | int | None = None
    language: Literal["ru", "en"] | None = None


class Written:
    """The registers' rows by split.

    Raises:
        RegisterError: a register without a reply in the train or the test split; nothing can be compared then.
    """

    def __init__(self, registers: Sequence[Register]) -> None:
        self.rows = {register.name: [row for row in examples(register) if row.reply.strip()] for register in registers}
        for name in self.rows:
            empty = [split for split in ("train", "test") if not self.of(name, split)]
            if empty:
                raise RegisterError(
                    f"register '{name}' has no row with a reply in the split {' and '.join(empty)}; "
                    "evaluation learns its judge from train and measures on test"
                )

    def of(self, name: str, split: str, language: str | None = None) -> list[Example]:
        """A register's rows of one split, and of one language where it is given."""
        return [row for row in self.rows[name] if row.split == split and language in (None, row.language)]


def unseen(written: Written, path: Path | None) -> list[Asked]:
    """The inputs of a file, or else the texts of the registers' test rows, each once.

    Raises:
        InputError: a line is no row, has no language that can be told, or is a text that a register has learnt from.
    """
    learnt = {fold(row.text) for rows in written.rows.values() for row in rows if row.split == "train"}
    if path is None:
        tests = [row for row in _test_texts(written) if fold(row.text) not in learnt]
        if not tests:
            raise InputError(
                "every test text is in another register's train split; give texts of your own, --inputs FILE"
            )
        return tests
    found = read_inputs(path)
    seen = [row.id for row in found if fold(row.text) in learnt]
    if seen:
        raise InputError(f"these inputs are in a register's train split: {', '.join(seen[:10])}; take them out")
    return found


def read_inputs(path: Path) -> list[Asked]:
    """The rows of a JSONL file: ``text``, and ``id`` and ``language`` where they are known.

    Raises:
        InputError: it cannot be read, or has faults; names all of them by line (the first 50).
    """
    try:
        if path.stat().st_size > LARGEST_INPUTS:
            raise InputError(f"{path} has more than {LARGEST_INPUTS} bytes; give fewer inputs")
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    rows: dict[str, Asked] = {}
    faults: list[str] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            _read_row(line, f"{path.name}:{number}", rows, faults)
    if faults:
        raise InputError("\n".join([f"{len(faults)} faults in {path}", *(f"  {fault}" for fault in faults[:50])]))
    if not rows:
        raise InputError(f'{path} has no row; one line is one input: {{"text": "…"}}')
    return list(rows.values())


def _read_row(line: str, where: str, rows: dict[str, Asked], faults: list[str]) -> None:
    """Add the line's input, or its fault; a text that was there already is passed over."""
    try:
        row = _Row.model_validate_json(line)
    except ValidationError as error:
        faults += [f"{where}: {message}" for message in messages(error)]
        return
    language = row.language or read_text(row.text).language.code
    if not row.text.strip():
        faults.append(f"{where}: its text is empty; write one, or take the line out")
    elif language not in LANGUAGES:
        faults.append(f'{where}: its language is neither Russian nor English; add "language": "ru" or "en"')
    elif fold(row.text) not in rows:
        id = str(where if row.id is None else row.id)
        if any(other.id == id for other in rows.values()):
            faults.append(f"{where}: the id '{id}' is taken by another text; ids name inputs in the results")
        rows[fold(row.text)] = Asked(id, language, row.text)


def _test_texts(written: Written) -> list[Asked]:
    """Each text once; a register that uses another's id for a text of its own gets its name before it."""
    texts: dict[str, Asked] = {}
    taken: set[str] = set()
    for name in written.rows:
        for row in written.of(name, "test"):
            if fold(row.text) not in texts:
                id = f"{name}/{row.id}" if row.id in taken else row.id
                texts[fold(row.text)] = Asked(id, row.language, row.text)
                taken.add(id)
    return list(texts.values())


def chosen(asked: Sequence[Asked], most: int, seed: int) -> list[Asked]:
    """At most so many inputs of each language, the same ones for the same seed; a smaller choice begins a larger."""
    kept = []
    for language in LANGUAGES:
        mine = sorted((row for row in asked if row.language == language), key=lambda row: row.id)
        random.Random(f"{seed} {language}").shuffle(mine)
        kept += mine[:most]
    return kept
