"""A copy of an archive that was checked before it got its name: of a SQLite file the file itself, of others an export."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from scenepipe.context import offload
from scenepipe.contracts import Archive, Value
from scenepipe.errors import ArchiveError
from scenepipe.memory.sqlite import SqliteArchive
from scenepipe.memory.transfer import export_archive, read_manifest

_BESIDE = ("", "-wal", "-shm", "-journal")


class Backup(Value):
    """What was copied: scenes with every analysis, and encounters. ``form`` says how it is given back."""

    form: str
    scenes: int
    encounters: int


async def backup_archive(archive: Archive, path: Path) -> Backup:
    """Copy an open archive while it goes on being used, and read the whole copy once.

    Raises:
        ArchiveError: the file is there already or cannot be written, or the archive is damaged; no copy is left then.
    """
    if isinstance(archive, SqliteArchive):
        return await _copy_checked(archive, path)
    manifest = await export_archive(archive, path)
    if manifest.fault:
        raise ArchiveError(f"what could be read was written to {path}; {manifest.fault}")
    await offload(read_manifest, path)
    return Backup(form="export", scenes=manifest.scenes, encounters=manifest.encounters)


async def _copy_checked(archive: SqliteArchive, path: Path) -> Backup:
    part = path.with_name(f"{path.name}.part")
    try:
        await offload(_copy, archive.path, path, part)
        found = await _verified(part)
        await offload(part.replace, path)
    except OSError as error:
        raise ArchiveError(f"{path} cannot be written: {error}") from error
    finally:
        await offload(_remove, part)
    return found


def _remove(part: Path) -> None:
    for name in _BESIDE:
        Path(f"{part}{name}").unlink(missing_ok=True)


def _copy(archive: str, path: Path, target: Path) -> None:
    """SQLite's online backup: one consistent moment, whoever writes meanwhile; readable by its owner alone."""
    if path.exists():
        raise ArchiveError(f"{path} is there already and is not overwritten; give another name, or remove it")
    source = Path(archive).expanduser()
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    try:
        with closing(sqlite3.connect(source)) as here, closing(sqlite3.connect(target)) as there:
            here.backup(there)
            there.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise ArchiveError(f"archive {source} cannot be copied: {error}; export what is readable") from error
    with target.open("rb+") as file:
        os.fsync(file.fileno())


async def _verified(path: Path) -> Backup:
    copy = SqliteArchive(path=str(path))
    await copy.open()
    try:
        found = await copy.verify()
    finally:
        await copy.aclose()
    if found.faults:
        raise ArchiveError(f"the archive is damaged ({found.faults[0]}), and so its copy; export what is readable")
    return Backup(form="sqlite", scenes=found.scenes, encounters=found.encounters)
