"""Many rows: read, run in order, write as they come, survive a stop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from scenepipe.cli.console import note, write_line
from scenepipe.cli.guard import INTERRUPTED, Refused, say_error
from scenepipe.cli.meter import Meter, RowMeter
from scenepipe.cli.opening import running
from scenepipe.cli.output import Opened, new_record, open_output
from scenepipe.cli.rows import InputFile, RowReader, lines, measure, stdin_lines
from scenepipe.context import Failure
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
    meter: Meter
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
    done, failed = (opened.done, opened.failed) if opened else (0, 0)
    meter = RowMeter(source.rows, done=done, failed=failed)
    try:
        with meter, _sink(batch, opened) as write:
            asyncio.run(_drive(batch, opened, write, meter))
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


async def _drive(batch: Batch, opened: Opened | None, write: Callable[[Row], None], meter: RowMeter) -> None:
    run, first, file = (opened.run, opened.done, opened.file) if opened else (None, 0, None)
    async with running(batch.pipe, batch.meter):
        results = batch.pipe.map(_rows(batch, opened), concurrency=batch.concurrency, run=run, first_row=first)
        async with contextlib.aclosing(cast("AsyncGenerator[Row, None]", results.__aiter__())) as rows:
            async for row in rows:
                write(row)
                meter.step(failed=isinstance(row, Failure))
                if file is not None and file.due:
                    await asyncio.to_thread(file.sync)


def _rows(batch: Batch, opened: Opened | None) -> Iterable[Row] | AsyncIterator[Row]:
    """The rows from the first one that is not written yet."""
    reader = RowReader(mixture=batch.mixture, first=opened.done if opened else 0)
    if batch.text is not None:
        line = batch.text.encode("utf-8", "surrogatepass")
        return reader.text_row(line)
    assert batch.source is not None
    if batch.source != "-":
        return reader.read(_file_lines(Path(batch.source)))
    return reader.aread(stdin_lines(), opened.last_text if opened else None)


def _file_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        yield from lines(stream)


def _how_to_go_on(batch: Batch) -> str:
    if batch.output is None:
        return "with --output FILE a run can be continued"
    return "every written row is whole; the same command with --resume continues after the last one"


def _disk_fault(batch: Batch, meter: RowMeter, error: OSError) -> ScenepipeError:
    what = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error.strerror or error)
    fault = ScenepipeError(f"{batch.output}: {what}, after {meter.summary()}")
    fault.add_note(_how_to_go_on(batch))
    return fault
