"""A small HTTP/1.1 server on a real socket, in a thread of its own, that can misbehave."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One request; ``body`` is its JSON."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Answer:
    """What is sent back.

    Args:
        body: the whole, or pieces, each sent as a packet of its own.
        cut: break the connection off at the end instead of ending the answer.
    """

    body: bytes | AsyncIterator[bytes] = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


def told(value: Any, status: int = 200, **headers: str) -> Answer:
    """A JSON answer."""
    body = json.dumps(value, ensure_ascii=False).encode()
    return Answer(body, status, {"content-type": "application/json", **headers})


Handler = Callable[[Asked], Awaitable[Answer]]


class HttpThread:
    """Serves a handler until it is left. ``asked`` are the requests in order, ``dropped`` how many clients left early."""

    def __init__(self, handler: Handler, *, close_after_stream: bool = False) -> None:
        self.asked: list[Asked] = []
        self.dropped = 0
        self.connections = 0
        self._handler = handler
        self._close = close_after_stream
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> HttpThread:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while (asked := await _read(reader)) is not None:
                self.asked.append(asked)
                answer = await self._handler(asked)
                if not await self._send(answer, reader, writer) or asked.headers.get("connection") == "close":
                    return
        except (ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tasks.discard(task)
            with suppress(Exception):
                writer.transport.abort() if not writer.is_closing() else None

    async def _send(self, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection can be used again."""
        headers = dict(answer.headers)
        if isinstance(answer.body, bytes):
            headers["content-length"] = str(len(answer.body))
            writer.write(_head(answer.status, headers) + answer.body)
            await writer.drain()
            return not answer.cut
        writer.write(_head(answer.status, {**headers, "transfer-encoding": "chunked"}))
        sending = asyncio.ensure_future(self._chunks(answer.body, writer))
        leaving = asyncio.ensure_future(reader.read(1))
        done, _ = await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if sending not in done:
            self.dropped += 1
            sending.cancel()
            await asyncio.wait({sending})
            return False
        leaving.cancel()
        await asyncio.wait({leaving})
        sending.result()
        if answer.cut:
            writer.transport.abort()
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        if self._close:
            writer.close()
        return not self._close

    async def _chunks(self, body: AsyncIterator[bytes], writer: asyncio.StreamWriter) -> None:
        async for piece in body:
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0)


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    content = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(method, path, headers, json.loads(content) if content else None)


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} OK", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
