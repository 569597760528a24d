"""OpenTelemetry spans from the same events, where an endpoint is set; nothing at all otherwise.

Names follow the GenAI semantic conventions, which are still in development (open-telemetry/semantic-conventions-genai): they
stand in this file alone. No span holds what was said.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from scenepipe import events as ev
from scenepipe.errors import MissingExtraError

if TYPE_CHECKING:
    from scenepipe.server.replies import Result, Voice

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_NANO = 1_000_000_000
_CURRENT: ContextVar[Any] = ContextVar("scenepipe_span", default=None)


class Spans:
    """Spans of a server: one for each reply, and one in it for each stage.

    Args:
        tracer: of OpenTelemetry; None makes no spans.
        system: name of the engine.
    """

    def __init__(self, tracer: Any = None, system: str = "scenepipe") -> None:
        self._tracer = tracer
        self._system = system

    def stage(self, event: ev.StageFinished) -> None:
        """A stage is over."""
        if self._tracer is not None:
            end = time.time_ns()
            start = end - int(event.seconds * _NANO)
            span = self._tracer.start_span(f"stage {event.stage}", start_time=start, context=_CURRENT.get())
            span.set_attribute("scenepipe.stage", event.stage)
            span.end(end)

    def replied(self, model: str, result: Result, voice: Voice) -> None:
        """A reply is over."""
        if self._tracer is None:
            return
        end = time.time_ns()
        start = end - int(voice.seconds * _NANO)
        span = self._tracer.start_span(f"chat {model}", start_time=start, context=_CURRENT.get())
        span.set_attributes(
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": self._system,
                "gen_ai.request.model": model,
                "gen_ai.response.finish_reasons": (result.finish,),
                "gen_ai.usage.input_tokens": result.usage.prompt_tokens,
                "gen_ai.usage.output_tokens": result.usage.reply_tokens,
            }
        )
        if voice.first_s is not None:
            span.set_attribute("gen_ai.server.time_to_first_token", voice.first_s)
        span.end(end)

    def request(self, route: str, request_id: str) -> _RequestSpan:
        """The span around one request."""
        return _RequestSpan(self._tracer, route, request_id)


class _RequestSpan:
    """A context in which the spans of replies and stages are children of the request's."""

    def __init__(self, tracer: Any, route: str, request_id: str) -> None:
        self._tracer = tracer
        self._route = route
        self._id = request_id

    def __enter__(self) -> None:
        if self._tracer is not None:
            from opentelemetry import trace

            self._span = self._tracer.start_span(f"POST {self._route}")
            self._span.set_attributes({"http.route": self._route, "scenepipe.request_id": self._id})
            self._token = _CURRENT.set(trace.set_span_in_context(self._span))

    def __exit__(self, *error: object) -> None:
        if self._tracer is not None:
            _CURRENT.reset(self._token)
            self._span.end()


def tracer_of(environment: Mapping[str, str] = os.environ) -> Any:
    """A tracer that exports to the endpoint of the environment; None where none is set.

    Raises:
        MissingExtraError: an endpoint is set, and what exports to it is not installed.
    """
    if not any(environment.get(name) for name in ENDPOINTS):
        return None
    module = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    for needed in ("opentelemetry.sdk", module):
        if not _installed(needed):
            raise MissingExtraError("sending OpenTelemetry spans", needed, "server")
    from opentelemetry import trace

    sdk: Any = importlib.import_module("opentelemetry.sdk.trace")
    export: Any = importlib.import_module("opentelemetry.sdk.trace.export")
    exporter: Any = importlib.import_module(module)
    provider = sdk.TracerProvider()
    provider.add_span_processor(export.BatchSpanProcessor(exporter.OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return trace.get_tracer("scenepipe.server")


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
