"""``scenepipe register eval``: what registers are worth, in figures."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scenepipe.cli.guard import Refused
from scenepipe.cli.register import DEFAULT_MODEL, Paths, find, local_model

if TYPE_CHECKING:
    from scenepipe.evaluation.drawing import Options, Progress
    from scenepipe.register import Register

NEEDED = ("torch", "transformers", "peft")
WIDTH = 150
"""Columns of a table that goes into a file."""
PARTS = ("scenes", "replies", "swaps", "judge", "losses")


def evaluate(
    registers: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME|FOLDER]…", help="At least two; the shipped voices otherwise.")
    ] = None,
    model: Annotated[str, typer.Option(metavar="ID", help="The base model that speaks.")] = DEFAULT_MODEL,
    inputs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSONL of texts that no register has learnt; the test split otherwise."),
    ] = None,
    pipeline: Annotated[
        str, typer.Option(metavar="PIPELINE", help="Whose stages, engine and settings speak.")
    ] = "quickstart",
    candidates: Annotated[
        int | None, typer.Option(min=1, max=32, help="Replies drawn for each; the pipeline's number otherwise.")
    ] = None,
    replies: Annotated[int, typer.Option(min=1, help="Inputs per language that each register answers.")] = 60,
    prompts: Annotated[int, typer.Option(min=1, help="Inputs per language at each step of a mixture curve.")] = 40,
    rows: Annotated[int | None, typer.Option(min=1, help="Test rows per language to score; all otherwise.")] = None,
    swaps: Annotated[int, typer.Option(min=0, help="Replies drawn again with another linkage.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Chooses inputs, and the seed of each input's replies.")] = 7,
    path: Paths = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, every figure.")] = False,
    output: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write results.json, replies.jsonl and pictures there.")
    ] = None,
) -> None:
    """Measure registers: perplexity, an independent judge, mixture curves, causality of the scene, language, copying."""
    from scenepipe.cli.console import note, print_json, stdout
    from scenepipe.evaluation.drawing import Options
    from scenepipe.evaluation.report import document, free_folder, tables, write_results

    found = _registers(registers, path)
    folder = free_folder(output) if output is not None else None
    _need_packages()
    options = Options(
        inputs=inputs, candidates=candidates, replies=replies, prompts=prompts, rows=rows, swaps=swaps, seed=seed
    )
    facts, results = _measured(found, model, pipeline, options, folder)
    everything = document(facts, results)
    if as_json:
        print_json(everything)
    else:
        console = stdout()
        console.width = console.width if console.is_terminal else max(console.width, WIDTH)
        for table in tables(results):
            console.print(table)
    if folder is not None:
        for file in write_results(folder, everything, results):
            note(f"wrote {file}")


def _registers(given: list[str] | None, path: list[Path] | None) -> list[Register]:
    """What was named, or every shipped voice."""
    from scenepipe.register import available, load_register
    from scenepipe.rooms import room

    if given:
        found = [find(name, path) for name in dict.fromkeys(given)]
    else:
        found = [load_register(folder) for folder in available([room("registers")]).values()]
        found = [register for register in found if register.kind == "voice"]
    if len({register.name for register in found}) < len(found):
        raise Refused(f"two of these registers have the same name: {', '.join(r.name for r in found)}; rename one")
    return found


def _need_packages() -> None:
    from importlib.util import find_spec

    from scenepipe.errors import MissingExtraError

    for name in NEEDED:
        if find_spec(name) is None:
            raise MissingExtraError("register eval", name, "transformers")


def _measured(
    registers: list[Register], model: str, pipeline: str, options: Options, folder: Path | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Draw, write the replies down, score, and put the figures together."""
    from scenepipe.config import load_config
    from scenepipe.evaluation.drawing import draw_replies
    from scenepipe.evaluation.evaluate import evaluate, facts
    from scenepipe.evaluation.perplexity import Scorer
    from scenepipe.evaluation.report import write_replies
    from scenepipe.models.dequantise import safetensors_of
    from scenepipe.register import adapter_of
    from scenepipe.rooms import find_pipeline

    config, local = load_config(find_pipeline(pipeline)), local_model(model)
    adapters = {register.name: adapter_of(register, local).folder for register in registers}
    with _bars() as progress:
        drawn = draw_replies(registers, config, local, options, progress)
        if folder is not None:
            write_replies(folder, drawn.rows())
        scorer = Scorer(safetensors_of(local), adapters, dtype=options.dtype)
        results = evaluate(registers, drawn, scorer, options, progress)
    return facts(local, registers, options, drawn), results


def _bars() -> AbstractContextManager[Progress]:
    """A bar for each part on stderr; a line for each tenth of it where stderr is no terminal."""
    import contextlib
    from collections.abc import Iterator

    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from scenepipe.cli.console import stderr

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )

    @contextlib.contextmanager
    def show() -> Iterator[Any]:
        with Progress(*columns, console=stderr()) as bars:
            tasks = {part: bars.add_task(part, total=None, start=False, visible=False) for part in PARTS}

            def progress(part: str, done: int, of: int) -> None:
                task = tasks[part]
                if not bars.tasks[task].started:
                    bars.start_task(task)
                bars.update(task, completed=done, total=of, visible=True)
                if not bars.console.is_terminal and done * 10 // of > (done - 1) * 10 // of:
                    bars.console.print(f"{part}: {done} of {of}")

            yield progress

    return show()
