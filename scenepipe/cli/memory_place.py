"""The archive that a command of ``scenepipe memory`` means: a database file's, or a pipeline's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from scenepipe.cli.guard import Refused

if TYPE_CHECKING:
    from scenepipe.config import PipelineConfig
    from scenepipe.contracts import Archive

T = TypeVar("T")
DATABASES = (".db", ".sqlite", ".sqlite3")
SHORTEST_PREFIX = 4

Place = Annotated[str, typer.Argument(metavar="PIPELINE|FILE.db", help="A pipeline with a memory, or its .db file.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
Namespace = Annotated[str, typer.Option(metavar="NAME", help="Whose memory, where several share an archive.")]


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
    if is_database(place):
        path = Path(place).expanduser()
        _refuse_absent(path, place, make)
        return database(path)
    from scenepipe.build import build

    config = remembering(place, make=make)
    assert config.memory is not None
    if config.memory.use == "sqlite":
        return database(Path(config.memory.options["path"]).expanduser())
    archive = build(config).resources.archive
    assert archive is not None
    return archive


def is_database(place: str) -> bool:
    """Whether a place is a database file, not a pipeline."""
    return Path(place).suffix in DATABASES


def remembering(place: str, *, make: bool = False) -> PipelineConfig:
    """The configuration of a pipeline that keeps what it remembers.

    Raises:
        Refused: it keeps nothing, or nothing is there yet and none shall be made.
    """
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
    return config


def _refuse_absent(path: Path, place: str, make: bool) -> None:
    if not make and not path.exists():
        raise Refused(f"{place}: there is no archive at {path} yet; a run with 'remember' makes it")


def database(path: Path) -> Archive:
    """The archive of a SQLite file, not opened."""
    from scenepipe.registry import default_registry

    archive: Archive = default_registry().load("archive", "sqlite")(path=str(path))
    return archive


async def by_prefix(archive: Archive, given: str) -> str:
    """The id of the one scene whose id begins so.

    Raises:
        Refused: none does, or several do.
    """
    known = {encounter.scene_id for encounter in await archive.encounters() if encounter.kind != "forgotten"}
    found = sorted(i for i in known if i.startswith(given)) if len(given) >= SHORTEST_PREFIX else []
    if len(found) != 1:
        near = (
            f"{len(found)} scenes begin so: {', '.join(i[:12] for i in found[:5])}" if found else "no scene begins so"
        )
        raise Refused(
            f"scene '{given}': {near}; 'scenepipe memory stats' lists ids, give at least {SHORTEST_PREFIX} characters"
        )
    return found[0]
