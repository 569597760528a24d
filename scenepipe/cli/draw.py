"""``scenepipe draw``: a pipeline as Mermaid text or SVG, made on this machine."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from scenepipe.cli.guard import Refused


class Format(StrEnum):
    """What can be drawn."""

    mermaid = "mermaid"
    svg = "svg"


def draw(
    pipeline: Annotated[str, typer.Argument(help="YAML file, or the name of a shipped pipeline.")],
    form: Annotated[
        Format | None, typer.Option("--format", help="mermaid, or svg for an --output that ends in .svg")
    ] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write to FILE instead of stdout.")] = None,
) -> None:
    """Draw a pipeline: its stages, the fields between them, the resources beside them."""
    from scenepipe.build import build
    from scenepipe.cli.console import note, write_line
    from scenepipe.config import load_config
    from scenepipe.draw import describe, mermaid, svg
    from scenepipe.rooms import find_pipeline

    config = load_config(find_pipeline(pipeline))
    names = {"backend": config.backend, "archive": config.memory, "encoder": config.encoder}
    labels = {kind: part.use for kind, part in names.items() if part is not None}
    drawing = describe(build(config), labels=labels, model=config.model)
    if form is None:
        form = Format.svg if output is not None and output.suffix.lower() == ".svg" else Format.mermaid
    drawn = mermaid(drawing) if form is Format.mermaid else svg(drawing)
    if output is None:
        write_line(drawn.rstrip("\n"))
        return
    try:
        output.write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise Refused(f"--output {output} cannot be written: {error.strerror}") from None
    note(f"wrote {output}")
