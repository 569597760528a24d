"""Files in the user's cache: where they lie, how they are hashed, and how they are written in one rename."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs

from scenepipe.errors import ModelError

DISK_MARGIN = 64 * 1024 * 1024
_BLOCK = 1 << 20


def cache_dir() -> Path:
    """``$SCENEPIPE_CACHE``, else the platform's user cache folder; not created here."""
    given = os.environ.get("SCENEPIPE_CACHE")
    return (
        Path(given).expanduser().absolute()
        if given
        else Path(platformdirs.user_cache_path("scenepipe", appauthor=False))
    )


def derived_dir(sha256: str) -> Path:
    """Where everything computed from a weights file is kept, under the file's hash."""
    return cache_dir() / "derived" / sha256


def sha256_file(path: Path) -> str:
    """SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: Path, data: bytes) -> None:
    """Write through a temporary file and one rename: nothing half-written is ever left under the name.

    Raises:
        ModelError: the disk is full.
    """
    with disk_full_named(path, len(data)), building(path) as part, part.open("wb") as file:
        file.write(data)
        sync(file)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON document in one rename."""
    write_atomic(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


@contextmanager
def building(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``; what was written there takes its place when nothing raised.

    Works for a file and for a folder. Of two processes that build the same thing, the later one wins.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name[:80]}.{uuid.uuid4().hex[:12]}.part")
    try:
        yield part
        if part.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        part.replace(path)
    finally:
        remove(part)


def remove(path: Path) -> None:
    """Delete a file or folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sync(file: Any) -> None:
    """Bring what was written to the disk, so that a rename never outruns it."""
    file.flush()
    os.fsync(file.fileno())


def check_space(folder: Path, needed: int) -> None:
    """See that ``needed`` bytes and a margin are free.

    Raises:
        ModelError: they are not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed + DISK_MARGIN:
        raise ModelError(_full(folder, needed + DISK_MARGIN, free))


@contextmanager
def disk_full_named(path: Path, needed: int) -> Iterator[None]:
    """Turn "no space left on device" into an error that says where, how much, and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ModelError(_full(path.parent, needed, None)) from None


def _full(folder: Path, needed: int, free: int | None) -> str:
    left = "it is full" if free is None else f"{free / 1e6:.0f} MB are free"
    return (
        f"{folder} needs {needed / 1e6:.0f} MB and {left}; free some space, "
        "or set SCENEPIPE_CACHE to a folder on another disk"
    )
