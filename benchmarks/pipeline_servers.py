"""Tokens a second of a whole pipeline over a server, against bare HTTP with the very same requests to the same server.

    python benchmarks/pipeline_servers.py [--server llama-server] [--rounds 5] [--in-flight 32]
    python benchmarks/pipeline_servers.py --server vllm --vllm-python .venv-vllm/bin/python

The pipeline analyses, recalls, speaks and writes to its archive; the requests that it sends are kept and then sent again
by a bare client, as many in flight, each read to the end of its stream. A round has twice as many texts as are in flight.
The server is a process of its own: xllamacpp's llama-server, or vLLM's with the composed adapter loaded, its prefix cache
off, since the second to ask would find the prompts read. Rounds are interleaved; the ratio is the median of the rounds'
ratios. Asked: at least 0.95 at 32 in flight.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from _served import PIPELINE

import scenepipe
from scenepipe.backends.openai import OpenAI
from scenepipe.mixture import of
from scenepipe.models.fetch import pull
from scenepipe.pipeline import Pipeline
from scenepipe.register import examples, find_registers
from scenepipe.scene import Scene, new_scene

MODEL = "gemma-3-270m"
REGISTERS = Path(__file__).parent.parent / "registers"
NAMES = ("philosopher", "poet", "body", "logician")
MIXTURE = {"philosopher": 0.3, "poet": 0.2}
CONTEXT = 1024
START_SECONDS = 600
VLLM_ENVIRONMENT = {
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "HF_HUB_OFFLINE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
"""The worker in the engine's process, where it waits for no other by spinning, and its threads not pinned to busy cores."""

Asked = tuple[str, bytes]


def serve_llama(slots: int) -> None:
    """A llama-server with the four adapters, until standard input ends."""
    from dataclasses import replace

    from scenepipe.backends.llama_cpp import LlamaCpp
    from scenepipe.backends.llama_engine import common_params, import_engine
    from scenepipe.models.gguf_lora import gguf_adapter

    model = pull(MODEL)
    adapters = [str(gguf_adapter(each, model)) for each in find_registers(NAMES, [REGISTERS]).values()]
    options = replace(LlamaCpp().options, parallel=slots, context=CONTEXT)
    server = import_engine().Server(common_params(options, str(model.gguf), adapters, ""))
    print(server.listening_address, flush=True)
    sys.stdin.read()


@contextmanager
def llama_server(slots: int) -> Iterator[str]:
    command = [sys.executable, __file__, "--serve", "--in-flight", str(slots)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(60)


@contextmanager
def vllm_server(python: str, slots: int) -> Iterator[str]:
    from scenepipe.models.dequantise import safetensors_of

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(safetensors_of(pull(MODEL)))]
    command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", MODEL, "--dtype", "bfloat16"]
    command += ["--max-model-len", str(CONTEXT), "--max-num-seqs", str(slots), "--max-num-batched-tokens", "4096"]
    command += ["--enable-lora", "--max-loras", "4", "--max-cpu-loras", "8", "--max-lora-rank", "32"]
    command += ["--kv-cache-memory-bytes", str(1 << 30), "--no-enable-prefix-caching", "--no-enable-chunked-prefill"]
    command += ["--distributed-executor-backend", "uni"]
    process = subprocess.Popen(command, env={**os.environ, **VLLM_ENVIRONMENT}, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < until:
            try:
                httpx.get(url + "/health", timeout=5)
            except httpx.TransportError:
                time.sleep(0.5)
                continue
            yield url
            return
        sys.exit(f"vLLM did not answer at {url}")
    finally:
        os.killpg(process.pid, 15)
        process.wait(60)


def pipeline(server: str, url: str, home: str, in_flight: int) -> Pipeline:
    backend: dict[str, Any] = {"use": "openai", "flavour": server, "url": url, "parallel": in_flight}
    mode = "exact"
    if server == "vllm":
        backend |= {"max_rank": 32, "max_cpu_loras": 8, "composed": f"{home}/composed"}
        mode = "premerged"
    text = PIPELINE.format(backend=json.dumps(backend), home=home, mixture=mode)
    file = Path(home, "bench.yaml")
    file.write_text(text, encoding="utf-8")
    return scenepipe.load(file)


async def spoken(pipe: Pipeline, texts: list[str], in_flight: int) -> float:
    """Tokens a second of the pipeline."""
    scenes = [new_scene(text).with_(registers=of(MIXTURE)) for text in texts]
    started = time.perf_counter()
    results = [result async for result in pipe.map(scenes, concurrency=in_flight)]
    seconds = time.perf_counter() - started
    replies = [result.reply for result in results if isinstance(result, Scene)]
    return sum(reply.usage.reply_tokens for reply in replies if reply) / seconds


async def replayed(url: str, requests: list[Asked], in_flight: int) -> float:
    """Tokens a second of a client that does nothing but ask and read."""
    gate = asyncio.Semaphore(in_flight)

    async def one(client: httpx.AsyncClient, asked: Asked) -> int:
        path, body = asked
        tokens = 0
        async with (
            gate,
            client.stream("POST", path, content=body, headers={"content-type": "application/json"}) as told,
        ):
            async for line in told.aiter_lines():
                if '"tokens_predicted"' in line or '"usage"' in line:
                    event = json.loads(line.removeprefix("data:"))
                    count = event.get("tokens_predicted") or (event.get("usage") or {}).get("completion_tokens")
                    tokens = count or tokens
        return tokens

    async with httpx.AsyncClient(
        base_url=url, timeout=None, limits=httpx.Limits(max_connections=None, max_keepalive_connections=0)
    ) as client:
        started = time.perf_counter()
        tokens = sum(await asyncio.gather(*(one(client, asked) for asked in requests)))
        return tokens / (time.perf_counter() - started)


async def measure(server: str, url: str, home: str, rounds: int, in_flight: int) -> float:
    pipe = pipeline(server, url, home, in_flight)
    asked: list[Asked] = []

    async def keep(request: httpx.Request) -> None:
        if b'"stream": true' in request.content:
            asked.append((request.url.path, request.content))

    async with pipe:
        await pipe.arun(new_scene("Разогрев.").with_(registers=of(MIXTURE)))
        backend = pipe.resources.backend
        assert isinstance(backend, OpenAI)
        backend._opened()._client.event_hooks["request"].append(keep)
        rows = [row.text for row in examples(next(iter(pipe.resources.registers.values())))]
        print(f"{server}, {in_flight} in flight, tokens/s\nround   pipeline       bare   ratio")
        ratios: list[float] = []
        for number in range(rounds):
            asked.clear()
            own = await spoken(pipe, rows[number * 2 * in_flight : (number + 1) * 2 * in_flight], in_flight)
            bare = await replayed(url, list(asked), in_flight)
            ratios.append(own / bare)
            print(f"{number:5} {own:10.1f} {bare:10.1f} {ratios[-1]:7.3f}", flush=True)
    return statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--server", choices=("llama-server", "vllm"), default="llama-server")
    parser.add_argument("--vllm-python", help="interpreter of the environment that has vLLM")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve_llama(given.in_flight)
        return
    if given.server == "vllm" and not given.vllm_python:
        parser.error("--server vllm needs --vllm-python: the interpreter of an environment with vLLM (make test-vllm)")
    slots = given.in_flight
    running = llama_server(slots) if given.server == "llama-server" else vllm_server(given.vllm_python, slots)
    with tempfile.TemporaryDirectory() as home, running as url:
        os.environ["SCENEPIPE_HOME"] = home
        ratio = asyncio.run(measure(given.server, url, home, given.rounds, slots))
    print(f"ratio {ratio:.3f}, asked 0.95")
    sys.exit(ratio < 0.95)


if __name__ == "__main__":
    main()
