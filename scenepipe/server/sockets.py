"""A WebSocket with bounds: how much a client may send, how fast, and how far it may fall behind.

Whoever breaks one is hung up on, with the code that says why:

========  ==========================================================================
1003      a binary message
1008      no valid key, or more messages than ``messages_s`` allows
1009      a message longer than ``body_bytes`` (uvicorn says so itself)
1012      the server stops
1013      more than ``unread_bytes`` wait for it, or it read nothing for ``stall_s``
========  ==========================================================================
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic_core import to_json
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from scenepipe.server.limits import parsed
from scenepipe.server.problem import ApiError, invalid
from scenepipe.server.settings import Settings

BURST_S = 3.0
"""Seconds' worth of messages that may come at once."""
CLOSE_S = 1.0


class HangUp(Exception):
    """The end of a connection, by the server."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Socket:
    """One accepted connection: one task writes, one reads; `tell` never waits.

    Args:
        refused: told of each message that is no JSON object.
    """

    def __init__(self, websocket: WebSocket, settings: Settings, refused: Callable[[ApiError], None]) -> None:
        self._websocket = websocket
        self._settings = settings
        self._refused = refused
        self._frames: deque[str] = deque()
        self._size = 0
        self._wake = asyncio.Event()
        self._end: HangUp | None = None
        self._left = BURST_S * settings.messages_s
        self._counted = time.monotonic()

    def tell(self, frame: str) -> None:
        """Send a message as soon as the client reads. One that is too far behind gets no more, and is hung up on."""
        self._size += len(frame)
        if self._size > self._settings.unread_bytes:
            self.hang_up(1013, "too much is unread; read faster")
        elif self._end is None:
            self._frames.append(frame)
            self._wake.set()

    def send(self, value: Any) -> None:
        """`tell` a value as JSON."""
        self.tell(to_json(value).decode())

    def hang_up(self, code: int, reason: str) -> None:
        """End the connection; nothing more is sent."""
        if self._end is None:
            self._end = HangUp(code, reason)
            self._frames.clear()
        self._wake.set()

    async def next(self) -> dict[str, Any]:
        """The next message that is a JSON object.

        Raises:
            HangUp: the client broke a bound.
            WebSocketDisconnect: it has gone.
        """
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1005))
            self._count()
            if (text := message.get("text")) is None:
                raise HangUp(1003, "messages are text: JSON")
            try:
                value = parsed(text.encode("utf-8", "surrogatepass"))
                if not isinstance(value, dict):
                    raise invalid("a message is a JSON object", code="invalid_json")
                return value
            except ApiError as error:
                self._refused(error)

    async def talk(self, take: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        """Read and write until either side hangs up.

        Args:
            take: called with each message; the next one is read when it returns.
        """

        async def read() -> None:
            while True:
                await take(await self.next())

        tasks = {asyncio.create_task(read()), asyncio.create_task(self._write())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _count(self) -> None:
        now, rate = time.monotonic(), self._settings.messages_s
        self._left = min(BURST_S * rate, self._left + (now - self._counted) * rate) - 1
        self._counted = now
        if self._left < 0:
            raise HangUp(1008, f"more than {rate:g} messages a second; send fewer")

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._frames:
                frame = self._frames.popleft()
                try:
                    async with asyncio.timeout(self._settings.stall_s):
                        await self._websocket.send_text(frame)
                except TimeoutError:
                    raise HangUp(1013, f"nothing was read for {self._settings.stall_s:g} s") from None
                self._size -= len(frame)
            if self._end is not None:
                raise self._end


@contextlib.asynccontextmanager
async def ending(websocket: WebSocket) -> Any:
    """Closes the connection as the block's end says: a `HangUp` with its code, a client that went with none."""
    code, reason = 1000, ""
    try:
        yield
    except WebSocketDisconnect:
        pass
    except HangUp as end:
        code, reason = end.code, end.reason
    finally:
        states = (websocket.application_state, websocket.client_state)
        if WebSocketState.DISCONNECTED not in states:
            with contextlib.suppress(TimeoutError, RuntimeError, WebSocketDisconnect):
                async with asyncio.timeout(CLOSE_S):
                    await websocket.close(code, reason)
