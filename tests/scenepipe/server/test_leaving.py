"""Clients that leave, servers that stop: slots fall free, what was acknowledged is kept, once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from scenepipe.contracts import Chunk, Request
from scenepipe.server.problem import ClientGone
from scenepipe.server.sse import Reach
from scenepipe.testing.fake_backend import FakeBackend
from tests.scenepipe.server.conftest import TOY_FILE, Endless, wait_until

CHAT = "/v1/chat/completions"
LEAVES = int(os.environ.get("SCENEPIPE_SOAK", "8"))


def asked(path: str, *, stream: bool, chat: str = "") -> bytes:
    """A request as bytes."""
    text = {"input": "Who knocks?"} if path == "/v1/responses" else {"prompt": "Who knocks?"}
    body = json.dumps({"messages": [{"role": "user", "content": "Who knocks?"}], "stream": stream} | text).encode()
    named = f"x-scenepipe-chat: {chat}\r\n" if chat else ""
    return f"POST {path} HTTP/1.1\r\nhost: x\r\n{named}content-length: {len(body)}\r\n\r\n".encode() + body


def leave(sock: socket.socket, how: str) -> None:
    if how == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/responses"])
def test_the_slot_of_a_client_that_left_falls_free_within_a_second(serving: Callable[..., Any], path: str) -> None:
    backend = Endless()
    started = serving(backend=backend)
    for number in range(LEAVES):
        stream, how = bool(number % 2), "reset" if number // 2 % 2 else "close"
        backend.silent = number % 8 >= 4
        before = backend.begun
        sock = socket.create_connection(("127.0.0.1", started.server.port))
        sock.sendall(asked(path, stream=stream))
        wait_until(lambda before=before: backend.begun > before, 5, "it did not begin")  # type: ignore[misc]
        if stream and not backend.silent:
            sock.recv(10)
        leave(sock, how)
        wait_until(lambda: backend.inside == 0, 1, f"the slot is still held: stream {stream}, {how}")
    wait_until(lambda: not started.busy, 1, "a place is still held")
    assert started.encounters() == []
    figures = started.client().get("/metrics").text
    assert 'status="499"' in figures


def test_whoever_leaves_the_queue_is_never_begun(serving: Callable[..., Any]) -> None:
    backend = Endless()
    started = serving(backend=backend, in_flight=1)
    first = socket.create_connection(("127.0.0.1", started.server.port))
    first.sendall(asked(CHAT, stream=True))
    wait_until(lambda: backend.inside == 1, 5, "it did not begin")
    second = socket.create_connection(("127.0.0.1", started.server.port))
    second.sendall(asked(CHAT, stream=True))
    wait_until(lambda: started.service.admission.waiting == 1, 5, "it does not wait")
    second.close()
    wait_until(lambda: started.service.admission.waiting == 0, 1, "it still waits")
    first.close()
    wait_until(lambda: backend.inside == 0, 1, "the slot is still held")
    assert backend.begun == 1


class Slow:
    """An archive whose writes take their time."""

    def __init__(self, inner: Any, seconds: float) -> None:
        self._inner = inner
        self._seconds = seconds
        self.writing = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def append(self, scenes: Any, encounters: Any) -> Any:
        self.writing += 1
        await asyncio.sleep(self._seconds)
        return await self._inner.append(scenes, encounters)


def test_a_whole_reply_is_written_though_its_client_left(served: Any) -> None:
    archive = served.pipeline.resources.archive = Slow(served.pipeline.resources.archive, 0.2)
    with socket.create_connection(("127.0.0.1", served.server.port)) as sock:
        sock.sendall(asked(CHAT, stream=True, chat="left"))
        wait_until(lambda: archive.writing > 0, 5, "nothing is written")
    wait_until(lambda: len(served.encounters()) == 2, 3, "the turn was lost")
    assert [e.kind for e in served.encounters()] == ["met", "spoken"]


def test_a_client_that_reads_nothing_is_let_go(serving: Callable[..., Any]) -> None:
    class Flood(Endless):
        async def generate(self, request: Request) -> AsyncIterator[Chunk]:
            self.inside += 1
            try:
                while True:
                    await asyncio.sleep(0)
                    yield Chunk(text="x" * 20_000)
            finally:
                self.inside -= 1

    backend = Flood()
    started = serving(backend=backend, stall_s=0.3)
    with socket.create_connection(("127.0.0.1", started.server.port)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(asked(CHAT, stream=True))
        wait_until(lambda: backend.inside == 1, 5, "it did not begin")
        wait_until(lambda: backend.inside == 0, 5, "it is still fed")


def test_the_end_of_a_stream_is_not_waited_for_longer_than_its_pieces() -> None:
    async def send(message: Any) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body"):
            await asyncio.Event().wait()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"data: 1"

    async def run() -> None:
        with pytest.raises(ClientGone):
            await asyncio.wait_for(Reach(send, stall_s=0.05).stream(chunks()), 5)

    asyncio.run(run())


def test_a_reply_that_takes_too_long_is_ended(serving: Callable[..., Any]) -> None:
    backend = Endless(silent=True)
    started = serving(backend=backend, request_s=0.2)
    found = started.client().post(CHAT, json={"messages": [{"role": "user", "content": "x"}]})
    assert (found.status_code, found.json()["error"]["code"]) == (504, "deadline")
    assert backend.inside == 0


def test_draining_lets_replies_finish_and_refuses_new_ones(serving: Callable[..., Any]) -> None:
    started = serving(backend=FakeBackend(delay_s=0.05), drain_s=10)
    http = started.client()
    assert http.get("/ready").status_code == 200
    lines: list[str] = []

    def listen() -> None:
        body = {"messages": [{"role": "user", "content": "Who knocks?"}], "stream": True}
        with started.client().stream("POST", CHAT, json=body) as answer:
            lines.extend(answer.iter_lines())

    listener = threading.Thread(target=listen)
    listener.start()
    wait_until(lambda: started.service.admission.running == 1, 5, "it did not begin")
    started.drain()
    wait_until(lambda: started.service.draining, 2, "it does not drain")
    assert http.get("/ready").json()["reason"] == "draining"
    assert http.get("/health").status_code == 200
    late = http.post(CHAT, json={"messages": [{"role": "user", "content": "x"}]})
    assert (late.status_code, late.json()["error"]["code"]) == (503, "draining")
    listener.join(10)
    assert lines[-2] == "data: [DONE]"
    assert '"finish_reason":"stop"' in lines[-4]
    started.join()


def test_what_does_not_finish_is_ended_with_a_reason(serving: Callable[..., Any]) -> None:
    started = serving(backend=Endless(), drain_s=0.1)
    lines: list[str] = []

    def listen() -> None:
        body = {"messages": [{"role": "user", "content": "Who knocks?"}], "stream": True}
        with started.client().stream("POST", CHAT, json=body) as answer:
            lines.extend(answer.iter_lines())

    listener = threading.Thread(target=listen)
    listener.start()
    wait_until(lambda: started.service.admission.running == 1, 5, "it did not begin")
    time.sleep(0.1)
    started.drain()
    listener.join(10)
    assert lines[-2] == "data: [DONE]"
    assert json.loads(lines[-4].removeprefix("data: "))["error"]["code"] == "draining"
    started.join()


def test_what_still_waits_is_never_begun_by_a_server_that_stops(serving: Callable[..., Any]) -> None:
    backend = Endless()
    started = serving(backend=backend, in_flight=1, drain_s=0.1)
    body = {"messages": [{"role": "user", "content": "Who knocks?"}]}
    with ThreadPoolExecutor(3) as threads:
        found = [threads.submit(started.client().post, CHAT, json=body) for _ in range(3)]
        wait_until(lambda: backend.inside == 1 and started.service.admission.waiting == 2)
        started.drain()
        for each in found:
            answer = each.result(10)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")
    assert backend.begun == 1
    started.join()


# --- As a process ---


class Process:
    """``scenepipe serve`` of the toy pipeline, as a process of its own."""

    def __init__(self, path: Path, *options: str) -> None:
        command = [sys.executable, str(TOY_FILE), "serve", str(path), "--port", "0", *options]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("OTEL")}
        self.popen = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment)
        self.log: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_until(lambda: {"ready", "listening"} <= {line["message"] for line in self.log}, 60, "it did not start")
        self.url = next(line["url"] for line in self.log if line["message"] == "listening")

    def _read(self) -> None:
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            try:
                self.log.append(json.loads(line))
            except ValueError:
                self.log.append({"message": line.decode()})

    def end(self, number: int) -> int:
        self.popen.send_signal(number)
        code = self.popen.wait(20)
        self._reader.join(5)
        assert self.popen.stderr is not None
        self.popen.stderr.close()
        return code


def written(toy: Any, folder: Path, delay: float) -> Path:
    path = folder / "toy.yaml"
    path.write_text(toy.PIPELINE.format(delay=delay, folder=folder, fail_on="BOOM", seed=1), encoding="utf-8")
    return path


def test_sigterm_ends_the_process_with_0_and_logs_nothing_that_was_said(toy: Any, tmp_path: Path) -> None:
    process = Process(written(toy, tmp_path, 0.0))
    body = {"messages": [{"role": "user", "content": "The secret password is heron."}]}
    found = httpx.post(process.url + CHAT, json=body, headers={"Authorization": "Bearer canary-key"}, timeout=20)
    assert found.status_code == 200
    assert process.end(signal.SIGTERM) == 0
    told = json.dumps(process.log)
    assert "heron" not in told
    assert "canary-key" not in told
    line = next(line for line in process.log if line["message"] == "request" and line["route"] == CHAT)
    assert (line["status"], line["request_id"]) == (200, found.headers["x-request-id"])
    assert line["reply_tokens"] == found.json()["usage"]["completion_tokens"]


def test_kill_9_under_load_loses_and_doubles_nothing_that_was_acknowledged(toy: Any, tmp_path: Path) -> None:
    path = written(toy, tmp_path, 0.001)
    acknowledged: dict[str, list[tuple[str, str]]] = {}
    process = Process(path)

    def chat(name: str, url: str, life: int, stop: threading.Event) -> None:
        with httpx.Client(base_url=url, timeout=10, headers={"X-Scenepipe-Chat": name}) as http:
            number = len(acknowledged.setdefault(name, []))
            while not stop.is_set():
                text = f"turn {number} of {name} in life {life}"
                try:
                    found = http.post(CHAT, json={"messages": [{"role": "user", "content": text}]})
                except httpx.HTTPError:
                    return
                assert found.status_code == 200, found.text
                acknowledged[name].append((text, found.json()["choices"][0]["message"]["content"]))
                number += 1

    def load(url: str, life: int, end: Callable[[], object]) -> None:
        stop = threading.Event()
        threads = [threading.Thread(target=chat, args=(f"c{n}", url, life, stop)) for n in range(6)]
        for thread in threads:
            thread.start()
        so_far = sum(map(len, acknowledged.values()))
        wait_until(lambda: sum(map(len, acknowledged.values())) > so_far + 20, 60, "no load")
        end()
        stop.set()
        for thread in threads:
            thread.join(15)

    load(process.url, 1, lambda: process.end(signal.SIGKILL))
    before = {name: len(turns) for name, turns in acknowledged.items()}
    process = Process(path)
    load(process.url, 2, lambda: None)
    assert process.end(signal.SIGTERM) == 0
    assert sum(map(len, acknowledged.values())) > sum(before.values()) > 20
    _check(tmp_path / "archive.db", acknowledged)


def _check(database: Path, acknowledged: dict[str, list[tuple[str, str]]]) -> None:
    """Every acknowledged turn stands there once, in its order; at most one more for each kill, whole."""
    from scenepipe import chats
    from scenepipe.registry import default_registry

    async def read() -> None:
        archive = default_registry().load("archive", "sqlite")(path=str(database))
        await archive.open()
        try:
            assert (await archive.verify()).faults == ()
            for name, turns in acknowledged.items():
                chat = await chats.load(archive, name)
                steps = chat.steps()
                assert len(chat.tips) == 1
                told = [(turn.text, turn.reply) for turn in await chats.texts(archive, steps)]
                assert [turn for turn in told if turn in turns] == turns
                assert len(told) - len(turns) <= 1
                assert all(step.replies == 1 for step in steps)
        finally:
            await archive.aclose()

    asyncio.run(read())
