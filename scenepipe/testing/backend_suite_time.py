"""What every backend must do in time and trouble: cancellation, deadlines, closing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import ClassVar, cast

import pytest

from scenepipe.contracts import Backend, Chunk, Message, Request
from scenepipe.errors import BackendError, DeadlineError
from scenepipe.testing.backend_requests import RU, WARM, say


class TimeSuite:
    """Dropped replies, deadlines, and the end.

    Attributes:
        slow_s: seconds in which the backend must answer a short request after others were cancelled; a slot that
            falls free within a second leaves the rest to the answer itself.
    """

    slow_s: ClassVar[float] = 10.0

    def test_dropped_replies_free_their_slots(self, backend: Backend, runner: asyncio.Runner) -> None:
        async def scenario() -> float:
            await asyncio.gather(*(_drop(backend) for _ in range(backend.capabilities.parallel)))
            started = time.monotonic()
            assert await say(backend, sampling=WARM, prompt=RU, max_tokens=2)
            return time.monotonic() - started

        assert runner.run(scenario()) < self.slow_s

    def test_a_cancelled_task_frees_its_slot(self, backend: Backend, runner: asyncio.Runner) -> None:
        async def scenario() -> float:
            tasks = [
                asyncio.create_task(say(backend, sampling=WARM, prompt=RU * 8, max_tokens=400, seed=n))
                for n in range(2 * backend.capabilities.parallel)
            ]
            await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            started = time.monotonic()
            assert await say(backend, sampling=WARM, prompt=RU, max_tokens=2)
            return time.monotonic() - started

        assert runner.run(scenario()) < self.slow_s

    def test_a_deadline_in_the_past_fails_and_the_backend_goes_on(
        self, backend: Backend, runner: asyncio.Runner
    ) -> None:
        async def scenario() -> str:
            with pytest.raises(DeadlineError):
                await say(backend, sampling=WARM, prompt=RU, max_tokens=400, deadline=time.monotonic() - 1)
            return await say(backend, sampling=WARM, prompt=RU, max_tokens=2, deadline=time.monotonic() + 60)

        assert runner.run(scenario())

    def test_a_deadline_in_the_middle_of_a_reply_is_kept(self, backend: Backend, runner: asyncio.Runner) -> None:
        """The reply is there in time, or it fails soon after; what runs beside it goes on."""

        async def scenario() -> float:
            beside = asyncio.create_task(say(backend, sampling=WARM, prompt=RU, max_tokens=8))
            started = time.monotonic()
            try:
                await say(backend, sampling=WARM, prompt=RU * 4, max_tokens=400, deadline=started + 0.3)
            except DeadlineError:
                assert time.monotonic() >= started + 0.25
            else:
                assert time.monotonic() <= started + 0.3 + 1.0
            took = time.monotonic() - started
            assert await beside
            return took

        assert runner.run(scenario()) < 0.3 + self.slow_s / 2

    def test_prompt_and_messages_are_either_or(self, backend: Backend, runner: asyncio.Runner) -> None:
        for request in (Request(), Request(prompt="a", messages=(Message(role="user", content="a"),))):
            with pytest.raises(BackendError):
                runner.run(_finish(backend, request))

    def test_zz_closing_twice_is_closing_once(self, backend: Backend, runner: asyncio.Runner) -> None:
        runner.run(backend.aclose())
        runner.run(backend.aclose())
        with pytest.raises(BackendError):
            runner.run(say(backend, sampling=WARM, prompt=RU, max_tokens=2))


async def _finish(backend: Backend, request: Request) -> None:
    async for _ in backend.generate(request):
        pass


async def _drop(backend: Backend) -> None:
    """Take the first piece of a long reply and leave."""
    chunks = cast("AsyncGenerator[Chunk, None]", backend.generate(Request(prompt=RU, max_tokens=400, sampling=WARM)))
    await anext(chunks)
    await chunks.aclose()
