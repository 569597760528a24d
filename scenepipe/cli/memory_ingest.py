"""``scenepipe memory ingest``: documents become scenes that are recalled and cited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

import typer

from scenepipe.cli.guard import FAILED, Refused
from scenepipe.cli.memory_place import Json, Namespace, is_database, remembering

if TYPE_CHECKING:
    from scenepipe.cli.meter import Meter
    from scenepipe.context import Failure
    from scenepipe.documents.ingest import Ingested
    from scenepipe.pipeline import Pipeline


def ingest(
    files: Annotated[list[str], typer.Argument(metavar="FILE…", help="Text, Markdown, or JSONL with a 'text'.")],
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help="Whose stages read them and whose memory it is.")],
    characters: Annotated[int | None, typer.Option(min=1, help="Size of a part, at most; 400 without it.")] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="The same in tokens of the pipeline's tokenizer.")] = None,
    namespace: Namespace = "default",
    user: Annotated[str | None, typer.Option(help="Who reads.")] = None,
    as_json: Json = False,
) -> None:
    """Read documents into a memory, part by part; no model speaks. Reading a file again adds nothing."""
    from scenepipe.build import build
    from scenepipe.cli.meter import Meter
    from scenepipe.documents.ingest import CHARACTERS
    from scenepipe.documents.ingest import ingest as read

    _refuse(pipeline, characters, tokens)
    with Meter() as meter:
        pipe = build(remembering(pipeline, make=True), say=meter.say, progress=meter.progress)
        results = read(pipe, files, namespace=namespace, characters=characters or CHARACTERS, tokens=tokens, user=user)
        done = asyncio.run(_all(pipe, results.__aiter__(), meter, as_json))
    if not all(done):
        raise typer.Exit(FAILED)


def _refuse(pipeline: str, characters: int | None, tokens: int | None) -> None:
    if is_database(pipeline):
        raise Refused(f"{pipeline} has no stages to read with; give a pipeline whose memory it is")
    if characters is not None and tokens is not None:
        raise Refused("--characters and --tokens both bound a part; give one of them")


async def _all(pipe: Pipeline, results: AsyncIterator[Ingested | Failure], meter: Meter, as_json: bool) -> list[bool]:
    """Show each file as it is done; whether each was read whole."""
    from scenepipe.cli.opening import running

    async with running(pipe, meter):
        return [_show(result, as_json) async for result in results]


def _show(result: Ingested | Failure, as_json: bool) -> bool:
    from scenepipe.cli.console import stdout, write_line
    from scenepipe.cli.guard import say_error
    from scenepipe.context import Failure

    if as_json:
        write_line(result.model_dump_json())
    if isinstance(result, Failure):
        if not as_json:
            say_error(result.message)
        return False
    if not as_json:
        stdout().print(f"{result.source}: {result.parts} parts, {result.new} new", soft_wrap=True)
        for failure in result.failures:
            say_error(f"{result.source}, part {failure.row}: stage '{failure.stage}': {failure.message}")
    return not result.failures
