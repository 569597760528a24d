"""The application: routes, and the layers around them. Every layer is pure ASGI."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route, WebSocketRoute
from starlette.types import Scope

from scenepipe.pipeline import Pipeline
from scenepipe.server import drawn, health, reading
from scenepipe.server.auth import PUBLIC, Guard, Keys
from scenepipe.server.bridge import bridge
from scenepipe.server.chat import chat_completions
from scenepipe.server.completions import completions
from scenepipe.server.embeddings import Embedder, embeddings
from scenepipe.server.envelope import Envelope
from scenepipe.server.openapi import openapi
from scenepipe.server.pages import STUDIO, studio_routes
from scenepipe.server.problem import ApiError
from scenepipe.server.response_socket import response_socket
from scenepipe.server.responses import responses
from scenepipe.server.service import Service, service_of
from scenepipe.server.settings import Settings
from scenepipe.server.tracing import Spans

NO_KEYS = Keys({})


def build_app(
    pipeline: Pipeline, settings: Settings | None = None, *, keys: Keys = NO_KEYS, spans: Spans | None = None
) -> Starlette:
    """A pipeline as an ASGI application; its ``state.service`` is the `Service`. Opens nothing before it is started."""
    settings = settings or Settings()
    service = Service(pipeline, settings, spans=spans)
    public = PUBLIC | STUDIO | ({"/metrics"} if settings.public_metrics else frozenset())
    table = routes()
    layers = [_cors(settings.origins)] if settings.origins else []  # outermost: pages may read errors, too
    layers.append(Middleware(Envelope, metrics=service.metrics, routes=_Templates(table).of))
    layers.append(Middleware(Guard, keys=keys, settings=settings, public=public))
    app = Starlette(
        routes=[*table, *sockets()],
        middleware=layers,
        exception_handlers={HTTPException: _envelope},
        lifespan=_lifespan,
    )
    app.router.redirect_slashes = False
    app.state.service = service
    app.state.embedder = Embedder(pipeline.resources.encoder, pipeline.name, opened="encoder" in pipeline.needs)
    return app


def routes() -> list[Route]:
    """Everything that is served; the OpenAI routes without ``/v1``, too, which people forget."""
    found = [
        Route("/health", health.health, methods=["GET"]),
        Route("/ready", health.ready, methods=["GET"]),
        Route("/metrics", health.metrics, methods=["GET"]),
        Route("/openapi.json", openapi, methods=["GET"]),
        Route("/v1/scenes", reading.scenes, methods=["POST"]),
        Route("/v1/tokenize", reading.tokenize, methods=["POST"]),
        Route("/v1/memory/search", reading.search, methods=["POST"]),
        Route("/v1/explain", reading.explain, methods=["POST"]),
        Route("/v1/draw", drawn.draw, methods=["POST"]),
        Route("/v1/memory/graph", drawn.graph, methods=["POST"]),
        *studio_routes(),
    ]
    for root in ("/v1", ""):
        found += [
            Route(f"{root}/models", models, methods=["GET"]),
            Route(f"{root}/models/{{model:path}}", model, methods=["GET"]),
            Route(f"{root}/chat/completions", chat_completions, methods=["POST"]),
            Route(f"{root}/completions", completions, methods=["POST"]),
            Route(f"{root}/responses", responses, methods=["POST"]),
            Route(f"{root}/embeddings", embeddings, methods=["POST"]),
        ]
    return found


def sockets() -> list[WebSocketRoute]:
    """What is spoken over WebSockets."""
    return [
        WebSocketRoute("/v1/bridge", bridge),
        WebSocketRoute("/v1/responses", response_socket),
        WebSocketRoute("/responses", response_socket),
    ]


async def models(request: HttpRequest) -> Response:
    """The pipeline, the base and every register."""
    return JSONResponse(service_of(request).voices.listed())


async def model(request: HttpRequest) -> Response:
    """One of them, or a mixture."""
    return JSONResponse(service_of(request).voices.known(request.path_params["model"]))


async def _envelope(request: HttpRequest, error: Exception) -> Response:
    """404 and 405 of the router, in the envelope."""
    assert isinstance(error, HTTPException)
    path, method = request.url.path[:200], request.method[:20]
    if error.status_code == 405:
        message = f"{path} does not take {method}; see the Allow header"
        return ApiError(405, message, code="method_not_allowed", headers=error.headers).response()
    if error.status_code == 404:
        return ApiError(404, f"there is nothing at {path}", code="not_found").response()
    return ApiError(error.status_code, str(error.detail), headers=error.headers).response()


@contextlib.asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    service: Service = app.state.service
    await service.open()
    loading = asyncio.create_task(service.wait_for_engine())
    try:
        yield
    finally:
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        await service.aclose()


class _Templates:
    """Path templates of a route table, for labels."""

    def __init__(self, table: list[Route]) -> None:
        self._exact = {route.path: route.path for route in table if "{" not in route.path}
        self._others = [route for route in table if "{" in route.path]

    def of(self, scope: Scope) -> str | None:
        """The template that a request's path fits; None for a path that is not served."""
        path = scope["path"]
        if path in self._exact:
            return self._exact[path]
        return next((r.path for r in self._others if r.matches(scope)[0] != Match.NONE), None)


def _cors(origins: tuple[str, ...]) -> Any:
    return Middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=["GET", "POST"],
        allow_headers=["*"],  # openai-node sends ten of its own, x-stainless-*
        expose_headers=["x-request-id", "x-scenepipe-chat", "x-scenepipe-tip", "retry-after", "x-should-retry"],
    )
