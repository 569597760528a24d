"""Progress on stderr, and a download that ends when the command does."""

from __future__ import annotations

import asyncio
import io
import time
from typing import ClassVar

import pytest
from rich.console import Console

from scenepipe.cli import meter as meters
from scenepipe.cli.meter import Abandoned, Meter, RowMeter
from scenepipe.cli.opening import running
from scenepipe.context import Context
from scenepipe.models.catalogue import LocalModel
from scenepipe.pipeline import Pipeline
from scenepipe.scene import Scene


class NeedsModel:
    reads: ClassVar[frozenset[str]] = frozenset()
    writes: ClassVar[frozenset[str]] = frozenset()
    needs: ClassVar[frozenset[str]] = frozenset({"model"})

    async def run(self, scene: Scene, ctx: Context) -> Scene:
        return scene


def test_a_download_in_another_thread_ends_when_the_command_is_cancelled() -> None:
    calls: list[int] = []

    def fetch() -> LocalModel:
        for done in range(3000):
            meter.progress(done, 10**9)
            calls.append(done)
            time.sleep(0.01)
        raise AssertionError("nobody ended it")

    async def command() -> None:
        pipe = Pipeline([NeedsModel()], model=fetch)
        async with running(pipe, meter):
            await pipe.arun("text")

    async def main() -> None:
        task = asyncio.create_task(command())
        while not calls:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with Meter() as meter:
        started = time.monotonic()
        asyncio.run(main())
    assert time.monotonic() - started < 5


def test_after_a_good_end_nothing_is_abandoned() -> None:
    async def main() -> None:
        async with running(Pipeline([NeedsModel()]), meter):
            pass

    with Meter() as meter:
        asyncio.run(main())
        meter.progress(1, 2)
        meter.abandon()
        with pytest.raises(Abandoned):
            meter.progress(2, 2)


def test_a_terminal_gets_a_bar_with_rate_and_messages_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(meters, "stderr", lambda: Console(file=screen, force_terminal=True, width=100))
    with Meter() as meter:
        for done in range(0, 101, 10):
            meter.progress(done * 10**6, 100 * 10**6)
            if done == 50:
                meter.say("a notice")
    assert "100.0/100.0 MB" in screen.getvalue()
    assert "a notice" in screen.getvalue()
    assert "\x1b[?25h" in screen.getvalue().rpartition("MB")[2]  # the cursor is back


def test_rows_are_counted_with_their_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(meters, "stderr", lambda: Console(file=screen, force_terminal=True, width=120))
    with RowMeter(10, done=4, failed=1) as rows:
        clock = iter([rows._started + 2.0] * 100)
        rows._clock = lambda: next(clock)
        for failed in (False, True, False):
            rows.step(failed=failed)
    assert rows.rate == pytest.approx(1.5)
    assert rows.summary() == "7 rows (4 of them earlier), 2 failed, 1.5 rows/s"
    assert "7/10" in screen.getvalue()
