"""Many rows: read, run in order, write as they come, survive a stop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from scenepipe.cli.console import note, write_line
from scenepipe.cli.guard import INTERRUPTED, Refused, say_error
from scenepipe.cli.meter import RowMeter
from scenepipe.cli.output import JsonlFile, Opened, new_record, open_output
from scenepipe.cli.rows import InputFile, RowReader, lines, measure, stdin_lines
from scenepipe.contracts import Failure
from scenepipe.errors import ScenepipeError
from scenepipe.mixture import Mixture
from scenepipe.scene import Scene

if TYPE_CHECKING:
    from scenepipe.pipeline import Pipeline

Row = Scene | Failure


@dataclass(frozen=True)
class Batch:
    """What was asked for on the command line. One of ``text`` and ``source`` is given; ``source`` ``-`` is stdin."""

    pipe: Pipeline
    text: str | None
    source: str | None
    output: Path | None
    mixture: Mixture | None
    resume: bool
    as_json: bool
    concurrency: int


def run_batch(batch: Batch) -> int:
    """Run every row; the number of failed rows, those of an earlier part of a resumed run included.

    Raises:
        Refused: the input cannot be read, or the output is somebody else's.
        ScenepipeError: the pipeline could not be opened.
    """
    source = _measured(batch)
    opened = _open(batch, source) if batch.output is not None else None
    run = opened.run if opened else None
    done, failed = (opened.done, opened.failed) if opened else (0, 0)
    meter = RowMeter(source.rows, done=done, failed=failed)
    try:
        with meter, _sink(batch, opened) as write:
            asyncio.run(_drive(batch, opened, write, meter, run))
    except KeyboardInterrupt:
        say_error(f"interrupted after {meter.summary()}", _how_to_go_on(batch))
        raise typer.Exit(INTERRUPTED) from None
    except OSError as error:
        if batch.output is None or error.errno == errno.EPIPE:
            raise
        raise _disk_fault(batch, meter, error) from error
    note(meter.summary())
    return meter.failed


def _measured(batch: Batch) -> InputFile:
    if batch.text is not None:
        data = batch.text.encode("utf-8", "surrogatepass")
        return InputFile("the TEXT argument", len(data), hashlib.sha256(data).hexdigest(), 1)
    assert batch.source is not None
    if batch.source == "-":
        return InputFile("standard input")
    path = Path(batch.source)
    try:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "is no file" if path.exists() else "does not exist"
            raise Refused(f"--input {path} {what}; give a file of JSONL rows or text lines, or - for standard input")
        return measure(path)
    except OSError as error:
        raise Refused(f"--input {path} cannot be read: {error.strerror}") from None


def _open(batch: Batch, source: InputFile) -> Opened:
    assert batch.output is not None
    fingerprint = dict(batch.pipe.fingerprint())
    if batch.mixture is not None:
        fingerprint["--register"] = batch.mixture.id
    record = new_record(batch.pipe.name, fingerprint, source)
    try:
        opened = open_output(batch.output, record, resume=batch.resume)
    except OSError as error:
        raise Refused(f"--output {batch.output} cannot be written: {error.strerror}; give another file") from None
    if batch.resume:
        torn = f", cut {opened.cut} bytes of a torn line" if opened.cut else ""
        note(f"resuming: {opened.done} rows are there{torn}")
    return opened


@contextlib.contextmanager
def _sink(batch: Batch, opened: Opened | None) -> Iterator[Callable[[Row], None]]:
    """Where results go: the file, JSON lines on stdout, or short plain text on stdout."""
    if opened is None:
        yield _write_json if batch.as_json else _write_plain
        return
    file = opened.file
    try:
        yield lambda row: file.write(_line(row))
    except BaseException:
        with contextlib.suppress(OSError):
            file.close()
        raise
    file.close()


def _line(row: Row) -> str:
    return row.to_json() if isinstance(row, Scene) else row.model_dump_json()


def _write_json(row: Row) -> None:
    write_line(_line(row))


def _write_plain(row: Row) -> None:
    from scenepipe.cli.facts import shorten
    from scenepipe.cli.labels import visible

    if isinstance(row, Failure):
        write_line(f"{row.row}  ! {row.stage}: {visible(row.message)}")
        return
    said = visible(row.reply.text) if row.reply else "·".join(row.linkage.chain if row.linkage else ())
    mixture = f"  [{row.registers.id}]" if row.registers else ""
    indented = "\n".join(f"   {line}" for line in said.splitlines())
    write_line(f"{row.origin.row}  {visible(shorten(row.text, 100))}{mixture}\n{indented}")


async def _drive(batch: Batch, opened: Opened | None, write: Callable[[Row], None], meter: RowMeter, run: str | None) -> None:
    first = opened.done if opened else 0
    file = opened.file if opened else None
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not in a thread, not on Windows
        loop.add_signal_handler(signal.SIGTERM, _terminate)
    try:
        results = batch.pipe.map(_rows(batch, opened), concurrency=batch.concurrency, run=run, first_row=first)
        async with contextlib.aclosing(results.__aiter__()) as rows:
            async for row in rows:
                write(row)
                meter.step(failed=isinstance(row, Failure))
                if file is not None and file.due:
                    await asyncio.to_thread(file.sync)
    finally:
        await batch.pipe.aclose()
