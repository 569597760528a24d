"""The folder of a Qdrant Edge archive: whose it is, of which version, and that a whole shard is always in it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from filelock import FileLock, Timeout

from scenepipe.errors import ArchiveError

VERSION = 2
ENGINE = "0.9"

_MARK = "archive.json"
_LOCK = ".lock"
_SHARD = "shard"
_HALF = f"{_LOCK}.shard"
_OLD = f"{_LOCK}.old"
_OWED = f"{_LOCK}.forgotten"


class EdgeFolder:
    """Holds the lock from `open` to `close`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path / _LOCK, timeout=0)

    @property
    def shard(self) -> Path:
        return self.path / _SHARD

    def open(self) -> bool:
        """Lock the folder, or make it; of a shard that was being written anew, keep the one that is whole.

        Returns:
            Whether its points were written by an older version.

        Raises:
            ArchiveError: the folder is another program's, in use, of a newer version, or cannot be read.
            OSError: the system refuses it.
        """
        self._take()
        version = self._version()
        self._recover()
        return version < VERSION

    def close(self) -> None:
        """Let others open the folder."""
        self._lock.release()

    def mark_current(self) -> None:
        """Every point has the form of this version."""
        fresh = self.path / f"{_LOCK}.new"
        _write_durably(fresh, json.dumps({"scenepipe": "qdrant-edge", "version": VERSION, "engine": ENGINE}))
        os.replace(fresh, self.path / _MARK)

    # --- A shard that is written anew --------------------------------------------------------------------------------

    def half(self) -> Path:
        """An empty folder for a shard beside the place of the real one."""
        half = self.path / _HALF
        if half.exists():
            shutil.rmtree(half)
        half.mkdir(mode=0o700)
        return half

    def adopt(self) -> None:
        """Put the new shard in its place; whatever happens, it or the old one is there."""
        try:
            if self.shard.exists():
                os.replace(self.shard, self.path / _OLD)
            os.replace(self.path / _HALF, self.shard)
            _sync_folder(self.path)
        finally:
            self._recover()

    def _recover(self) -> None:
        old = self.path / _OLD
        if old.exists() and not self.shard.exists():
            os.replace(old, self.shard)
        shutil.rmtree(old, ignore_errors=True)

    @property
    def owes(self) -> bool:
        """Whether the shard's files keep bytes of what was removed."""
        return (self.path / _OWED).exists()

    def owe(self) -> None:
        """From now on, also for the process that opens the folder after a crash."""
        _write_durably(self.path / _OWED, "")
        _sync_folder(self.path)

    def paid(self) -> None:
        (self.path / _OWED).unlink()
        _sync_folder(self.path)

    # --- Opening -----------------------------------------------------------------------------------------------------

    def _take(self) -> None:
        for folder in reversed((self.path, *self.path.parents)):
            if not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
        if not self.path.is_dir():
            raise ArchiveError(f"archive {self.path}: it is a file; give 'path' a folder")
        self._refuse_foreign()
        try:
            self._lock.acquire()
        except Timeout:
            raise ArchiveError(
                f"archive {self.path}: another process has it open; a Qdrant Edge archive serves one process at a "
                "time. Use 'sqlite' or a Qdrant server for several"
            ) from None

    def _refuse_foreign(self) -> None:
        """Before anything is written into a folder that is not an archive's."""
        there = {entry.name for entry in self.path.iterdir() if not entry.name.startswith(_LOCK)}
        if there and _MARK not in there:
            raise ArchiveError(
                f"archive {self.path}: the folder holds other files ({', '.join(sorted(there)[:5])}); give 'path' an "
                "empty or a new folder"
            )

    def _version(self) -> int:
        mark = self.path / _MARK
        if not mark.exists():
            self.mark_current()
        try:
            found = json.loads(mark.read_bytes())
            version, engine = int(found["version"]), str(found["engine"])
        except (ValueError, KeyError, TypeError) as error:
            raise ArchiveError(f"archive {self.path}: {_MARK} is damaged ({error}); restore it from a backup") from None
        if version > VERSION:
            raise ArchiveError(
                f"archive {self.path}: it was written by a newer scenepipe (version {version}, this one knows "
                f"{VERSION}); upgrade scenepipe"
            )
        if engine != ENGINE:
            raise ArchiveError(
                f"archive {self.path}: it was made by Qdrant Edge {engine}, this is for {ENGINE}; export it with "
                f'"qdrant-edge-py=={engine}.*" and import it into a new folder'
            )
        return version


def _write_durably(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make a rename in the folder durable, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
