"""``scenepipe memory``: what an archive remembers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scenepipe.cli import memory_care, memory_chats, memory_graph, memory_ingest, memory_search, memory_transfer
from scenepipe.cli.memory_place import Json, Place, by_prefix, with_archive

if TYPE_CHECKING:
    from scenepipe.contracts import Archive, Encounter
    from scenepipe.scene import Scene

app = typer.Typer(no_args_is_help=True)


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
        "scenes": len({encounter.scene_id for encounter in log if encounter.kind != "forgotten"}),
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
    scene: Annotated[str, typer.Argument(metavar="ID", help="Id of the scene, its first characters, or a hypertoken.")],
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

    scenes = await archive.get([given]) or await _by_name(archive, given)
    scenes = scenes or await archive.get([await by_prefix(archive, given)])
    log = await archive.encounters([scenes[0].id])
    times = [encounter.at for encounter in log if encounter.kind == "met"]
    return scenes[0].with_(resonance=resonance(times, _now())), log


async def _by_name(archive: Archive, given: str) -> Sequence[Scene]:
    """The best scene that a hypertoken stands for; none when no hypertoken is called so."""
    from scenepipe.folding.recalled import called, unfold_symbol

    if called(given, await archive.hypertokens()):
        return await unfold_symbol(archive, given, limit=1)
    return ()


def _now() -> datetime:
    from datetime import UTC

    return datetime.now(UTC)


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
    from scenepipe.documents.citation import citation_of

    run = encounter.run[:8] or None
    source = citation_of(encounter) if encounter.kind == "read" else None
    place = f"{source.place}, {source.span[0]}–{source.span[1]}" if source else None
    return [
        ("run", run),
        ("user", encounter.user),
        ("chat", encounter.chat),
        ("turn", encounter.turn),
        ("source", place),
    ]


app.command("search", no_args_is_help=True)(memory_search.search)
app.command("ingest", no_args_is_help=True)(memory_ingest.ingest)
app.command("chats", no_args_is_help=True)(memory_chats.chats)
app.command("forget", no_args_is_help=True)(memory_care.forget)
app.command("verify", no_args_is_help=True)(memory_care.verify)
app.command("rebuild", no_args_is_help=True)(memory_care.rebuild)
app.command("backup", no_args_is_help=True)(memory_care.backup)
app.command("graph", no_args_is_help=True)(memory_graph.graph)
app.command("export", no_args_is_help=True)(memory_transfer.export)
app.command("import", no_args_is_help=True)(memory_transfer.import_)
