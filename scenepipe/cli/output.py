"""JSONL output that survives: whole lines only, flushed as they come, on disk within a second, resumable.

Beside ``FILE`` lies ``FILE.run.json``: the run's id and everything that must be equal for the run to be continued.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scenepipe.cli.guard import Refused
from scenepipe.cli.rows import InputFile

SYNC_SECONDS = 1.0
RECORD_SUFFIX = ".run.json"


class RunRecord(BaseModel):
    """What ``FILE.run.json`` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_record: int = 1
    run: str
    pipeline: str
    fingerprint: dict[str, str]
    input: str
    input_size: int | None = None
    input_sha256: Annotated[str | None, Field(description="None for standard input")] = None

    def changed(self, now: RunRecord) -> list[str]:
        """What differs from ``now``, one line each; both directions."""
        before, after = self._parts(), now._parts()
        return [
            f"{name}: was {before.get(name, 'absent')}, is {after.get(name, 'absent')}"
            for name in sorted(before.keys() | after.keys())
            if before.get(name) != after.get(name)
        ]

    def _parts(self) -> dict[str, str]:
        place = {"input size": str(self.input_size), "input sha256": str(self.input_sha256)}
        if self.input_sha256 is None:
            place = {"input": self.input}
        return self.fingerprint | place


def new_record(pipeline: str, fingerprint: dict[str, str], source: InputFile) -> RunRecord:
    """The record of a run that starts now."""
    return RunRecord(
        run=uuid.uuid4().hex,
        pipeline=pipeline,
        fingerprint=fingerprint,
        input=source.name,
        input_size=source.size,
        input_sha256=source.sha256,
    )


class JsonlFile:
    """An output file opened for appending whole lines. A write that fails half way leaves no half line behind."""

    def __init__(self, path: Path, *, new: bool) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | (os.O_EXCL if new else 0) | getattr(os, "O_BINARY", 0)
        self.path = path
        self._fd = os.open(path, flags, 0o666)
        try:
            _lock(self._fd, path)
        except Refused:
            os.close(self._fd)
            raise
        self._end = os.fstat(self._fd).st_size
        self._synced = time.monotonic()
        self._dirty = False

    def write(self, line: str) -> None:
        """Append one line.

        Raises:
            OSError: it could not be written whole; the file ends with the line before.
        """
        data = line.encode() + b"\n"
        try:
            self._write_all(data)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._end)
            raise
        self._end += len(data)
        self._dirty = True

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    @property
    def due(self) -> bool:
        """Whether a second has passed since the file was last put on disk."""
        return self._dirty and time.monotonic() - self._synced >= SYNC_SECONDS

    def sync(self) -> None:
        """Put everything on disk."""
        os.fsync(self._fd)
        self._synced = time.monotonic()
        self._dirty = False

    def close(self) -> None:
        """Sync and close; the descriptor is closed even where the sync fails."""
        try:
            self.sync()
        finally:
            os.close(self._fd)


def _lock(fd: int, path: Path) -> None:
    """One writer at a time; the system drops the lock when the process ends, however it ends."""
    try:
        import fcntl
    except ImportError:  # Windows: O_EXCL is all there is
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Refused(f"another run is writing {path}; wait for it, or give another --output") from None
    except OSError:  # a file system without locks
        return


@dataclass(frozen=True)
class Opened:
    """An output ready to be written: which run it belongs to, and the rows that are there already.

    ``cut`` counts the bytes of a torn end that were cut off; ``last_text`` is the text of the last row that is there.
    """

    file: JsonlFile
    run: str
    done: int
    failed: int = 0
    cut: int = 0
    last_text: str | None = None


def open_output(path: Path, record: RunRecord, *, resume: bool) -> Opened:
    """Start an output file, or continue one.

    Raises:
        Refused: the file exists and ``resume`` is not given; or it is, and what was run has changed.
    """
    if not path.exists():
        _write_record(path, record)
        return Opened(JsonlFile(path, new=True), record.run, 0)
    if not resume:
        raise Refused(f"{path} exists and is never overwritten; add --resume to continue it, or give another --output")
    kept = _read_record(path)
    changes = kept.changed(record)
    if changes:
        listed = "\n  ".join(changes)
        raise Refused(
            f"{path} cannot be resumed, this is another run:\n  {listed}\nput it back, or give another --output"
        )
    file = JsonlFile(path, new=False)
    try:
        return _continue(file, path, kept.run)
    except BaseException:
        file.close()
        raise


def _continue(file: JsonlFile, path: Path, run: str) -> Opened:
    """Count whole rows, cut what comes after them."""
    done, failed, end, last = 0, 0, 0, b""
    with path.open("rb") as stream:
        for line in stream:
            row = _row(line)
            if row is None:
                break
            done, end, last = done + 1, end + len(line), line
            failed += row
    cut = path.stat().st_size - end
    if cut:
        os.truncate(path, end)
        file._end = end
    return Opened(file, run, done, failed, cut, _text(last))


def _row(line: bytes) -> bool | None:
    """Whether a whole line is a Failure; None for a torn one (a lost disk block reads as NULs)."""
    if not (line.startswith(b"{") and line.endswith(b"}\n")) or b"\0" in line:
        return None
    return line.startswith(b'{"type":"failure"')


def _text(line: bytes) -> str | None:
    row = json.loads(line) if line else {}
    scene = row.get("scene") if row.get("type") == "failure" else row
    text = scene.get("text") if isinstance(scene, dict) else None
    return text if isinstance(text, str) else None


def _record_path(path: Path) -> Path:
    return path.with_name(path.name + RECORD_SUFFIX)


def _write_record(path: Path, record: RunRecord) -> None:
    """Before the output itself, whole or not at all: a kill between the two leaves a run that starts at row 0."""
    place = _record_path(path)
    draft = place.with_name(place.name + ".part")
    with draft.open("w", encoding="utf-8") as stream:
        stream.write(record.model_dump_json(indent=2) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(place)


def _read_record(path: Path) -> RunRecord:
    place = _record_path(path)
    try:
        return RunRecord.model_validate_json(place.read_bytes())
    except FileNotFoundError:
        raise Refused(f"{path} has no {place.name} beside it, so it cannot be resumed; give another --output") from None
    except ValidationError as error:
        raise Refused(f"{place} is not a run record: {error.errors()[0]['msg']}; give another --output") from None
