"""What an operator's machines ask: ``/health``, ``/ready``, ``/metrics``. None of them ever runs a model."""

from __future__ import annotations

from pydantic_core import to_json
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from scenepipe.server.problem import JSON
from scenepipe.server.service import service_of


async def health(request: HttpRequest) -> Response:
    """The process and its event loop are alive."""
    return Response(b'{"status":"ok"}', media_type=JSON)


async def ready(request: HttpRequest) -> Response:
    """A request would be answered: the engine has loaded, the queue is not full, the server is not about to stop."""
    service = service_of(request)
    if service.is_ready:
        return Response(b'{"status":"ready"}', media_type=JSON)
    reason = (
        "draining" if service.draining else "engine" if service.broken else "loading" if not service.ready else "full"
    )
    return Response(to_json({"status": "unready", "reason": reason}), 503, {"Retry-After": "2"}, JSON)


async def metrics(request: HttpRequest) -> Response:
    """Figures for Prometheus."""
    figures = service_of(request).metrics
    return Response(figures.text(), headers={"content-type": figures.content_type})
