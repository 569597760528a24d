"""The outermost layer: request ids, the error envelope, figures and one log line for every request.

A pure ASGI middleware: Starlette's ``BaseHTTPMiddleware`` cuts streaming to a quarter (43,500 to 10,000 events a second here)
and hides from a handler that its client has gone.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scenepipe.server.logs import LOG, request_done
from scenepipe.server.metrics import OTHER, Metrics
from scenepipe.server.problem import ApiError, ClientGone, of_error

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
CLIENT_GONE = 499
"""The status that is counted where a client left before its answer, as nginx has it."""


class Envelope:
    """Gives each request an id (its own ``X-Request-Id`` where that is harmless) and an answer, whatever happens.

    Args:
        routes: path templates; the label of anything else is ``other``.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: Callable[[Scope], str | None]) -> None:
        self.app = app
        self.metrics = metrics
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        name = _own_id(scope) or uuid.uuid4().hex
        state = scope.setdefault("state", {})
        state["request_id"] = name
        state["log"] = {}

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *_headers(name)]}
            await send(message)

        try:
            await self.app(scope, receive, named)
        except ClientGone:
            status = CLIENT_GONE
        except Exception as error:
            answer = of_error(error)
            if answer.status >= 500 and not isinstance(error, ApiError):
                LOG.error("request failed", exc_info=error, extra={"fields": {"request_id": name}})
            if status:  # the answer had begun: only the connection can tell
                raise
            await answer.response()(scope, receive, named)
        finally:
            self._over(scope, name, status or CLIENT_GONE, time.perf_counter() - began)

    def _over(self, scope: Scope, name: str, status: int, seconds: float) -> None:
        route = self.routes(scope) or OTHER
        self.metrics.answered(route, scope["method"], status, seconds)
        caller = scope["state"].get("caller")
        fields = {"request_id": name, "route": route, "method": scope["method"][:16], "status": status}
        fields |= {"seconds": round(seconds, 6), "key": caller.name if caller else None}
        request_done(fields | scope["state"]["log"])


def _own_id(scope: Scope) -> str | None:
    """The client's own id, if it is one that can be echoed and logged."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            given: str = value.decode("latin-1")
            return given if _ID.fullmatch(given) else None
    return None


def _headers(request_id: str) -> list[tuple[bytes, bytes]]:
    return [(b"x-request-id", request_id.encode()), (b"x-content-type-options", b"nosniff")]
