"""``scenepipe memory search``: what a text calls back, and why."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scenepipe.cli.guard import Refused
from scenepipe.cli.memory_place import Json, Namespace, Place, archive_of, is_database, remembering

if TYPE_CHECKING:
    from scenepipe.cli.meter import Meter
    from scenepipe.pipeline import Pipeline
    from scenepipe.scene import Echo, Scene

_KINDS = ("met", "spoken", "read", "linked")
_Range = Annotated[str | None, typer.Option(metavar="LOW:HIGH", help="Only within these bounds.")]


def search(
    text: Annotated[str, typer.Argument(help="What to search by: any text.")],
    place: Place,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Scenes, at most.")] = 10,
    kind: Annotated[list[str] | None, typer.Option(help=f"How it came in: {', '.join(_KINDS)}; repeat it.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="2026-05-01, or an age such as 30d.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="The same, as the end.")] = None,
    chat: Annotated[str | None, typer.Option(help="Only what was met in this chat.")] = None,
    register: Annotated[list[str] | None, typer.Option(metavar="NAME", help="In its mixture; repeat it.")] = None,
    code: Annotated[list[str] | None, typer.Option(metavar="Δ41@c1", help="Its Δ-code; repeat it.")] = None,
    valence: _Range = None,
    arousal: _Range = None,
    dominance: _Range = None,
    tension: _Range = None,
    namespace: Namespace = "default",
    as_json: Json = False,
) -> None:
    """Search a memory by a text: what it calls back, the score, and every reason. Filters leave out and raise no score."""
    from scenepipe.cli.meter import Meter
    from scenepipe.registry import default_registry

    figures = {"valence": valence, "arousal": arousal, "dominance": dominance, "tension": tension}
    options = {
        "top_k": limit,
        "kinds": _kinds(kind or []),
        "since": since,
        "until": until,
        "within": "archive" if chat is None else "chat",
        "registers": register,
        "codes": code,
        "ranges": {name: _range(name, bounds) for name, bounds in figures.items() if bounds is not None},
        "turns": 0,
    }
    recall = default_registry().load("stage", "recall")(**options)
    with Meter() as meter:
        found = asyncio.run(_search(_pipeline(place, meter), recall, text, chat, namespace, meter))
    _show(found, as_json)


def _kinds(given: list[str]) -> list[str]:
    from scenepipe.errors import did_you_mean

    for kind in given:
        if kind not in _KINDS:
            raise Refused(f"--kind {kind}: {did_you_mean(kind, _KINDS)}")
    return given


def _range(name: str, given: str) -> tuple[float, float]:
    low, colon, high = given.partition(":")
    try:
        if colon:
            return float(low or "-1"), float(high or "1")
    except ValueError:
        pass
    raise Refused(f"--{name} {given!r} is not LOW:HIGH, for example --{name} -0.5:0.2; either may be left out")


def _pipeline(place: str, meter: Meter) -> Pipeline:
    """The pipeline of the place; of a database file one that reads by rules alone."""
    if is_database(place):
        from scenepipe.documents.reader import plain_pipeline

        return plain_pipeline(archive_of(place), name=Path(place).name)
    from scenepipe.build import build

    return build(remembering(place), say=meter.say, progress=meter.progress)


async def _search(pipe: Pipeline, recall: Any, text: str, chat: str | None, namespace: str, meter: Meter) -> Scene:
    from scenepipe.cli.opening import running
    from scenepipe.context import Context, Failure
    from scenepipe.documents.reader import Reader
    from scenepipe.errors import StageError
    from scenepipe.scene import Origin, new_scene

    reader = Reader(pipe)
    async with running(pipe, meter):
        await reader.open()
        try:
            (read,) = await reader.read([new_scene(text, Origin(namespace=namespace, chat=chat, run="search"))])
            if isinstance(read, Failure):
                raise StageError(read.stage, pipe.name, read.message)
            ctx = Context(pipe.resources, run="search", pipeline=pipe.name, emit=lambda event: None)
            done: Scene = await recall.run(read, ctx)
            return done
        finally:
            await reader.aclose()


def _show(found: Scene, as_json: bool) -> None:
    from scenepipe.cli.console import print_json, stdout
    from scenepipe.cli.labels import encounters, language_of

    echoes, met, language = found.echoes or (), found.resonance, language_of(found)
    if as_json:
        shown = [echo.model_dump(mode="json") for echo in echoes]
        print_json({"text": found.text, "resonance": met and met.model_dump(mode="json"), "echoes": shown})
        return
    for echo in echoes:
        _print_echo(echo, language)
    if not echoes:
        stdout().print("nothing is called back")
    if met and met.strength is not None:
        stdout().print(f"resonance    {met.strength:.2f} ({encounters(met.encounters, 'en')})")


def _print_echo(echo: Echo, language: str) -> None:
    from rich.text import Text

    from scenepipe.cli.console import stdout
    from scenepipe.cli.facts import cited, shorten
    from scenepipe.cli.labels import said, visible

    console = stdout()
    console.print(Text(f"{echo.score:.4f}  {echo.scene_id[:8]}  {visible(shorten(echo.text, 100))}"), soft_wrap=True)
    why = [said(reason, language) for reason in echo.reasons] + cited(echo, language)
    console.print(Text(f"        {'; '.join(why)}", style="dim"), soft_wrap=True)
