"""Tokens a second of the llama-cpp backend against bare xllamacpp: same model, adapter, prompts, seeds and sampling.

    python benchmarks/engine_overhead.py [--rounds 7] [--tokens 64] [--parallel 8]

The bare engine is a second server of this process with the same options, driven by its own ``handle_completions``
from a thread per request, once streaming with a callback and once for the whole reply. Rounds are interleaved, so a
busy machine slows all three alike; the figures are medians. ``ratio`` is the median of each round's ratio to the
streaming bare engine, which does the same work; the target is at least 0.95 at 1 and at 8 in flight.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from scenepipe.backends.llama_cpp import LlamaCpp
from scenepipe.backends.llama_engine import common_params, import_engine
from scenepipe.contracts import Request
from scenepipe.mixture import Plan, parse
from scenepipe.models.fetch import pull
from scenepipe.models.gguf_lora import gguf_adapter
from scenepipe.prompt import ScenePrompt
from scenepipe.register import find_registers

REGISTERS = Path(__file__).parent.parent / "registers"
MODEL = "gemma-3-270m"
REGISTER = "poet"
MIXTURE = parse(f"{REGISTER}@0.1")  # costs what 1.0 costs, and the base seldom ends a reply before the last token
TEXTS = (
    ("Почему я не чувствую шаг в себе?", "ru", ("дрожь", "тишина", "вход")),
    ("Why can I not feel the step in me?", "en", ("trembling", "silence", "entrance")),
    ("Снег лёг на старую крышу.", "ru", ("снег", "крыша", "дом")),
    ("The letter came a year too late.", "en", ("letter", "door", "year")),
)
PROMPTS = [ScenePrompt(text, language, linkage=linkage).render() for text, language, linkage in TEXTS * 2]

Measure = Callable[[int], float]


class Bare:
    """xllamacpp as its own documentation drives it."""

    def __init__(self, server: Any, tokens: int, *, stream: bool) -> None:
        self._server = server
        self._tokens = tokens
        self._stream = stream

    def __call__(self, in_flight: int) -> float:
        """Tokens a second with this many requests at once."""
        with ThreadPoolExecutor(in_flight) as threads:
            started = time.perf_counter()
            spoken = sum(threads.map(self._one, range(in_flight)))
            return spoken / (time.perf_counter() - started)

    def _one(self, number: int) -> int:
        request = _request(number, self._tokens)
        body = {
            "prompt": request.prompt,
            "max_tokens": self._tokens,
            "seed": request.seed,
            "stream": self._stream,
            "cache_prompt": False,
            "lora": [{"id": 0, "scale": MIXTURE.weights[REGISTER]}],
            **request.sampling.model_dump(),
        }
        if not self._stream:
            return int(self._server.handle_completions(body)["usage"]["completion_tokens"])
        events: list[dict[str, Any]] = []

        def keep(event: dict[str, Any]) -> bool:
            events.append(event)
            return False  # go on

        self._server.handle_completions(body, keep)
        return int(events[-1]["timings"]["predicted_n"])


class Ours:
    """The backend, as a stage uses it."""

    def __init__(self, backend: LlamaCpp, runner: asyncio.Runner, tokens: int) -> None:
        self._backend = backend
        self._runner = runner
        self._tokens = tokens

    def __call__(self, in_flight: int) -> float:
        """Tokens a second with this many requests at once."""
        return self._runner.run(self._all(in_flight))

    async def _all(self, in_flight: int) -> float:
        started = time.perf_counter()
        spoken = sum(await asyncio.gather(*(self._one(number) for number in range(in_flight))))
        return spoken / (time.perf_counter() - started)

    async def _one(self, number: int) -> int:
        last = None
        async for chunk in self._backend.generate(_request(number, self._tokens)):
            last = chunk
        assert last is not None
        assert last.usage is not None
        return last.usage.reply_tokens


def _request(number: int, tokens: int) -> Request:
    return Request(
        prompt=PROMPTS[number], plan=Plan(asked=MIXTURE, used=MIXTURE, mode="exact"), seed=number + 1, max_tokens=tokens
    )


def rounds(measures: Sequence[Measure], in_flight: int, count: int) -> list[list[float]]:
    """Figures of each measure, round by round; every other round goes the other way about."""
    figures: list[list[float]] = [[] for _ in measures]
    for number in range(-1, count):
        order = range(len(measures)) if number % 2 else reversed(range(len(measures)))
        for which in order:
            figure = measures[which](in_flight)
            if number >= 0:  # the round before the first warms up
                figures[which].append(figure)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--parallel", type=int, default=8)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 8])
    given = parser.parse_args()
    model = pull(MODEL)
    register = find_registers([REGISTER], [REGISTERS])[REGISTER]
    backend = LlamaCpp(parallel=given.parallel)
    with asyncio.Runner() as runner:
        runner.run(backend.open(model, [register]))
        adapter = str(gguf_adapter(register, model))
        server = import_engine().Server(common_params(backend.options, str(model.gguf), [adapter], "unused"))
        measures: list[Measure] = [
            Ours(backend, runner, given.tokens),
            Bare(server, given.tokens, stream=True),
            Bare(server, given.tokens, stream=False),
        ]
        print(f"tokens/s, medians of {given.rounds} rounds, up to {given.tokens} tokens, {given.parallel} slots")
        print(f"{'in flight':>9} {'scenepipe':>10} {'bare stream':>12} {'bare whole':>11} {'ratio':>6} {'to whole':>9}")
        for in_flight in given.in_flight:
            ours, stream, whole = rounds(measures, in_flight, given.rounds)
            ratios = [statistics.median(a / b for a, b in zip(ours, peer, strict=True)) for peer in (stream, whole)]
            figures = [statistics.median(figures) for figures in (ours, stream, whole)]
            print(
                f"{in_flight:>9} {figures[0]:>10.1f} {figures[1]:>12.1f} {figures[2]:>11.1f} "
                f"{ratios[0]:>6.3f} {ratios[1]:>9.3f}",
                flush=True,
            )
        runner.run(backend.aclose())


if __name__ == "__main__":
    main()
