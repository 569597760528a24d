"""HTTP on the wire, with bounds that uvicorn does not have: how long a head may be, how slowly it may come, how many connect.

What is refused here is refused before there is a request, and still in the envelope.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from pydantic_core import to_json
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from scenepipe.server.problem import ApiError
from scenepipe.server.settings import Settings

LAST_WORDS_S = 2.0


class Bounded(HttpToolsProtocol):
    """One connection. Its bounds stand in the settings of the class that `bounded` makes."""

    settings = Settings()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._in_head = True
        self._refused = False
        self._head_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        if len(self.connections) > self.settings.connections:
            self._refuse(503, "connections", "too many connections are open; try again later")
        else:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head."""
        if self._refused:
            return
        if self._in_head:
            self._head_bytes += len(data)
            self._wait_for_head()
        super().data_received(data)
        if self._in_head and self._head_bytes > self.settings.head_bytes:
            self._too_long()

    def on_headers_complete(self) -> None:
        """A head is whole: is it too long, although it came at once?"""
        self._in_head = False
        self._stop_waiting()
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.settings.head_bytes:
            self._too_long()
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole; what comes next is a head again."""
        self._in_head, self._head_bytes = True, 0
        if not self._refused:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What cannot be parsed."""
        self._refuse(400, "invalid_http", "this is not an HTTP request")

    def _wait_for_head(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.settings.read_s, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if self._in_head:
            self._refuse(408, "head_timeout", f"no request arrived within {self.settings.read_s:g} s")

    def _too_long(self) -> None:
        most = self.settings.head_bytes
        self._refuse(431, "head_too_large", f"the request's head has more than {most} bytes; send fewer headers")

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer and hang up; while an answer is under way, hang up alone."""
        if self._refused:
            return
        self._refused = True
        self._stop_waiting()
        if self.cycle is None or self.cycle.response_complete:
            body = to_json(ApiError(status, message, code=code).body())
            head = (
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()


class BoundedSocket(WebSocketsSansIOProtocol):
    """A WebSocket whose connection ends soon after its work, although the client may never read what was sent last."""

    async def run_asgi(self) -> None:
        """Do the work; whatever is unread two seconds later is lost."""
        try:
            await super().run_asgi()
        finally:
            self.loop.call_later(LAST_WORDS_S, self.transport.abort)


def bounded(settings: Settings) -> type[Bounded]:
    """The protocol with these bounds."""
    return type("BoundedHttp", (Bounded,), {"settings": settings})
