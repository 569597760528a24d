"""What was computed of fixed texts (a register's inputs), kept in the user's cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

Arrays = Mapping[str, "npt.NDArray[Any]"]


def kept(folder: Path, key: Sequence[str], *, make: Callable[[], Arrays], fits: Callable[[Arrays], bool]) -> Arrays:
    """Arrays read from ``folder``, or made and kept there. A cache that cannot be read or written costs time, never a result.

    Args:
        key: what they depend on, in order.
        make: how they are computed.
        fits: whether what was read has the right form; a file that raises or does not fit is made again.
    """
    from safetensors.numpy import load_file, save_file

    digest = hashlib.sha256("\0".join(key).encode()).hexdigest()[:32]
    path = folder / f"{digest}.safetensors"
    if path.is_file():
        try:
            read: Arrays = load_file(path)
            if fits(read):
                return read
        except Exception:  # noqa: S110 - any unreadable cache is made again
            pass
    made = make()
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(dict(made), part)
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return made
