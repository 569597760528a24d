"""Input rows: JSONL or plain text lines to scenes; what cannot become one is a Failure in its place."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, ValidationError

from scenepipe.cli.facts import shorten
from scenepipe.cli.guard import Refused
from scenepipe.context import Failure
from scenepipe.errors import InputError
from scenepipe.mixture import Mixture
from scenepipe.scene import Origin, Scene, new_scene

MAX_LINE_BYTES = 64 * 2**20
SHOWN_CHARACTERS = 2000
READ_AHEAD = 256
_BLOCK = 2**20


class InputRow(BaseModel):
    """One JSONL row. ``id`` is the row's own name, used in messages; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    text: str
    id: str | int | None = None
    user: str | None = None
    chat: str | None = None
    turn: int | None = None


@dataclass(frozen=True)
class InputFile:
    """What a resumed run must find unchanged, and the number of rows for the progress bar."""

    name: str
    size: int | None = None
    sha256: str | None = None
    rows: int | None = None


def measure(path: Path) -> InputFile:
    """Size, hash and number of lines of an input file, read once in blocks."""
    digest, rows, size, last = hashlib.sha256(), 0, 0, b"\n"
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            rows += block.count(b"\n")
            size += len(block)
            last = block[-1:]
    return InputFile(path.name, size, digest.hexdigest(), rows + (last != b"\n"))


def lines(stream: BinaryIO) -> Iterator[bytes]:
    """Lines without their ends. One over MAX_LINE_BYTES comes cut to that length plus one, its rest is skipped."""
    while line := stream.readline(MAX_LINE_BYTES + 1):
        whole = line.endswith(b"\n")
        while not whole and len(line) > MAX_LINE_BYTES and (rest := stream.readline(_BLOCK)):
            whole = rest.endswith(b"\n")
        yield line.rstrip(b"\r\n")


class RowReader:
    """Lines to rows.

    A file is JSONL when its first line that is not blank begins with ``{``, plain text otherwise.

    Args:
        mixture: given to every scene, so that the router keeps it.
        first: rows before this one are only counted.
    """

    def __init__(self, *, mixture: Mixture | None = None, first: int = 0) -> None:
        self._mixture = mixture
        self._first = first
        self._jsonl: bool | None = None
        self._number = 0

    def read(self, source: Iterable[bytes]) -> Iterator[Scene | Failure]:
        """A scene or a failure per line, from row ``first`` on."""
        for line in source:
            row = self.row(line)
            if row is not None:
                yield row

    async def aread(self, source: AsyncIterator[bytes], last: str | None = None) -> AsyncIterator[Scene | Failure]:
        """The asynchronous `read`, for an input that cannot be measured beforehand.

        Args:
            last: text that the row before ``first`` must have: proof that it is the same input again.

        Raises:
            Refused: it has another.
        """
        async for line in source:
            row = self.row(line)
            if row is not None:
                yield row
            elif last is not None and self._number == self._first:
                self._compare(line, last)

    def _compare(self, line: bytes, last: str) -> None:
        try:
            text = _scene(line, jsonl=bool(self._jsonl)).text
        except InputError:
            return
        if text != last:
            given = f"{shorten(text, 60)!r}, not {shorten(last, 60)!r}"
            raise Refused(f"--resume: row {self._number - 1} of standard input is {given}; give the same input again")

    def text_row(self, text: bytes) -> Iterator[Scene | Failure]:
        """One text as the only row, whatever it looks like."""
        self._jsonl = False
        return self.read([text])

    def row(self, line: bytes) -> Scene | Failure | None:
        """The next line's row; None while it comes before ``first``."""
        number, self._number = self._number, self._number + 1
        if number == 0:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if self._jsonl is None and line.strip():
            self._jsonl = line.lstrip().startswith(b"{")
        if number < self._first:
            return None
        try:
            scene = _scene(line, jsonl=bool(self._jsonl))
        except InputError as error:
            text = line[: SHOWN_CHARACTERS * 4].decode("utf-8", "replace")[:SHOWN_CHARACTERS]
            message = f"row {number}: {error}"
            return Failure(scene=None, text=text, row=number, stage="input", error="InputError", message=message)
        return scene if self._mixture is None else scene.with_(registers=self._mixture)


def _scene(line: bytes, *, jsonl: bool) -> Scene:
    if len(line) > MAX_LINE_BYTES:
        raise InputError(f"the line has more than {MAX_LINE_BYTES} bytes; cut it into several rows")
    if not line.strip():
        raise InputError("the line is empty; give a text, or take the line out")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"byte {error.start} is not UTF-8 ({error.reason}); save the input as UTF-8") from None
    if not jsonl:
        return new_scene(text)
    row = _parse(text)
    try:
        return new_scene(row.text, Origin(user=row.user, chat=row.chat, turn=row.turn))
    except InputError as error:
        raise InputError(f"id {row.id!r}: {error}" if row.id is not None else str(error)) from None


def _parse(text: str) -> InputRow:
    try:
        return InputRow.model_validate_json(text)
    except ValidationError as error:
        keys = ", ".join(InputRow.model_fields)
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'line'}: {e['msg']}" for e in error.errors()[:5])
        raise InputError(f"{faults}; a row is a JSON object with {keys}, and only text must be there") from None


async def stdin_lines(descriptor: int = 0) -> AsyncIterator[bytes]:
    """Lines of standard input, read in a daemon thread, so that waiting for input holds up no reply and no Ctrl-C."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes | OSError | None] = asyncio.Queue()
    room = threading.Semaphore(READ_AHEAD)

    def pump() -> None:
        end: OSError | None = None
        try:
            with os.fdopen(os.dup(descriptor), "rb") as stream:
                for line in lines(stream):
                    room.acquire()
                    loop.call_soon_threadsafe(queue.put_nowait, line)
        except OSError as error:
            end = error
        except RuntimeError:
            return
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody reads any more
            loop.call_soon_threadsafe(queue.put_nowait, end)

    threading.Thread(target=pump, name="stdin", daemon=True).start()
    while (item := await queue.get()) is not None:
        if isinstance(item, OSError):
            raise item
        room.release()
        yield item
