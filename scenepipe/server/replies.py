"""Replies while they are made: pieces as they come, and what stands at the end.

Each reply is made by a task of its own, which no client holds: one that leaves stops the reply, but not the writing of a
reply that is whole already.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from scenepipe.contracts import DrawnToken, Finish
from scenepipe.scene import Scene, Usage
from scenepipe.server.problem import ApiError
from scenepipe.tools import ToolCall, ToolCallPiece


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of one of the replies."""

    index: int
    text: str
    reasoning: str = ""
    logprobs: tuple[DrawnToken, ...] = ()
    tool_calls: tuple[ToolCallPiece, ...] = ()


@dataclass(frozen=True)
class Result:
    """A whole reply.

    Args:
        text: as its pieces gave it.
        scene: the scene that was spoken; None where none was made.
        stored: how the scene is found again: the encounter of the answer.
    """

    text: str
    finish: Finish
    usage: Usage
    reasoning: str = ""
    logprobs: tuple[DrawnToken, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    scene: Scene | None = None
    stored: str | None = None


class Voice:
    """What a maker of a reply is given: tells its pieces, and when all that is left is to write it down."""

    def __init__(self, index: int, replies: Replies) -> None:
        self.index = index
        self.whole = False
        self.first_s: float | None = None
        self._replies = replies
        self._began = 0.0

    def begin(self) -> None:
        """The reply is begun."""
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since the reply was begun."""
        return time.perf_counter() - self._began

    def say(
        self,
        text: str,
        reasoning: str = "",
        logprobs: tuple[DrawnToken, ...] = (),
        tool_calls: tuple[ToolCallPiece, ...] = (),
    ) -> None:
        """One piece."""
        if self.first_s is None:
            self.first_s = self.seconds
        self._replies.tell(Piece(self.index, text, reasoning, logprobs, tool_calls))


Maker = Callable[[Voice], Awaitable[Result]]


class Replies:
    """Several replies at once, heard by one listener.

    Args:
        makers: one for each reply.
        seconds: that each may take.
        at_once: how many are made at once; the others wait.
        keep: takes the task of a reply that is still being written down when its listener has left.
    """

    def __init__(
        self,
        makers: Sequence[Maker],
        *,
        seconds: float,
        at_once: int,
        keep: Callable[[asyncio.Task[Result]], None],
    ) -> None:
        self._seconds = seconds
        self._room = asyncio.Semaphore(at_once)
        self._keep = keep
        self._told: list[Piece] = []
        self._wake = asyncio.Event()
        self._stopped: ApiError | None = None
        self._voices = [Voice(index, self) for index in range(len(makers))]
        self._tasks = [
            asyncio.create_task(self._made(maker, voice)) for maker, voice in zip(makers, self._voices, strict=True)
        ]
        for task in self._tasks:
            task.add_done_callback(lambda _: self._wake.set())

    def tell(self, piece: Piece) -> None:
        """One more piece."""
        self._told.append(piece)
        self._wake.set()

    def stop(self, reason: ApiError) -> None:
        """End it for the listener with an error, and the replies with it."""
        self._stopped = reason
        self._wake.set()

    async def pieces(self) -> AsyncIterator[list[Piece]]:
        """Pieces as they come, all at once that have come since the last ones.

        Raises:
            ApiError: it was stopped, or a reply took too long.
            ScenepipeError: whatever a reply raised.
        """
        while True:
            told, self._told = self._told, []
            if told:
                yield told
            if self._stopped is not None:
                raise self._stopped
            for task in self._tasks:
                if task.done():
                    task.result()
            if not self._told and all(task.done() for task in self._tasks):
                return
            await self._wake.wait()
            self._wake.clear()

    async def results(self) -> list[Result]:
        """All replies, when they are whole and written down."""
        async for _ in self.pieces():
            pass
        return [task.result() for task in self._tasks]

    @property
    def finished(self) -> list[Result]:
        """The replies that are whole."""
        return [t.result() for t in self._tasks if t.done() and not t.cancelled() and t.exception() is None]

    async def aclose(self) -> None:
        """Stop what is still being said; what is whole goes on being written down, and nobody waits for it."""
        running = []
        for task, voice in zip(self._tasks, self._voices, strict=True):
            if not task.done() and voice.whole:
                self._keep(task)
            else:
                task.cancel()
                running.append(task)
        await asyncio.gather(*running, return_exceptions=True)

    async def _made(self, maker: Maker, voice: Voice) -> Result:
        try:
            async with self._room, asyncio.timeout(self._seconds):
                voice.begin()
                return await maker(voice)
        except TimeoutError:
            message = f"the reply took longer than {self._seconds:g} s; ask for fewer tokens"
            raise ApiError(504, message, kind="timeout", code="deadline") from None
