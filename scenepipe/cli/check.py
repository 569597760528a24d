"""``scenepipe check``: every fault of a pipeline, or what it is made of on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from scenepipe.config import PipelineConfig
    from scenepipe.pipeline import Pipeline


def check(
    pipeline: Annotated[str, typer.Argument(help="YAML file, or the name of a shipped pipeline.")],
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON.")] = False,
) -> None:
    """Check a pipeline without opening anything; exit code 2 lists every fault with its line."""
    from scenepipe.build import build
    from scenepipe.cli.console import print_json, stdout
    from scenepipe.config import load_config
    from scenepipe.rooms import find_pipeline

    config = load_config(find_pipeline(pipeline))
    pipe = build(config)
    found = summary(config, pipe)
    if as_json:
        print_json(found)
        return
    console = stdout()
    console.print(f"{found['name']}: {found['source']}", style="bold", soft_wrap=True)
    console.print(_stages(found["stages"]))
    for part in ("backend", "encoder", "memory", "model", "registers"):
        console.print(f"{part:<10} {found[part] or 'none'}", soft_wrap=True)
    console.print("no faults", style="green")


def summary(config: PipelineConfig, pipe: Pipeline) -> dict[str, Any]:
    """What the pipeline is made of, as JSON values."""
    from scenepipe.drawing.pipeline import describe

    drawing = describe(pipe)
    return {
        "name": config.name,
        "source": config.source,
        "stages": [
            {"name": box.name, "reads": list(box.reads), "writes": list(box.writes), "uses": list(box.uses)}
            for box in drawing.boxes
        ],
        "backend": config.backend.use if config.backend else None,
        "encoder": config.encoder.use if config.encoder else None,
        "memory": _memory(config),
        "model": _model(config.model),
        "registers": ", ".join(f"{name} ({r.titles['en']})" for name, r in pipe.resources.registers.items()),
    }


def _memory(config: PipelineConfig) -> str | None:
    if config.memory is None:
        return None
    path = config.memory.options.get("path")
    return f"{config.memory.use}, {path}" if isinstance(path, str) else config.memory.use


def _model(given: str | None) -> str | None:
    from scenepipe.errors import ModelError
    from scenepipe.models import fetch

    if given is None:
        return None
    try:
        there = fetch.local(given)
    except ModelError as error:
        return f"{given}: {error}"
    return f"{given}, on this disk" if there else f"{given}, not on this disk yet: scenepipe model pull {given}"


def _stages(stages: list[dict[str, Any]]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("#", "stage", "reads", "writes", "uses"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "stage")
    for number, stage in enumerate(stages, 1):
        fields = (", ".join(stage[key]) or "—" for key in ("reads", "writes", "uses"))
        table.add_row(str(number), stage["name"], *fields)
    return table
