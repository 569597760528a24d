"""Server-sent events as every client of the OpenAI API can read them, and answers that end when their client leaves.

Each event is ``data: JSON`` and a blank line; ``event:`` stands before it only where the Responses API has it. No ``id:``, no
``retry:``, no comment: openai-python 3.52 fails on the first two, ``vllm bench`` loses events after the third.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from pydantic_core import to_json
from starlette.types import Message, Receive, Scope, Send

from scenepipe.server.logs import LOG
from scenepipe.server.problem import JSON, ApiError, ClientGone, of_error

DONE = b"data: [DONE]\n\n"
HEADERS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache", "x-accel-buffering": "no"}
Work = Callable[["Reach"], Awaitable[None]]


def event(value: Any, name: str | None = None) -> bytes:
    """One event."""
    head = b"event: " + name.encode() + b"\n" if name else b""
    return head + b"data: " + to_json(value) + b"\n\n"


class Reach:
    """The way to one client: sends an answer whole, or as a stream that begins with its first event."""

    def __init__(self, send: Send, stall_s: float) -> None:
        self._send_now = send
        self._stall_s = stall_s
        self.begun = False

    async def whole(self, value: Any, headers: Mapping[str, str] | None = None) -> None:
        """An answer in one piece.

        Raises:
            ClientGone: the client left it unread for too long.
        """
        body = to_json(value)
        await self._start({"content-type": JSON, "content-length": str(len(body)), **(headers or {})})
        await self._send({"type": "http.response.body", "body": body})

    async def stream(self, chunks: AsyncIterator[bytes], headers: Mapping[str, str] | None = None) -> None:
        """A stream. What is raised before its first chunk is still an error of its own, with a status.

        Raises:
            ClientGone: the client left the stream unread for too long.
        """
        async for chunk in chunks:
            if not self.begun:
                await self._start(HEADERS | dict(headers or {}))
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        await self._send({"type": "http.response.body", "body": b""})

    async def _start(self, headers: Mapping[str, str]) -> None:
        self.begun = True
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": 200, "headers": raw})

    async def _send(self, message: Message) -> None:
        try:
            async with asyncio.timeout(self._stall_s):
                await self._send_now(message)
        except TimeoutError:
            raise ClientGone(f"the client read nothing for {self._stall_s:g} s") from None


class Answer:
    """An answer whose work is cancelled when the client leaves, in a stream or out of one.

    Starlette cancels streams alone; a plain handler runs to its end for nobody.
    """

    def __init__(self, work: Work, *, stall_s: float) -> None:
        self._work = work
        self._stall_s = stall_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Do the work, or stop it.

        Raises:
            ClientGone: the client left first.
        """
        reach = Reach(send, self._stall_s)
        work = asyncio.ensure_future(self._work(reach))
        gone = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            left = not work.done()
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)
        if left:
            raise ClientGone
        work.result()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def failed(error: ApiError) -> bytes:
    """The end of a stream that failed, as all but the Responses API have it."""
    return event(error.body()) + DONE


async def with_errors(
    chunks: AsyncIterator[bytes], worded: Callable[[ApiError], bytes] = failed
) -> AsyncIterator[bytes]:
    """The chunks; an error after the first of them becomes a chunk itself, and the stream ends as it should."""
    begun = False
    try:
        async for chunk in chunks:
            yield chunk
            begun = True
    except Exception as error:
        if not begun or isinstance(error, ClientGone):
            raise
        LOG.error("a stream failed after it had begun", exc_info=error)
        yield worded(of_error(error))
