"""``scenepipe run``: one text as a card, or many rows as JSON lines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scenepipe.cli.guard import FAILED, Refused

if TYPE_CHECKING:
    from scenepipe.cli.meter import Meter
    from scenepipe.mixture import Mixture
    from scenepipe.pipeline import Pipeline
    from scenepipe.scene import Scene


def run(
    pipeline: Annotated[str, typer.Argument(help="YAML file, or the name of a shipped pipeline.")],
    text: Annotated[str | None, typer.Argument(help="The text; leave it out with --input.")] = None,
    source: Annotated[
        str | None, typer.Option("--input", metavar="FILE|-", help="JSONL rows or text lines; - is standard input.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One Scene per line on stdout, and nothing else.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the JSON lines to FILE; FILE.run.json makes it resumable."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue --output after a stop; redoes and loses no row.")
    ] = False,
    register: Annotated[
        list[str] | None, typer.Option(metavar="NAME=WEIGHT", help="This mixture instead of the router's; repeat it.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=4096, help="Scenes in flight.")] = 8,
) -> None:
    """Run a text, or every row of a file, through a pipeline."""
    _check_usage(text, source, output, resume)
    from scenepipe.cli.meter import Meter
    from scenepipe.cli.opening import mixture_given, open_pipeline

    with Meter() as meter:
        pipe = open_pipeline(pipeline, meter)
        mixture = mixture_given(register or (), pipe)
        if source is None and output is None:
            assert text is not None
            failed = _one(pipe, text, mixture, meter, as_json=as_json)
        else:
            from scenepipe.cli.batch import Batch, run_batch

            batch = Batch(
                pipe, meter, text, source, output, mixture, resume=resume, as_json=as_json, concurrency=concurrency
            )
            failed = bool(run_batch(batch))
    if failed:
        raise typer.Exit(FAILED)


def _check_usage(text: str | None, source: str | None, output: Path | None, resume: bool) -> None:
    if text is None and source is None:
        raise Refused("there is nothing to run: give a TEXT, or --input FILE (- for standard input)")
    if text is not None and source is not None:
        raise Refused("TEXT and --input were both given; give one of them")
    if resume and output is None:
        raise Refused("--resume continues an output file; name it with --output FILE")


def _one(pipe: Pipeline, text: str, mixture: Mixture | None, meter: Meter, *, as_json: bool) -> bool:
    """Run one text and show it; True if it failed."""
    import asyncio

    from scenepipe.cli.console import is_rich
    from scenepipe.scene import new_scene

    if as_json:
        return asyncio.run(_one_json(pipe, text, mixture, meter))
    scene = new_scene(text)
    if mixture is not None:
        scene = scene.with_(registers=mixture)
    show = _card if is_rich() else _plain
    asyncio.run(show(pipe, scene, meter))
    return False


async def _one_json(pipe: Pipeline, text: str, mixture: Mixture | None, meter: Meter) -> bool:
    """The scene, or the failure in its place, as one line."""
    from scenepipe.cli.console import write_line
    from scenepipe.cli.opening import running
    from scenepipe.cli.rows import RowReader
    from scenepipe.scene import Scene

    rows = RowReader(mixture=mixture).text_row(text.encode("utf-8", "surrogatepass"))
    async with running(pipe, meter):
        results = [result async for result in pipe.map(rows, concurrency=1)]
    for result in results:
        write_line(result.to_json() if isinstance(result, Scene) else result.model_dump_json())
    return not all(results)


async def _card(pipe: Pipeline, scene: Scene, meter: Meter) -> None:
    from scenepipe.cli.console import stdout
    from scenepipe.cli.live import show
    from scenepipe.cli.opening import running

    async with running(pipe, meter):
        await show(pipe, scene, stdout())


async def _plain(pipe: Pipeline, scene: Scene, meter: Meter) -> None:
    from scenepipe.cli.console import write_line
    from scenepipe.cli.facts import Voices, plain_lines
    from scenepipe.cli.labels import language_of
    from scenepipe.cli.opening import running

    async with running(pipe, meter):
        done = await pipe.arun(scene)
    for line in plain_lines(done, Voices(pipe.resources.registers), language_of(done)):
        write_line(line)
