"""``scenepipe memory``: what an archive remembers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from scenepipe.cli import memory_transfer
from scenepipe.cli.guard import Refused

if TYPE_CHECKING:
    from scenepipe.contracts import Archive, Encounter
    from scenepipe.scene import Scene

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True)
DATABASES = (".db", ".sqlite", ".sqlite3")
SHORTEST_PREFIX = 4

Place = Annotated[str, typer.Argument(metavar="PIPELINE|FILE.db", help="A pipeline with a memory, or its .db file.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


@app.command()
def stats(
    place: Place, top: Annotated[int, typer.Option(min=1, max=1000, help="Scenes to list.")] = 10, as_json: Json = False
) -> None:
    """Counts, first and last encounter, the most resonant scenes, the hypertokens."""
    from scenepipe.cli.console import print_json

    found = with_archive(place, lambda archive: _stats(archive, top))
    if as_json:
        print_json(found)
    else:
        _show_stats(found)


async def _stats(archive: Archive, top: int) -> dict[str, Any]:
    log = await archive.encounters()
    strongest = _strongest(log, top)
    scenes = {scene.id: scene for scene in await archive.get([scene_id for scene_id, *_ in strongest])}
    return {
        "scenes": len({encounter.scene_id for encounter in log}),
        "encounters": len(log),
        "kinds": dict(Counter(encounter.kind for encounter in log)),
        "first": log[0].at.isoformat() if log else None,
        "last": log[-1].at.isoformat() if log else None,
        "resonant": [
            {"id": i, "text": scenes[i].text, "strength": round(strength, 4), "encounters": count}
            for i, strength, count in strongest
            if i in scenes
        ],
        "hypertokens": [{"name": token.name, "chain": list(token.chain)} for token in await archive.hypertokens()],
    }


def _strongest(log: Sequence[Encounter], top: int) -> list[tuple[str, float, int]]:
    """Scene id, resonance now, meetings; strongest first."""
    from datetime import UTC

    from scenepipe.recall import resonance

    met: dict[str, list[datetime]] = {}
    for encounter in log:
        if encounter.kind == "met":
            met.setdefault(encounter.scene_id, []).append(encounter.at)
    now = datetime.now(UTC)
    rated = ((i, resonance(times, now).strength or 0.0, len(times)) for i, times in met.items())
    return sorted(rated, key=lambda row: (-row[1], row[0]))[:top]


def _show_stats(found: dict[str, Any]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from scenepipe.cli.console import stdout
    from scenepipe.cli.facts import day, shorten
    from scenepipe.cli.labels import visible

    console = stdout()
    kinds = ", ".join(f"{kind} {count}" for kind, count in found["kinds"].items())
    console.print(f"scenes       {found['scenes']}")
    console.print(f"encounters   {found['encounters']}" + (f" ({kinds})" if kinds else ""))
    for end in ("first", "last"):
        console.print(f"{end:<12} {day(datetime.fromisoformat(found[end])) if found[end] else '—'}")
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("resonance", justify="right")
    table.add_column("met", justify="right")
    table.add_column("scene", no_wrap=True)
    table.add_column("text", overflow="fold")
    for row in found["resonant"]:
        text = Text(visible(shorten(row["text"], 80)))
        table.add_row(f"{row['strength']:.2f}", str(row["encounters"]), row["id"][:8], text)
    if found["resonant"]:
        console.print(table)
    for token in found["hypertokens"][:20]:
        console.print(
            f"hypertoken   {visible(token['name'])} = {'·'.join(map(visible, token['chain']))}", soft_wrap=True
        )


@app.command()
def show(
    scene: Annotated[str, typer.Argument(metavar="ID", help="Id of the scene, or its first characters.")],
    place: Place,
    as_json: Json = False,
) -> None:
    """A remembered scene with its encounters."""
    import json

    from scenepipe.cli.console import print_json

    found, log = with_archive(place, lambda archive: _find(archive, scene))
    if as_json:
        encounters = [encounter.model_dump(mode="json") for encounter in log]
        print_json({"scene": json.loads(found.to_json()), "encounters": encounters})
    else:
        _show_scene(found, log, place)


async def _find(archive: Archive, given: str) -> tuple[Scene, Sequence[Encounter]]:
    from scenepipe.recall import resonance

    scenes = await archive.get([given]) or await archive.get([await _by_prefix(archive, given)])
    log = await archive.encounters([scenes[0].id])
    times = [encounter.at for encounter in log if encounter.kind == "met"]
    return scenes[0].with_(resonance=resonance(times, _now())), log


def _now() -> datetime:
    from datetime import UTC

    return datetime.now(UTC)


async def _by_prefix(archive: Archive, given: str) -> str:
    known = {encounter.scene_id for encounter in await archive.encounters()}
    found = sorted(i for i in known if i.startswith(given)) if len(given) >= SHORTEST_PREFIX else []
    if len(found) != 1:
        near = (
            f"{len(found)} scenes begin so: {', '.join(i[:12] for i in found[:5])}" if found else "no scene begins so"
        )
        raise Refused(
            f"scene '{given}': {near}; 'scenepipe memory stats' lists ids, give at least {SHORTEST_PREFIX} characters"
        )
    return found[0]


def _show_scene(scene: Scene, log: Sequence[Encounter], place: str) -> None:
    from rich.text import Text

    from scenepipe.cli.card import scene_card
    from scenepipe.cli.console import is_rich, stdout, write_line
    from scenepipe.cli.facts import Voices, day, plain_lines
    from scenepipe.cli.labels import language_of, visible

    voices, console = Voices(), stdout()
    if is_rich():
        console.print(scene_card(scene, voices, title=place, width=console.width))
    else:
        for line in plain_lines(scene, voices, language_of(scene)):
            write_line(line)
    for encounter in log:
        who = ", ".join(f"{key} {value}" for key, value in _occasion(encounter) if value is not None)
        console.print(Text(f"{day(encounter.at)}  {encounter.kind:<8} {visible(who)}".rstrip()), soft_wrap=True)
        said = encounter.data.get("text")
        if isinstance(said, str):
            console.print(Text("\n".join(f"    {line}" for line in visible(said).splitlines()), style="dim"))


def _occasion(encounter: Encounter) -> list[tuple[str, object]]:
    run = encounter.run[:8] or None
    return [("run", run), ("user", encounter.user), ("chat", encounter.chat), ("turn", encounter.turn)]


def with_archive(place: str, work: Callable[[Archive], Awaitable[T]], *, make: bool = False) -> T:
    """Open the archive of a place, do the work, close it; see `archive_of`."""
    return asyncio.run(_use(archive_of(place, make=make), work))


async def _use(archive: Archive, work: Callable[[Archive], Awaitable[T]]) -> T:
    await archive.open()
    try:
        return await work(archive)
    finally:
        await archive.aclose()


def archive_of(place: str, *, make: bool = False) -> Archive:
    """The archive of a database file or of a pipeline; one on disk that is not there is made only when asked for.

    Raises:
        Refused: there is no such file or folder, or the pipeline keeps nothing on disk.
    """
    path = Path(place).expanduser()
    if path.suffix in DATABASES:
        _refuse_absent(path, place, make)
        return _database(path)
    from scenepipe.build import build
    from scenepipe.config import load_config
    from scenepipe.rooms import find_pipeline

    config = load_config(find_pipeline(place))
    if config.memory is None or config.memory.use == "memory":
        kept = "has no memory" if config.memory is None else "remembers only while it runs ('use: memory')"
        raise Refused(
            f"pipeline '{config.name}' {kept}; give one with 'memory: {{use: sqlite, path: …}}' or a .db file"
        )
    if "path" in config.memory.options:
        _refuse_absent(Path(config.memory.options["path"]).expanduser(), place, make)
    if config.memory.use == "sqlite":
        return _database(Path(config.memory.options["path"]).expanduser())
    archive = build(config).resources.archive
    assert archive is not None
    return archive


def _refuse_absent(path: Path, place: str, make: bool) -> None:
    if not make and not path.exists():
        raise Refused(f"{place}: there is no archive at {path} yet; a run with 'remember' makes it")


def _database(path: Path) -> Archive:
    from scenepipe.registry import default_registry

    archive: Archive = default_registry().load("archive", "sqlite")(path=str(path))
    return archive


app.command("export", no_args_is_help=True)(memory_transfer.export)
app.command("import", no_args_is_help=True)(memory_transfer.import_)
