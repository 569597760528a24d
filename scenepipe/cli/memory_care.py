"""``scenepipe memory verify``, ``rebuild``, ``backup`` and ``forget``: looking after an archive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scenepipe.cli.guard import FAILED, Refused
from scenepipe.cli.memory_place import Json, Place, by_prefix, with_archive
from scenepipe.errors import did_you_mean

if TYPE_CHECKING:
    from scenepipe.contracts import Archive, Forgotten
    from scenepipe.scene import Scene

_SHOWN = 50


def verify(place: Place, as_json: Json = False) -> None:
    """Read everything an archive holds and name every fault; exit code 1 where there is one."""
    from scenepipe.cli.console import print_json, stdout

    found = with_archive(place, lambda archive: archive.verify())
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        console = stdout()
        for fault in found.faults:
            console.print(f"fault        {fault}", soft_wrap=True)
        console.print(f"{found.scenes} scenes, {found.encounters} encounters, {len(found.faults) or 'no'} faults")
    if found.faults:
        raise typer.Exit(FAILED)


def rebuild(place: Place) -> None:
    """Make everything derived anew from the stored scenes: indexes, symbols, vectors."""
    from scenepipe.cli.console import stdout

    count = with_archive(place, lambda archive: archive.rebuild())
    stdout().print(f"everything derived was made anew from {count} stored analyses")


def backup(
    place: Place,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A SQLite archive's copy; an export of any other.")],
) -> None:
    """Copy an archive while it is in use, and check the copy before it gets its name."""
    from scenepipe.cli.console import stdout
    from scenepipe.memory.backup import backup_archive

    done = with_archive(place, lambda archive: backup_archive(archive, file))
    how = "read it as any .db" if done.form == "sqlite" else "'scenepipe memory import' reads it"
    counts = f"{done.scenes} scenes, {done.encounters} encounters"
    stdout().print(f"{file}: {counts}, checked; {how}", soft_wrap=True)


def forget(
    scenes: Annotated[
        list[str],
        typer.Argument(metavar="ID…", help="Ids of scenes, or their first characters.", default_factory=list),
    ],
    place: Place,
    source: Annotated[
        str | None, typer.Option(metavar="FILE", help="Every part read from this document and never said by anybody.")
    ] = None,
    namespace: Annotated[str, typer.Option(metavar="NAME", help="Who read the document.")] = "default",
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Remove scenes with all their encounters, for good; a tombstone without text stays for each."""
    from scenepipe.cli.console import stdout

    found = with_archive(place, lambda archive: _found(archive, scenes, source, namespace))
    _show(found)
    if not yes:
        typer.confirm("Forget this for good?", abort=True, err=True)
    done = with_archive(place, lambda archive: _forget(archive, [scene.id for scene, _ in found]))
    stdout().print(
        f"{done.scenes} scenes and {done.encounters} encounters are gone. No import brings them back; "
        "backups and exports made before still hold them",
        soft_wrap=True,
    )


async def _found(archive: Archive, given: Sequence[str], source: str | None, namespace: str) -> list[tuple[Scene, int]]:
    """Each scene that is meant, once, with the number of its encounters.

    Raises:
        Refused: an id is unknown, nothing was read from the source, or nothing was named.
    """
    ids = dict.fromkeys([(await archive.get([name]) and name) or await by_prefix(archive, name) for name in given])
    if source is not None:
        ids |= dict.fromkeys(await _read_from(archive, source, namespace))
    if not ids:
        raise Refused("nothing was named; give ids of scenes ('scenepipe memory stats' lists them), or --source FILE")
    counts = Counter(encounter.scene_id for encounter in await archive.encounters(list(ids)))
    return [(scene, counts[scene.id]) for scene in await archive.get(list(ids))]


async def _read_from(archive: Archive, source: str, namespace: str) -> list[str]:
    """Scenes that were only read, and only there."""
    from scenepipe.documents.citation import citation_of

    sources: dict[str, set[str | None]] = {}
    for encounter in await archive.encounters():
        if encounter.namespace == namespace and encounter.kind in ("met", "spoken", "read"):
            cited = citation_of(encounter) if encounter.kind == "read" else None
            sources.setdefault(encounter.scene_id, set()).add(cited.source if cited else None)
    known = sorted({name for names in sources.values() for name in names if name})
    if source not in known:
        raise Refused(f"--source {source}: nothing was read from it; {did_you_mean(source, known)}")
    return [scene for scene, names in sources.items() if names == {source}]


async def _forget(archive: Archive, ids: Sequence[str]) -> Forgotten:
    from datetime import UTC, datetime

    return await archive.forget(ids, at=datetime.now(UTC))


def _show(found: Sequence[tuple[Scene, int]]) -> None:
    from scenepipe.cli.console import stdout
    from scenepipe.cli.facts import shorten
    from scenepipe.cli.labels import visible

    console = stdout()
    for scene, count in found[:_SHOWN]:
        console.print(f"{scene.id[:8]}  {visible(shorten(scene.text, 80))}  (encounters: {count})", soft_wrap=True)
    if len(found) > _SHOWN:
        console.print(f"and {len(found) - _SHOWN} more")
