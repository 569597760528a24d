"""OpenTelemetry spans from the same events, where an endpoint is set; nothing at all otherwise.

Names follow the GenAI semantic conventions, which are still in development (open-telemetry/semantic-conventions-genai): they
stand in this file alone. No span holds what was said.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from scenepipe import events as ev
from scenepipe.errors import MissingExtraError
from scenepipe.registry import installed

if TYPE_CHECKING:
    from scenepipe.server.replies import Result, Voice

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_NANO = 1_000_000_000


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
            span = self._tracer.start_span(f"stage {event.stage}", start_time=start)
            span.set_attribute("scenepipe.stage", event.stage)
            span.end(end)

    def replied(self, model: str, result: Result, voice: Voice) -> None:
        """A reply is over."""
        if self._tracer is None:
            return
        end = time.time_ns()
        start = end - int(voice.seconds * _NANO)
        span = self._tracer.start_span(f"chat {model}", start_time=start)
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

    def request(self, route: str, request_id: str) -> AbstractContextManager[Any]:
        """The span around one request; those of its replies and stages are its children. No error's words are in it."""
        if self._tracer is None:
            return nullcontext()
        span: AbstractContextManager[Any] = self._tracer.start_as_current_span(
            f"POST {route}",
            attributes={"http.route": route, "scenepipe.request_id": request_id},
            record_exception=False,
            set_status_on_exception=False,
        )
        return span


def tracer_of(environment: Mapping[str, str] = os.environ) -> Any:
    """A tracer that exports to the endpoint of the environment; None where none is set.

    Raises:
        MissingExtraError: an endpoint is set, and what exports to it is not installed.
    """
    if not any(environment.get(name) for name in ENDPOINTS):
        return None
    module = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    for needed in ("opentelemetry.sdk", module):
        if not installed(needed):
            raise MissingExtraError("sending OpenTelemetry spans", needed, "otel")
    from opentelemetry import trace

    sdk: Any = importlib.import_module("opentelemetry.sdk.trace")
    export: Any = importlib.import_module("opentelemetry.sdk.trace.export")
    exporter: Any = importlib.import_module(module)
    provider = sdk.TracerProvider()
    provider.add_span_processor(export.BatchSpanProcessor(exporter.OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return trace.get_tracer("scenepipe.server")
