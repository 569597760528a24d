"""A server as a process: listens, and stops without cutting anybody off.

The first SIGTERM or SIGINT drains: ``/ready`` says so, new requests are refused, running replies have their time, what is
left after it ends with an error that says why, and what is being written is written. The second one stops at once.
"""

from __future__ import annotations

import asyncio
import os
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from scenepipe.errors import ConfigError, Fault
from scenepipe.pipeline import Pipeline
from scenepipe.server.app import NO_KEYS, build_app
from scenepipe.server.auth import Keys, key_line, parse_keys, read_keys
from scenepipe.server.logs import LOG
from scenepipe.server.protocol import BoundedSocket, bounded
from scenepipe.server.service import Service
from scenepipe.server.settings import Settings, refuse_open_bind
from scenepipe.server.tracing import Spans, tracer_of

KEY_VARIABLE = "SCENEPIPE_API_KEY"
LEAVE_S = 2
"""Seconds that connections have to close when nothing runs on them any more."""


class Server(uvicorn.Server):
    """A uvicorn server that drains before it stops."""

    def __init__(self, app: Starlette, settings: Settings) -> None:
        self._service: Service = app.state.service
        self._loop: asyncio.AbstractEventLoop | None = None
        self._drain: asyncio.Task[None] | None = None
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                http=bounded(settings),
                ws=BoundedSocket,
                ws_max_size=settings.body_bytes,
                ws_per_message_deflate=False,  # a compressed megabyte unfolds to a gigabyte before its size is known
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=LEAVE_S,
            )
        )

    @property
    def port(self) -> int:
        """The port that it listens on."""
        found: int = self.servers[0].sockets[0].getsockname()[1]
        return found

    async def startup(self, sockets: object = None) -> None:
        """Listen, and say where."""
        self._loop = asyncio.get_running_loop()
        await super().startup()
        url = f"http://{self.config.host}:{self.port}"
        LOG.info("listening", extra={"fields": {"url": url, "port": self.port, "pid": os.getpid()}})

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, stop at once at the second."""
        if self._drain is not None or self._loop is None:
            self.force_exit = self.should_exit = True
            return
        self._loop.call_soon_threadsafe(self.begin_drain)

    def begin_drain(self) -> None:
        """Stop taking new requests; stop altogether when the running ones are done."""
        if self._drain is None:
            self._drain = asyncio.create_task(self._drained())

    async def _drained(self) -> None:
        LOG.info("draining", extra={"fields": {"running": self._service.admission.running}})
        try:
            await self._service.drain()
        finally:
            self.should_exit = True


async def serve(pipeline: Pipeline, settings: Settings) -> None:
    """Serve a pipeline until a signal comes.

    Raises:
        ConfigError: a public address without keys, a keys file that cannot be read.
        MissingExtraError: spans are wanted and cannot be sent.
        ScenepipeError: what refused to open.
    """
    keys = keys_of(settings)
    refuse_open_bind(settings, keys=len(keys))
    backend = pipeline.resources.backend
    spans = Spans(tracer_of(), backend.name if backend is not None else "scenepipe")
    app = build_app(pipeline, settings, keys=keys, spans=spans)
    try:
        await app.state.service.open()
        await Server(app, settings).serve()
    finally:
        await pipeline.aclose()


def keys_of(settings: Settings) -> Keys:
    """The keys of the settings' file, or the one of the environment (``SCENEPIPE_API_KEY``).

    Raises:
        ConfigError: the file cannot be read, or holds none: a server that was given keys is never open.
    """
    if settings.keys is not None:
        keys = read_keys(settings.keys)
        if not len(keys):
            fault = Fault("keys", f"{settings.keys} holds no key; 'scenepipe key NAME --file {settings.keys}' adds one")
            raise ConfigError([fault], "serve")
        return keys
    alone = os.environ.get(KEY_VARIABLE)
    return parse_keys([key_line("default", alone)], KEY_VARIABLE) if alone else NO_KEYS
