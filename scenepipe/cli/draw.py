"""``scenepipe draw``: a pipeline as Mermaid text or SVG, or a scene as SVG, made on this machine."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scenepipe.cli.guard import Refused

if TYPE_CHECKING:
    from scenepipe.config import PipelineConfig


class Format(StrEnum):
    """What can be drawn."""

    mermaid = "mermaid"
    svg = "svg"


class Language(StrEnum):
    """What a scene's labels can be in."""

    ru = "ru"
    en = "en"


class Scheme(StrEnum):
    """The colours of a scene."""

    auto = "auto"
    light = "light"
    dark = "dark"


def draw(
    pipeline: Annotated[
        str | None,
        typer.Argument(help="YAML file, or the name of a shipped pipeline; may be left out with --scene-file."),
    ] = None,
    scene: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT|-", help="Draw what the pipeline reads from this text, without a model; - is stdin."
        ),
    ] = None,
    scene_file: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="Draw a scene that `run --json` wrote; - is stdin.")
    ] = None,
    row: Annotated[
        int | None, typer.Option(min=0, help="Which line of --scene-file, from 0, where it has several.")
    ] = None,
    language: Annotated[Language | None, typer.Option(help="Of a scene's labels; its own otherwise.")] = None,
    scheme: Annotated[
        Scheme | None, typer.Option(help="Of a scene's colours: auto follows the reader, light and dark are fixed.")
    ] = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="mermaid, or svg for an --output that ends in .svg")
    ] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write to FILE instead of stdout.")] = None,
) -> None:
    """Draw a pipeline: its stages, the fields between them, the resources beside them; or a scene."""
    if scene is None and scene_file is None:
        _refuse_scene_options({"--row": row, "--language": language, "--scheme": scheme})
        write_drawing(_pipeline(pipeline, form, output), output)
        return
    if scene is not None and scene_file is not None:
        raise Refused("--scene and --scene-file were both given; give one of them")
    if row is not None and scene_file is None:
        raise Refused("--row chooses a line of --scene-file FILE; leave it out with --scene")
    _check_svg(form, output)
    write_drawing(_scene(pipeline, scene, scene_file, row, language, scheme or Scheme.auto), output)


def _refuse_scene_options(given: dict[str, object]) -> None:
    for name, value in given.items():
        if value is not None:
            raise Refused(f"{name} is for drawing a scene; add --scene TEXT or --scene-file FILE")


def _check_svg(form: Format | None, output: Path | None) -> None:
    if form is Format.mermaid:
        raise Refused("a scene is drawn as SVG; leave --format mermaid out")
    if output is not None and output.suffix.lower() not in ("", ".svg"):
        raise Refused(f"--output {output}: a scene is drawn as SVG; give a name that ends in .svg")


def _pipeline(pipeline: str | None, form: Format | None, output: Path | None) -> str:
    from scenepipe.build import build
    from scenepipe.drawing.pipeline import describe, mermaid, svg

    if pipeline is None:
        raise Refused("there is nothing to draw: name a PIPELINE, or give --scene-file FILE")
    config = _config(pipeline)
    names = {"backend": config.backend, "archive": config.memory, "encoder": config.encoder}
    labels = {kind: part.use for kind, part in names.items() if part is not None}
    drawing = describe(build(config), labels=labels, model=config.model)
    if form is None:
        form = Format.svg if output is not None and output.suffix.lower() == ".svg" else Format.mermaid
    return mermaid(drawing) if form is Format.mermaid else svg(drawing)


def _config(pipeline: str) -> PipelineConfig:
    from scenepipe.config import load_config
    from scenepipe.rooms import find_pipeline

    return load_config(find_pipeline(pipeline))


def _scene(
    pipeline: str | None,
    text: str | None,
    file: str | None,
    row: int | None,
    language: Language | None,
    scheme: Scheme,
) -> str:
    from scenepipe.build import build
    from scenepipe.cli.draw_scene import scene_of_file, scene_of_text, titles_of
    from scenepipe.cli.labels import language_of
    from scenepipe.drawing.scene import draw_scene

    if file is not None:
        scene, pipe = scene_of_file(file, row), None if pipeline is None else build(_config(pipeline))
    elif pipeline is None:
        raise Refused("--scene needs a PIPELINE that reads the text, for example: scenepipe draw scenes --scene TEXT")
    else:
        assert text is not None
        scene, pipe = scene_of_text(pipeline, text)
    titles = titles_of(pipe, language or language_of(scene))
    return draw_scene(scene, language=None if language is None else language.value, scheme=scheme.value, titles=titles)


def write_drawing(drawn: str, output: Path | None) -> None:
    """To the file, or to stdout.

    Raises:
        Refused: the file cannot be written.
    """
    from scenepipe.cli.console import note, write_line

    if output is None:
        write_line(drawn.rstrip("\n"))
        return
    try:
        output.write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise Refused(f"--output {output} cannot be written: {error.strerror}") from None
    note(f"wrote {output}")
