"""What the routes share: the pipeline, who may be asked, the queue, and the replies that are being made."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.requests import Request as HttpRequest

from scenepipe.contracts import Archive, Backend
from scenepipe.documents.reader import Reader
from scenepipe.errors import ScenepipeError
from scenepipe.pipeline import Pipeline
from scenepipe.server.admission import AHEAD, Admission
from scenepipe.server.asking import Wishes
from scenepipe.server.auth import ANYONE, Caller
from scenepipe.server.hub import Hub
from scenepipe.server.logs import LOG
from scenepipe.server.makers import Made, Through
from scenepipe.server.metrics import Metrics
from scenepipe.server.places import Places
from scenepipe.server.problem import ApiError, invalid
from scenepipe.server.replies import Maker, Replies, Result
from scenepipe.server.settings import Settings
from scenepipe.server.tracing import Spans
from scenepipe.server.voices import Voices

_LAST_WORDS_S = 2.0


class Service:
    """One pipeline that is served.

    Args:
        spans: where spans go; nowhere by default.
    """

    def __init__(self, pipeline: Pipeline, settings: Settings, *, spans: Spans | None = None) -> None:
        self.pipeline = pipeline
        self.settings = settings
        self.voices = Voices(pipeline)
        self.metrics = Metrics(self.voices.names, [step.name for step in pipeline.steps])
        self.spans = spans or Spans()
        self.through = Through(pipeline)
        self.reader = Reader(pipeline)
        self.hub = Hub()
        self._sockets = 0
        self.ready = False
        self._stopped: ApiError | None = None
        self.broken: str | None = None
        self._replies: set[Replies] = set()
        self._kept: set[asyncio.Task[Result]] = set()
        backend = pipeline.resources.backend
        parallel = backend.capabilities.parallel if backend is not None else 1
        self.admission = Admission(
            settings.in_flight or AHEAD * parallel,
            waiting=settings.waiting,
            wait_s=settings.queue_s,
            per_key=settings.per_key,
            rejected=self.metrics.rejected,
            waited=self.metrics.waited,
        )
        self.metrics.gauges(
            requests_running=lambda: self.admission.running,
            requests_waiting=lambda: self.admission.waiting,
            sockets_open=lambda: self._sockets,
            replies_being_written=lambda: len(self._kept),
            ready=lambda: float(self.is_ready),
        )

    # --- the pipeline ------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the stages and the archive; the engine goes on loading.

        Raises:
            ScenepipeError: what refused to open.
        """
        await self.reader.open()
        await self.pipeline.aopen()

    async def wait_for_engine(self) -> None:
        """Until the engine has loaded. One that cannot leaves the server up, and unready with the reason in its log."""
        try:
            await self.pipeline.ready()
            self.ready = True
            LOG.info("ready", extra={"fields": {"pipeline": self.pipeline.name, "models": self.voices.names}})
        except ScenepipeError as error:
            self.broken = str(error)
            LOG.error("the engine did not open", exc_info=error)

    async def aclose(self) -> None:
        """Wait for what is being written down, then close the pipeline."""
        await asyncio.gather(*self._kept, return_exceptions=True)
        await self.reader.aclose()
        await self.pipeline.aclose()

    @property
    def draining(self) -> bool:
        """Whether the server is about to stop."""
        return self.admission.draining

    @property
    def is_ready(self) -> bool:
        """Whether a request would be answered: engine loaded, queue not full, not about to stop."""
        return self.ready and not self.draining and not self.admission.full

    @property
    def archive(self) -> Archive | None:
        """Where turns are kept, if the pipeline remembers."""
        return self.pipeline.resources.archive

    @property
    def remembers(self) -> bool:
        """Whether a stage of the pipeline writes turns down."""
        return any("archive" in step.needs and not step.writes for step in self.pipeline.steps)

    def remembering(self) -> Archive:
        """The archive.

        Raises:
            ApiError: the pipeline has none.
        """
        if self.archive is None:
            raise invalid(f"pipeline '{self.pipeline.name}' has no memory; add 'memory:' to it", code="no_memory")
        return self.archive

    def backend(self) -> Backend:
        """The engine; it may still be loading.

        Raises:
            ApiError: the pipeline has none, or it could not be loaded.
        """
        backend = self.pipeline.resources.backend
        if backend is None:
            raise invalid(
                f"pipeline '{self.pipeline.name}' has no engine; it reads scenes: /v1/scenes", "model", "no_engine"
            )
        if self.broken is not None:
            raise ApiError(503, f"the engine could not be opened: {self.broken}", code="engine_unavailable")
        return backend

    def speaking(self) -> None:
        """Refuse chats with a pipeline that gives no replies.

        Raises:
            ApiError: no stage of it writes a reply.
        """
        self.backend()
        if "reply" not in self.pipeline.writes:
            raise invalid(f"pipeline '{self.pipeline.name}' gives no replies; add 'decode'", "model", "no_replies")

    def wishes(self) -> Wishes:
        """The checks of a request against the engine."""
        backend = self.backend()
        return Wishes(backend.capabilities, backend.name, self.settings)

    def made(self, model: str | None) -> Made:
        """What makers of replies need."""
        return Made(self.pipeline, self.metrics, self.spans, model or self.pipeline.name, self.hub)

    def places(self, caller: Caller) -> Places | None:
        """Finds the places of turns; None without an archive."""
        if self.archive is None:
            return None
        return Places(self.archive, caller.namespace, self.settings.most_turns)

    def fingerprint(self) -> str:
        """What of the engine may change what a seed gives."""
        model, backend = self.pipeline.resources.model, self.pipeline.resources.backend
        return f"fp_{model.sha256[:12]}" if model is not None else f"fp_{backend.name if backend else 'none'}"

    # --- replies -----------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def replies(self, makers: Sequence[Maker]) -> AsyncIterator[Replies]:
        """Replies of a request that has its place; stopped when the block is left.

        Raises:
            ApiError: the server stops.
        """
        if self._stopped is not None:
            raise self._stopped
        settings = self.settings
        replies = Replies(makers, seconds=settings.request_s, at_once=settings.most_choices, keep=self._keep)
        self._replies.add(replies)
        try:
            yield replies
        finally:
            self._replies.discard(replies)
            await replies.aclose()

    @contextlib.asynccontextmanager
    async def socket(self) -> AsyncIterator[None]:
        """A WebSocket is open in this block."""
        self._sockets += 1
        try:
            yield
        finally:
            self._sockets -= 1

    def _keep(self, task: asyncio.Task[Result]) -> None:
        """A reply whose listener has left is still written down."""
        self._kept.add(task)
        task.add_done_callback(self._kept.discard)
        task.add_done_callback(_log_failure)

    # --- stopping ----------------------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Refuse what is new, let the rest finish within its time, then end it with an error that says why."""
        self.admission.draining = True
        await self._settled(self.settings.drain_s)
        self._stopped = ApiError(503, "the server stops", code="draining", retry_after=2)
        self.admission.turn_away()
        for replies in tuple(self._replies):
            replies.stop(self._stopped)
        await self._settled(_LAST_WORDS_S)

    async def _settled(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.admission.idle()
                while self._kept:
                    await asyncio.wait(self._kept)


def _log_failure(task: asyncio.Task[Result]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        LOG.error("a reply that nobody waits for failed", exc_info=error)


def service_of(request: HttpRequest) -> Service:
    """The service of the application that a request came to."""
    found: Service = request.app.state.service
    return found


def caller_of(request: HttpRequest) -> Caller:
    """Whose request it is."""
    found: Caller = request.scope["state"].get("caller", ANYONE)
    return found


def note(request: HttpRequest, **fields: Any) -> None:
    """Put figures into the log line of this request."""
    request.scope["state"]["log"].update({name: value for name, value in fields.items() if value is not None})
