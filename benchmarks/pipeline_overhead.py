"""Tokens a second of the whole quickstart pipeline against bare xllamacpp given the very same requests.

    python benchmarks/pipeline_overhead.py [--rounds 5]

The pipeline analyses, recalls, speaks and writes to its archive; every request that reaches its engine is kept and then
replayed on a second server of this process through xllamacpp's own ``handle_completions``: same prompts, adapters,
weights, seeds, sampling and stops, as many in flight. Rounds are interleaved; the ratio is the median of the rounds'
ratios. Asked: at least 0.95 at 1 and at 8 in flight.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import scenepipe
from scenepipe.backends.llama_cpp import LlamaCpp
from scenepipe.backends.llama_engine import common_params, import_engine
from scenepipe.contracts import Chunk, Request
from scenepipe.mixture import of
from scenepipe.models.fetch import pull
from scenepipe.models.gguf_lora import gguf_adapter
from scenepipe.pipeline import Pipeline
from scenepipe.register import examples
from scenepipe.scene import Scene, new_scene

MIXTURE = {"philosopher": 0.3, "poet": 0.2}
TEXTS = 8


class Kept(LlamaCpp):
    """The backend, with the requests that reached it."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        self.requests.append(request)
        async for chunk in super().generate(request):
            yield chunk


async def spoken(pipe: Pipeline, texts: list[str], in_flight: int) -> tuple[int, float]:
    """Tokens and seconds of the pipeline."""
    scenes = [new_scene(text).with_(registers=of(MIXTURE)) for text in texts]
    started = time.perf_counter()
    results = [result async for result in pipe.map(scenes, concurrency=in_flight)]
    seconds = time.perf_counter() - started
    replies = [result.reply for result in results if isinstance(result, Scene)]
    return sum(reply.usage.reply_tokens for reply in replies if reply), seconds


def replayed(server: Any, requests: list[Request], names: list[str], in_flight: int) -> tuple[int, float]:
    """Tokens and seconds of the bare engine."""

    def one(request: Request) -> int:
        events: list[dict[str, Any]] = []
        body = {
            "prompt": request.prompt,
            "max_tokens": request.max_tokens,
            "seed": request.seed,
            "stop": list(request.stop),
            "stream": True,
            "cache_prompt": False,
            "lora": [{"id": i, "scale": request.plan.used.weights.get(n, 0.0)} for i, n in enumerate(names)],
            **request.sampling.model_dump(),
        }

        def keep(event: dict[str, Any]) -> bool:
            events.append(event)
            return False

        server.handle_completions(body, keep)
        return int(events[-1]["timings"]["predicted_n"])

    started = time.perf_counter()
    with ThreadPoolExecutor(in_flight) as threads:
        tokens = sum(threads.map(one, requests))
    return tokens, time.perf_counter() - started


async def measure(count: int) -> None:
    """Print one line per number in flight."""
    pipe = scenepipe.load("quickstart")
    backend = Kept()
    pipe.resources.backend = backend
    async with pipe:
        await pipe.arun("Разогрев.")
        registers = list(pipe.resources.registers.values())
        model = pull("gemma-3-270m")
        adapters = [str(gguf_adapter(register, model)) for register in registers]
        server = import_engine().Server(common_params(backend.options, str(model.gguf), adapters, "unused"))
        texts = [row.text for row in examples(registers[0])][: 2 * count * TEXTS + TEXTS]
        print(f"tokens/s, medians of {count} rounds of {TEXTS} texts\nin flight   pipeline       bare   ratio")
        for place, in_flight in enumerate((1, 8)):
            own: list[float] = []
            bare: list[float] = []
            for number in range(count):
                start = (place * count + number) * TEXTS
                backend.requests.clear()
                tokens, seconds = await spoken(pipe, texts[start : start + TEXTS], in_flight)
                own.append(tokens / seconds)
                names = [register.name for register in registers]
                tokens, seconds = await asyncio.to_thread(replayed, server, list(backend.requests), names, in_flight)
                bare.append(tokens / seconds)
            ratio = statistics.median(a / b for a, b in zip(own, bare, strict=True))
            print(
                f"{in_flight:9} {statistics.median(own):10.1f} {statistics.median(bare):10.1f} {ratio:7.3f}", flush=True
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["SCENEPIPE_HOME"] = home
        asyncio.run(measure(given.rounds))


if __name__ == "__main__":
    main()
