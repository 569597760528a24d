"""Who uses a file: a shared lock that ends with its holder, so that other processes leave the file alone.

Where the platform or the file system has no such locks, only the process's own use is known.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def hold(path: Path) -> Callable[[], None]:
    """Mark a file as in use; call what comes back to end it. The end of the process ends it too."""
    try:
        return partial(os.close, _lock(path, shared=True))
    except OSError:
        return _nothing


def unheld(path: Path) -> bool:
    """Whether nobody holds it, as far as can be known."""
    try:
        os.close(_lock(path, shared=False))
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _lock(path: Path, *, shared: bool) -> int:
    """A descriptor that holds the lock until it is closed.

    Raises:
        BlockingIOError: somebody else holds it.
        OSError: no such file, or no locks here.
    """
    if fcntl is None:
        raise OSError("this platform has no flock")
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _nothing() -> None:
    return
