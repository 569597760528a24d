"""What the server adds to an engine: latency, streams at once, tokens a second.

    python benchmarks/server_overhead.py [--requests 200] [--streams 200] [--engine fake|llama-cpp]

* *passing through*: ``/v1/completions`` with the fake engine, against the same request given to the engine in this process.
* *scene, recall and write*: ``/v1/chat/completions``, each with another text in a chat of its own, against the bare engine.
* *fan-out*: so many streams at once of the fake engine; events a second that clients have read.
* *32 in flight*: tokens a second through the server against the bare engine, the very same requests.

The server is a process of its own and the client another; figures are medians. Asked: added latency under 4 ms and under
15 ms, at least 10,000 events a second, a ratio of at least 0.95.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from _served import PIPELINE, served

import scenepipe
from scenepipe.contracts import Message, Request
from scenepipe.mixture import Plan, of
from scenepipe.pipeline import Pipeline
from scenepipe.register import examples
from scenepipe.scene import Origin
from scenepipe.server.makers import as_prompt

FAKE = "{use: fake, parallel: 256}"
LLAMA = "{use: llama-cpp, context: 2048}"
IN_FLIGHT = 32
PROMPT = "A door remembers every hand that opened it, and the threshold is worn where nobody looks."


def texts(pipe: Pipeline, count: int) -> list[str]:
    """Texts of the registers' examples, over and over with a number, so that no two are one scene."""
    rows = [row.text for row in examples(next(iter(pipe.resources.registers.values())))]
    return [f"{rows[number % len(rows)]} {number}" for number in range(count)]


def median_ms(seconds: list[float]) -> float:
    """The median in milliseconds, without the first tenth, in which everything warms up."""
    return statistics.median(seconds[len(seconds) // 10 :]) * 1000


async def engine_ms(pipe: Pipeline, count: int) -> float:
    """The bare engine's own time for a request."""
    backend, seconds = pipe.resources.backend, []
    assert backend is not None
    for _ in range(count):
        began = time.perf_counter()
        async for _ in backend.generate(Request(prompt=PROMPT, max_tokens=48, seed=1)):
            pass
        seconds.append(time.perf_counter() - began)
    return median_ms(seconds)


async def walk_ms(pipe: Pipeline, said: list[str]) -> float:
    """A scene's way through the whole pipeline in this process, without any server."""
    seconds = []
    for number, text in enumerate(said):
        began = time.perf_counter()
        await pipe.arun(text, origin=Origin(chat=f"alone {number}", turn=1))
        seconds.append(time.perf_counter() - began)
    return median_ms(seconds)


def through_ms(http: httpx.Client, count: int) -> float:
    """The same request through ``/v1/completions``."""
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        found = http.post("/v1/completions", json={"model": "base", "prompt": PROMPT, "max_tokens": 48, "seed": 1})
        found.raise_for_status()
        seconds.append(time.perf_counter() - began)
    return median_ms(seconds)


def scene_ms(http: httpx.Client, said: list[str]) -> float:
    """A turn that becomes a scene, recalls and is written."""
    seconds = []
    for number, text in enumerate(said):
        body = {"model": "bench", "messages": [{"role": "user", "content": text}]}
        began = time.perf_counter()
        found = http.post("/v1/chat/completions", json=body, headers={"X-Scenepipe-Chat": f"chat {number}"})
        found.raise_for_status()
        seconds.append(time.perf_counter() - began)
    return median_ms(seconds)


async def fan_out(url: str, streams: int) -> float:
    """Events a second over so many streams of raw sockets, from the first request to the last event."""
    host, port = url.removeprefix("http://").split(":")
    body = json.dumps(
        {"model": "base", "prompt": PROMPT, "max_tokens": 4096, "seed": 1, "stream": True, "n": 8}
    ).encode()
    head = (
        f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
    )

    async def one() -> int:
        count = 0
        for _ in range(2):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(head + body)
            while data := await reader.read(65_536):
                count += data.count(b"\ndata: {") + data.startswith(b"data: {")
            writer.close()
        return count

    began = time.perf_counter()
    counts = await asyncio.gather(*(one() for _ in range(streams)))
    return sum(counts) / (time.perf_counter() - began)


async def bare_rate(pipe: Pipeline, said: list[str]) -> float:
    """Tokens a second of the engine alone, so many requests in flight."""
    backend, gate, mixture = pipe.resources.backend, asyncio.Semaphore(IN_FLIGHT), of({"poet": 0.5})
    assert backend is not None
    plan = Plan(asked=mixture, used=mixture, mode="exact")

    async def one(text: str) -> int:
        prompt = as_prompt((Message(role="user", content=text),))
        async with gate:
            tokens = 0
            stop = ("\nUser:", "\nAssistant:")
            async for chunk in backend.generate(Request(prompt=prompt, plan=plan, max_tokens=32, seed=1, stop=stop)):
                tokens = chunk.usage.reply_tokens if chunk.usage else tokens
            return tokens

    began = time.perf_counter()
    counts = await asyncio.gather(*map(one, said))
    return sum(counts) / (time.perf_counter() - began)


async def served_rate(url: str, said: list[str]) -> float:
    """The same through the server."""
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def one(http: httpx.AsyncClient, text: str) -> int:
        body: dict[str, Any] = {"model": "poet@0.5", "max_tokens": 32, "seed": 1, "stop": ["\nUser:", "\nAssistant:"]}
        body["prompt"] = as_prompt((Message(role="user", content=text),))
        async with gate:
            found = await http.post("/v1/completions", json=body)
            found.raise_for_status()
            return int(found.json()["usage"]["completion_tokens"])

    async with httpx.AsyncClient(base_url=url, timeout=600) as http:
        began = time.perf_counter()
        counts = await asyncio.gather(*(one(http, text) for text in said))
        return sum(counts) / (time.perf_counter() - began)


async def latency(home: str, requests: int, streams: int) -> None:
    """Print what the server adds to the fake engine, and its fan-out."""
    path = Path(home, "fake.yaml")
    path.write_text(PIPELINE.format(backend=FAKE, home=home, mixture="exact"), encoding="utf-8")
    pipe = scenepipe.load(path)
    async with pipe:
        await pipe.ready()
        bare = await engine_ms(pipe, requests)
        said = texts(pipe, requests)
        walk = await walk_ms(pipe, [f"{text} alone" for text in said])
    with served(path) as server:
        with httpx.Client(base_url=server.url, timeout=60) as http:
            through = await asyncio.to_thread(through_ms, http, requests)
            scene = await asyncio.to_thread(scene_ms, http, said)
        rates = [await fan_out(server.url, streams) for _ in range(3)]
    print(f"added, passing through          {through - bare:8.2f} ms  (engine {bare:.2f} ms; asked: under 4)")
    print(
        f"added, scene, recall and write  {scene - bare:8.2f} ms  (the pipeline alone {walk - bare:.2f}; asked: under 15)"
    )
    print(
        f"{streams} streams                     {statistics.median(rates):8.0f} events/s  (asked: at least 10000)",
        flush=True,
    )


async def ratio(home: str, rounds: int) -> None:
    """Print the tokens a second of llama.cpp through the server, against bare; rounds interleaved."""
    path = Path(home, "llama.yaml")
    path.write_text(PIPELINE.format(backend=LLAMA, home=home, mixture="exact"), encoding="utf-8")
    pipe = scenepipe.load(path)
    async with pipe:
        await pipe.ready()
        with served(path) as server:
            own, bare = [], []
            for number in range(rounds):
                said = texts(pipe, IN_FLIGHT * (number + 1))[-IN_FLIGHT:]
                bare.append(await bare_rate(pipe, said))
                own.append(await served_rate(server.url, said))
    median = statistics.median(a / b for a, b in zip(own, bare, strict=True))
    print(
        f"32 in flight: {statistics.median(own):.1f} tokens/s, bare {statistics.median(bare):.1f}, ratio {median:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engine", choices=["fake", "llama-cpp", "both"], default="both")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["SCENEPIPE_HOME"] = home
        if given.engine != "llama-cpp":
            asyncio.run(latency(home, given.requests, given.streams))
        if given.engine != "fake":
            asyncio.run(ratio(home, given.rounds))


if __name__ == "__main__":
    main()
