"""``scenepipe memory chats``: the chats of an archive, and one of them with its branches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scenepipe.cli.guard import Refused
from scenepipe.cli.memory_place import Json, Place, with_archive

if TYPE_CHECKING:
    from scenepipe.chats import Step, Summary
    from scenepipe.contracts import Archive
    from scenepipe.scene import Turn


def chats(
    place: Place,
    chat: Annotated[
        str | None, typer.Argument(metavar="CHAT", help="Show this one; without it all are listed.")
    ] = None,
    branch: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The branch that ends with this encounter, or its first characters."),
    ] = None,
    namespace: Annotated[str | None, typer.Option(metavar="NAME", help="Whose chats.")] = None,
    as_json: Json = False,
) -> None:
    """List the chats that an archive remembers, or show the turns of one."""
    if chat is None:
        if branch is not None:
            raise Refused("--branch belongs to one chat; name it before")
        _list(place, namespace, as_json)
    else:
        _show(place, chat, branch, namespace or "default", as_json)


def _list(place: str, namespace: str | None, as_json: bool) -> None:
    from dataclasses import asdict

    from scenepipe.chats import summaries
    from scenepipe.cli.console import print_json

    found = with_archive(place, lambda archive: summaries(archive, namespace=namespace))
    if as_json:
        print_json([asdict(chat) | {"first": chat.first.isoformat(), "last": chat.last.isoformat()} for chat in found])
    else:
        _table(found)


def _table(found: Sequence[Summary]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from scenepipe.cli.console import stdout
    from scenepipe.cli.facts import day
    from scenepipe.cli.labels import visible

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name, justify in (("chat", "left"), ("namespace", "left"), ("turns", "right"), ("branches", "right")):
        table.add_column(name, justify="right" if justify == "right" else "left", overflow="fold")
    table.add_column("last", no_wrap=True)
    for chat in found:
        names = Text(visible(chat.name)), Text(visible(chat.namespace))
        table.add_row(*names, str(chat.turns), str(chat.branches), day(chat.last))
    stdout().print(table if found else "no chat is remembered here")


def _show(place: str, name: str, branch: str | None, namespace: str, as_json: bool) -> None:
    from scenepipe.cli.console import print_json

    steps, turns, tips = with_archive(place, lambda archive: _load(archive, name, branch, namespace))
    if not tips:
        raise Refused(
            f"there is no chat '{name}' in namespace '{namespace}'; 'scenepipe memory chats {place}' lists them"
        )
    if as_json:
        print_json({"chat": name, "namespace": namespace, "branches": tips, "turns": _rows(steps, turns)})
    else:
        _lines(steps, turns, tips)


async def _load(
    archive: Archive, name: str, branch: str | None, namespace: str
) -> tuple[Sequence[Step], Sequence[Turn], Sequence[str]]:
    from scenepipe import chats

    chat = await chats.load(archive, name, namespace=namespace)
    ends = [tip for tip in chat.tips if branch and tip.startswith(branch)]
    steps = chat.steps(ends[0] if len(ends) == 1 else branch) if chat.tips else ()
    turns = {turn.scene_id: turn for turn in await chats.texts(archive, steps)}
    kept = [step for step in steps if step.scene_id in turns]
    return kept, await chats.texts(archive, kept), chat.tips


def _rows(steps: Sequence[Step], turns: Sequence[Turn]) -> list[dict[str, Any]]:
    from dataclasses import asdict

    return [
        asdict(step) | {"at": step.at.isoformat(), "text": turn.text} for step, turn in zip(steps, turns, strict=True)
    ]


def _lines(steps: Sequence[Step], turns: Sequence[Turn], tips: Sequence[str]) -> None:
    from rich.text import Text

    from scenepipe.cli.console import stdout
    from scenepipe.cli.facts import day
    from scenepipe.cli.labels import visible

    console = stdout()
    for step, turn in zip(steps, turns, strict=True):
        more = [f"{step.versions} texts"] if step.versions > 1 else []
        more += [f"{step.replies} answers"] if step.replies > 1 else []
        head = " · ".join([f"{step.number}", day(step.at), step.scene_id[:8], *more])
        console.print(Text(head, style="dim"), soft_wrap=True)
        console.print(Text(visible(turn.text)), soft_wrap=True)
        if turn.reply is not None:
            console.print(Text("\n".join(f"    {line}" for line in visible(turn.reply).splitlines())), soft_wrap=True)
    for tip in tips:
        if not steps or tip != steps[-1].tip:
            console.print(Text(f"another branch: --branch {tip[:12]}", style="dim"), soft_wrap=True)
