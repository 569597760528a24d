"""``ctx.wait``: a stage in a worker thread asks what only the loop can; it never hangs and keeps to the deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest

from scenepipe.context import Context, Resources
from scenepipe.errors import BackendError, DeadlineError
from scenepipe.pipeline import Pipeline
from scenepipe.scene import Scene


def context(deadline: float | None = None) -> Context:
    return Context(Resources(), run="t", pipeline="t", emit=lambda event: None, deadline=deadline)


async def said(text: str, seconds: float = 0.0) -> str:
    await asyncio.sleep(seconds)
    return text


class Asks:
    """A batch stage that waits for an awaitable and keeps what it heard."""

    reads: ClassVar[frozenset[str]] = frozenset()
    writes: ClassVar[frozenset[str]] = frozenset({"outputs"})
    batch_size = 4

    def __init__(self, make: Callable[[], Awaitable[str]]) -> None:
        self.make = make

    def run_batch(self, scenes: Sequence[Scene], ctx: Context) -> list[Scene]:
        heard = ctx.wait(self.make())
        return [scene.with_(outputs={"text": heard}) for scene in scenes]


def test_a_timeout_of_its_own_is_no_deadline() -> None:
    async def late() -> str:
        raise TimeoutError("the store was slow")

    async def main() -> None:
        with pytest.raises(TimeoutError, match="the store was slow"):
            await asyncio.to_thread(context(time.monotonic() + 60).wait, late())

    asyncio.run(main())


def test_the_loops_own_thread_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="await there instead"):
            context().wait(said("нет"))

    asyncio.run(main())


def test_an_error_reaches_the_thread_that_waits() -> None:
    async def fails() -> str:
        raise ValueError("no such thing")

    async def main() -> None:
        ctx = context()
        with pytest.raises(ValueError, match="no such thing"):
            await asyncio.to_thread(ctx.wait, fails())
        assert await asyncio.to_thread(ctx.wait, said("да")) == "да"

    asyncio.run(main())


def test_without_a_loop_the_thread_runs_it_itself() -> None:
    assert context().wait(said("да")) == "да"


def test_the_deadline_ends_it_and_cancels_what_it_waits_for() -> None:
    cancelled = asyncio.Event()

    async def long() -> str:
        try:
            return await said("нет", 60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def main() -> None:
        began = time.monotonic()
        with pytest.raises(DeadlineError, match="deadline_s"):
            await asyncio.to_thread(context(began + 0.05).wait, long())
        assert time.monotonic() - began < 30
        await asyncio.wait_for(cancelled.wait(), 30)

    asyncio.run(main())


def test_a_loop_that_closes_meanwhile_ends_it() -> None:
    async def main() -> Context:
        return context()

    with pytest.raises(BackendError, match="closed"):
        closed = asyncio.new_event_loop()
        ctx = closed.run_until_complete(main())
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(ctx.wait, said("нет"))
            time.sleep(0.2)
            closed.close()
            waiting.result(30)


def test_stages_that_wait_leave_the_loops_threads_to_what_they_wait_for() -> None:
    """With one shared thread, an archive that reads in it could never answer a stage that waits in it."""

    async def threaded() -> str:
        return await asyncio.to_thread(lambda: "да")

    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        async with Pipeline([("one", Asks(threaded))]) as pipe:
            rows = [scene async for scene in pipe.map([f"шаг {n}" for n in range(9)])]
            assert [row.outputs for row in rows if isinstance(row, Scene)] == [{"text": "да"}] * 9

    asyncio.run(asyncio.wait_for(main(), 60))
