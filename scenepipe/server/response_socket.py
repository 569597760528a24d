"""``WebSocket /v1/responses``: the Responses API over one connection, as openai-python's ``responses.connect()`` speaks it.

The client sends ``{"type": "response.create", …}`` with the body of ``POST /v1/responses`` beside the type; the server sends
the events that the stream would have, each a message. One response is made at a time; one for each lane where the client
names lanes (``stream_id``), which every event of theirs repeats.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket

from scenepipe.server.auth import Caller
from scenepipe.server.logs import LOG, request_done
from scenepipe.server.openai_types import ResponsesBody
from scenepipe.server.problem import ApiError, invalid, of_error
from scenepipe.server.response_form import Form
from scenepipe.server.responses import question_of
from scenepipe.server.service import Service
from scenepipe.server.sockets import Socket, ending
from scenepipe.server.turns import log_fields, spoken

ROUTE = "/v1/responses"
MOST_WAITING = 16
"""Responses of one connection, waiting or being made."""
_ONE_REQUEST = (b"idempotency-key", b"x-stainless-retry-count")
"""Headers that speak of one request; a handshake's would speak of all that follow it."""


async def response_socket(websocket: WebSocket) -> None:
    """One connection, from its handshake to its end; its responses end with it."""
    service: Service = websocket.app.state.service
    await websocket.accept()
    async with ending(websocket), service.socket():
        lanes = Lanes(websocket, service, websocket.scope["state"]["caller"])
        try:
            await lanes.serve()
        finally:
            await lanes.aclose()


class Lanes:
    """The responses of one connection."""

    def __init__(self, websocket: WebSocket, service: Service, caller: Caller) -> None:
        self._service = service
        self._caller = caller
        self._socket = Socket(websocket, service.settings, lambda error: self._failed(None, error))
        headers = [pair for pair in websocket.scope["headers"] if pair[0] not in _ONE_REQUEST]
        self._connection = HTTPConnection({"type": "websocket", "headers": headers})
        self._tasks: set[asyncio.Task[None]] = set()
        self._last: dict[str | None, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        """Until either side hangs up."""
        await self._socket.talk(self._take)

    async def aclose(self) -> None:
        """Stop what is being made."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, value: dict[str, Any]) -> None:
        lane = value.pop("stream_id", None)
        kind = value.pop("type", None)
        lane = lane if isinstance(lane, str) and len(lane) <= 128 else None
        if kind != "response.create":
            self._failed(
                lane, invalid(f"{str(kind)[:40]!r} is not taken; send 'response.create'", "type", "unsupported")
            )
        elif len(self._tasks) >= MOST_WAITING:
            message = f"{MOST_WAITING} responses of this connection wait already; wait for one of them"
            self._failed(lane, ApiError(429, message, code="too_many_requests", retry_after=1))
        else:
            task = asyncio.create_task(self._made(lane, value, self._last.get(lane)))
            self._tasks.add(task)
            self._last[lane] = task
            task.add_done_callback(lambda done: self._forget(lane, done))

    def _forget(self, lane: str | None, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._last.get(lane) is task:
            del self._last[lane]

    async def _made(self, lane: str | None, value: dict[str, Any], before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})
        began, status, told = time.perf_counter(), 499, dict[str, Any]()
        try:
            told = await self._spoken(lane, value)
            status = 200
        except Exception as error:
            answer = of_error(error)
            status = answer.status
            if status >= 500 and not isinstance(error, ApiError):
                LOG.error("a response failed", exc_info=error)
            self._failed(lane, answer)
        finally:
            self._over(status, time.perf_counter() - began, told)

    async def _spoken(self, lane: str | None, value: dict[str, Any]) -> dict[str, Any]:
        body = ResponsesBody.model_validate(value)
        question = question_of(self._connection, self._service, self._caller, body)
        made = spoken(self._service, self._caller, question, route=ROUTE, request_id=question.run)
        async with made as (turn, replies):
            async for group in Form(self._service, question, body, turn).events(replies):
                for each in group:
                    self._send(lane, each)
            return log_fields(self._service, question, replies)

    def _send(self, lane: str | None, value: dict[str, Any]) -> None:
        self._socket.send(value if lane is None else value | {"stream_id": lane})

    def _failed(self, lane: str | None, error: ApiError) -> None:
        told = {"type": "error", "status": error.status, **error.body()}
        if error.retry_after is not None:
            told["error"]["headers"] = {"retry-after": str(max(1, round(error.retry_after)))}
        self._send(lane, told)

    def _over(self, status: int, seconds: float, told: dict[str, Any]) -> None:
        self._service.metrics.answered(ROUTE, "WS", status, seconds)
        fields = {"route": ROUTE, "method": "WS", "status": status, "seconds": round(seconds, 6)}
        request_done(fields | {"key": self._caller.name} | told)
