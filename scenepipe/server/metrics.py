"""Figures for Prometheus. Labels come from closed sets: routes, stages, registers, reasons; never a chat, a user or a text."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from scenepipe.scene import Usage

OTHER = "other"
_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The server's figures, in a registry of its own.

    Args:
        models: labels for who spoke; anything else is counted as ``other``.
        stages: labels for stages.
    """

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, models: Iterable[str], stages: Iterable[str]) -> None:
        self.registry = CollectorRegistry()
        self._models, self._stages = frozenset(models), frozenset(stages)
        r = self.registry
        self._requests = Counter("scenepipe_requests", "Requests answered.", ["route", "method", "status"], registry=r)
        self._seconds = Histogram(
            "scenepipe_request_seconds",
            "From a request's head to its last byte.",
            ["route"],
            registry=r,
            buckets=_SECONDS,
        )
        self._rejections = Counter("scenepipe_admission_rejections", "Requests refused.", ["reason"], registry=r)
        self._queue = Histogram("scenepipe_queue_seconds", "Wait for a place.", registry=r, buckets=_SECONDS)
        self._first = Histogram(
            "scenepipe_time_to_first_token_seconds", "From a place to the first token.", ["model"], registry=r,
            buckets=_SECONDS,
        )  # fmt: skip
        self._each = Histogram(
            "scenepipe_time_per_output_token_seconds", "Between tokens of one reply, its mean.", ["model"], registry=r,
            buckets=_SECONDS,
        )  # fmt: skip
        self._prompt = Counter("scenepipe_prompt_tokens", "Tokens of prompts.", ["model"], registry=r)
        self._reply = Counter("scenepipe_generation_tokens", "Tokens of replies.", ["model"], registry=r)
        self._finished = Counter(
            "scenepipe_replies", "Replies by how they ended.", ["model", "finish_reason"], registry=r
        )
        self._stage = Histogram(
            "scenepipe_stage_seconds", "Time of a scene in a stage.", ["stage"], registry=r, buckets=_SECONDS
        )
        self._remembered = Counter("scenepipe_scenes_remembered", "Turns written to the archive.", registry=r)
        self._side = Counter("scenepipe_side_requests", "Titles, tags and the like, which are no scenes.", registry=r)

    def gauges(self, **now: Callable[[], float]) -> None:
        """Figures that are read when somebody looks: ``requests_running``, ``requests_waiting``, …"""
        for name, value in now.items():
            Gauge(f"scenepipe_{name}", f"{name.replace('_', ' ')} now.", registry=self.registry).set_function(value)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """One request is over."""
        self._requests.labels(route, method if method in _METHODS else OTHER, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def rejected(self, reason: str) -> None:
        self._rejections.labels(reason).inc()

    def waited(self, seconds: float) -> None:
        self._queue.observe(seconds)

    def stage(self, name: str, seconds: float) -> None:
        self._stage.labels(name if name in self._stages else OTHER).observe(seconds)

    def replied(self, model: str, finish: str, usage: Usage, first_s: float | None, whole_s: float) -> None:
        """One reply is over; ``first_s`` is None where no token came."""
        model = self._known(model)
        self._finished.labels(model, finish).inc()
        self._prompt.labels(model).inc(usage.prompt_tokens)
        self._reply.labels(model).inc(usage.reply_tokens)
        if first_s is not None:
            self._first.labels(model).observe(first_s)
            if usage.reply_tokens > 1:
                self._each.labels(model).observe((whole_s - first_s) / (usage.reply_tokens - 1))

    def remembered(self) -> None:
        self._remembered.inc()

    def side(self) -> None:
        self._side.inc()

    def text(self) -> bytes:
        """All of it as Prometheus reads it."""
        return generate_latest(self.registry)

    def _known(self, model: str) -> str:
        return model if model in self._models else "mixture" if "+" in model or "@" in model else OTHER
