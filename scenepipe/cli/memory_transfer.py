"""``scenepipe memory export`` and ``import``: an archive as a file that any store reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[Path, typer.Argument(metavar="FILE.jsonl", help="The export; its manifest stands beside it.")]
From = Annotated[str, typer.Argument(metavar="PIPELINE|FILE.db", help="Whose memory is written to the file.")]
Into = Annotated[str, typer.Argument(metavar="PIPELINE|FILE.db", help="Whose memory takes it; made when missing.")]


def export(place: From, file: File) -> None:
    """Write everything remembered to a JSONL file, with a manifest that holds its SHA-256."""
    from scenepipe.cli.console import stdout
    from scenepipe.cli.memory_place import with_archive
    from scenepipe.errors import ArchiveError
    from scenepipe.memory.transfer import export_archive

    done = with_archive(place, lambda archive: export_archive(archive, file))
    stdout().print(f"{file}: {done.scenes} scenes, {done.encounters} encounters, sha256 {done.sha256}", soft_wrap=True)
    if done.fault:
        raise ArchiveError(f"what could be read was written to {file}; {done.fault}")


def import_(file: File, place: Into) -> None:
    """Add an export to a memory of any kind. What is there already stays; doing it again changes nothing."""
    from scenepipe.cli.console import stdout
    from scenepipe.cli.memory_place import with_archive
    from scenepipe.memory.transfer import import_archive, read_manifest

    given = read_manifest(file)
    done = with_archive(place, lambda archive: import_archive(archive, file), make=True)
    stdout().print(
        f"{done.scenes} scenes and {done.encounters} encounters are new, of {given.scenes} and {given.encounters}"
    )
