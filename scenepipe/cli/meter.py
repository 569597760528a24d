"""Progress on stderr: a model on its way, rows on their way. Nothing but a few plain lines where it is not a terminal."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING

from scenepipe.cli.console import note, stderr
from scenepipe.errors import ScenepipeError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Abandoned(ScenepipeError):
    """The command that asked for a download has ended."""


class Meter:
    """Shows a download while it lasts; its ``progress`` may be called from any thread."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._lock = threading.Lock()
        self._abandoned = False
        self._tenth = -1

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def abandon(self) -> None:
        """Make the next ``progress`` raise: nobody waits for what is being fetched."""
        self._abandoned = True

    def say(self, message: str) -> None:
        """A message for the person: licence notices, where a model comes from."""
        with self._lock:
            if self._bar is not None:
                self._bar.console.print(message, soft_wrap=True)
            else:
                stderr().print(message, soft_wrap=True)

    def progress(self, done: int, total: int | None) -> None:
        """Bytes so far of bytes in all.

        Raises:
            Abandoned: the command has ended meanwhile.
        """
        if self._abandoned:
            raise Abandoned("the download was abandoned; what has come stays, the next run continues it")
        with self._lock:
            self._show(done, total)
        if total is not None and done >= total:
            self.stop()

    def _show(self, done: int, total: int | None) -> None:
        console = stderr()
        if not console.is_terminal:
            tenth = 10 * done // total if total else done // 2**25
            if tenth != self._tenth:
                self._tenth = tenth
                note(f"{_megabytes(done)} of {_megabytes(total)}" if total else _megabytes(done))
            return
        if self._bar is None:
            self._bar = _download_bar()
            self._task = self._bar.add_task("model", total=total)
            self._bar.start()
        assert self._task is not None
        self._bar.update(self._task, completed=done, total=total)

    def stop(self) -> None:
        """Take the bar down; a later ``progress`` puts a new one up."""
        with self._lock:
            bar, self._bar = self._bar, None
        if bar is not None:
            bar.stop()


def _download_bar() -> Progress:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=stderr())


def _megabytes(count: int | None) -> str:
    return "?" if count is None else f"{count / 1e6:.0f} MB"


class RowMeter:
    """Rows done, with rate and time left; a summary line at the end."""

    def __init__(self, total: int | None, *, done: int = 0, failed: int = 0) -> None:
        import time

        self._clock = time.monotonic
        self._started = time.monotonic()
        self._total = total
        self._before = self.done = done
        self.failed = failed
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> RowMeter:
        console = stderr()
        if console.is_terminal:
            self._bar = _row_bar()
            self._task = self._bar.add_task("", total=self._total, completed=self.done, failed="", rate="")
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, *, failed: bool) -> None:
        """One more row."""
        self.done += 1
        self.failed += failed
        if self._bar is not None and self._task is not None:
            marks = f"{self.failed} failed" if self.failed else ""
            self._bar.update(self._task, completed=self.done, failed=marks, rate=f"{self.rate:.1f}/s")

    @property
    def rate(self) -> float:
        """Rows a second of this process."""
        return (self.done - self._before) / max(self._clock() - self._started, 1e-9)

    def summary(self) -> str:
        """``12 rows, 1 failed, 3.4 rows/s``."""
        earlier = f" ({self._before} of them earlier)" if self._before else ""
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.done} rows{earlier}{failed}, {self.rate:.1f} rows/s"


def _row_bar() -> Progress:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[failed]}", style="red"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=stderr())
