"""``scenepipe draw --scene``: the scene of a text, or one that ``run --json`` wrote, as SVG."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from scenepipe.cli.guard import Refused

if TYPE_CHECKING:
    from scenepipe.pipeline import Pipeline
    from scenepipe.scene import Scene


def scene_of_text(pipeline: str, text: str) -> tuple[Scene, Pipeline]:
    """What the pipeline reads from a text (``-``: from standard input) without its model, and the pipeline.

    Raises:
        Refused: standard input is too long or not UTF-8.
        InputError: the text cannot become a scene.
    """
    import asyncio

    from scenepipe.cli.meter import Meter
    from scenepipe.cli.opening import open_pipeline

    given = _standard_input() if text == "-" else text
    with Meter() as meter:
        pipe = open_pipeline(pipeline, meter)
        return asyncio.run(_explained(pipe, given, meter)), pipe


async def _explained(pipe: Pipeline, text: str, meter: Any) -> Scene:
    from scenepipe.cli.opening import running

    async with running(pipe, meter):
        return (await pipe.aexplain(text)).scene


def _standard_input() -> str:
    from scenepipe.cli.rows import MAX_LINE_BYTES

    data = sys.stdin.buffer.read(MAX_LINE_BYTES + 1)
    if len(data) > MAX_LINE_BYTES:
        raise Refused(f"--scene -: standard input has more than {MAX_LINE_BYTES} bytes; give a shorter text")
    try:
        return data.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise Refused(f"--scene -: byte {error.start} is not UTF-8 ({error.reason}); give UTF-8") from None


def scene_of_file(path: str, row: int | None) -> Scene:
    """The scene of a file (``-``: of standard input) of one JSON object, or of one per line.

    Args:
        row: which line, from 0; must be given where there are several.

    Raises:
        Refused: the file cannot be read, or has no such row, or the row is a failure.
        InputError: the row is not a scene.
    """
    from scenepipe.errors import InputError
    from scenepipe.scene import Scene

    try:
        with _opened(path) as stream:
            line, place = _row(stream, path, row)
    except OSError as error:
        raise Refused(f"--scene-file {path} cannot be read: {error.strerror}") from None
    _refuse_failure(line, place)
    try:
        return Scene.from_json(line)
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


@contextlib.contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        yield sys.stdin.buffer
        return
    with Path(path).open("rb") as stream:
        yield stream


def _row(stream: BinaryIO, path: str, row: int | None) -> tuple[bytes, str]:
    """The bytes of one object, and what to call its place."""
    from scenepipe.cli.rows import MAX_LINE_BYTES, lines

    rows = (line for line in lines(stream) if line.strip())
    first = next(rows, b"").removeprefix(b"\xef\xbb\xbf")
    if not first.rstrip().endswith(b"}"):  # one object over several lines, as jq writes it
        return b"\n".join([first, stream.read(MAX_LINE_BYTES)]), path
    if row is None:
        if next(rows, None) is not None:
            raise Refused(f"{path} holds several scenes, one per line; choose one with --row N, from 0")
        return first, path
    wanted = first if row == 0 else next(islice(rows, row - 1, None), None)
    if wanted is None:
        raise Refused(f"{path} has no row {row}; the first is --row 0")
    return wanted, f"{path}, row {row}"


def _refuse_failure(line: bytes, place: str) -> None:
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(line)
        if isinstance(found, dict) and found.get("type") == "failure":
            raise Refused(
                f"{place} is a failure of stage '{found.get('stage')}', not a scene: {found.get('message')}; "
                "choose another row"
            )


def titles_of(pipe: Pipeline | None, language: str) -> dict[str, str]:
    """Titles of the pipeline's registers; none without a pipeline."""
    registers = pipe.resources.registers if pipe is not None else {}
    return {name: register.titles.get(language, name) for name, register in registers.items()}
