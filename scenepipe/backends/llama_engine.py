"""One xllamacpp server of this process, and a client on its loopback port.

The client uses HTTP rather than `Server.handle_completions` because only a closed connection stops a request whose
prompt is still being read: the callback is first called when the prompt is done. It is written on asyncio streams
because httpx takes 5.1 ms of CPU for a request and 0.45 ms for each streamed token, measured beside 1.3 and 0.27 ms
here; where two cores do both, that is time the engine does not have. Connections are not kept alive: the server closes
one after a streamed reply, and a request sent into that moment is lost.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import mmap
import os
import secrets
import socket
import struct
import subprocess
import sys
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from scenepipe.errors import BackendError, DeadlineError

T = TypeVar("T")

FLASH_ATTENTION = {"auto": "AUTO", "on": "ENABLED", "off": "DISABLED"}
_LOAD_MODE = {(True, False): "MMAP", (True, True): "MMAP_MLOCK", (False, True): "MLOCK", (False, False): "NONE"}
_SPARE_HTTP_THREADS = 4
_TEMPLATE_KEY = struct.pack("<Q", 23) + b"tokenizer.chat_template"
_HEADER_BYTES = 64 << 20


@dataclass(frozen=True)
class EngineOptions:
    """What the engine is started with; `scenepipe.backends.llama_cpp.LlamaCpp` says what each means."""

    context: int
    parallel: int
    threads: int | None
    gpu_layers: int
    tensor_split: tuple[float, ...]
    main_gpu: int
    batch: int
    ubatch: int
    flash_attention: str
    kv_type: str
    mmap: bool
    mlock: bool
    swa_full: bool


def import_engine() -> Any:
    """Import xllamacpp so that its OpenMP threads, when they wait for each other, soon sleep instead of spinning.

    By default they spin for about a millisecond, which takes the core from the very thread they wait for when the
    machine has other work. With 1,000 turns, two threads on two cores and eight requests in flight gave 112 tokens a
    second on a quiet machine (112 by default), 54 beside one busy process (35) and 45 beside two (19). libgomp reads
    its settings once, when it is loaded; a person's own settings stand.
    """
    if "OMP_WAIT_POLICY" in os.environ or "GOMP_SPINCOUNT" in os.environ:
        return importlib.import_module("xllamacpp")
    os.environ["GOMP_SPINCOUNT"] = "1000"
    try:
        return importlib.import_module("xllamacpp")
    finally:
        del os.environ["GOMP_SPINCOUNT"]


def common_params(options: EngineOptions, gguf: str, adapters: Sequence[str], key: str, *, verbosity: int = -1) -> Any:
    """llama.cpp's parameters for these options.

    Nothing is kept between requests (``cache_ram_mib``, ``cache_idle_slots``, ``n_ctx_checkpoints``): llama.cpp's
    prompt caches do not know which LoRA wrote them. Context checkpoints would also split every prompt of a
    sliding-window model into two decodes.
    """
    xllamacpp = import_engine()
    params = xllamacpp.CommonParams()
    params.model.path = gguf
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 1.0) for path in adapters]
    params.lora_init_without_apply = True
    params.n_parallel = options.parallel
    params.n_ctx = options.context * options.parallel
    params.n_batch, params.n_ubatch = options.batch, options.ubatch
    if options.threads is not None:
        params.cpuparams.n_threads = options.threads
    params.fit_params = False
    params.n_gpu_layers, params.main_gpu = options.gpu_layers, options.main_gpu
    if options.tensor_split:
        rest = len(params.tensor_split) - len(options.tensor_split)  # xllamacpp wants one for each GPU there could be
        params.tensor_split = [*options.tensor_split, *[0.0] * rest]
    flash, load = xllamacpp.llama_flash_attn_type, xllamacpp.llama_load_mode
    params.flash_attn_type = getattr(flash, f"LLAMA_FLASH_ATTN_TYPE_{FLASH_ATTENTION[options.flash_attention]}")
    params.load_mode = getattr(load, f"LLAMA_LOAD_MODE_{_LOAD_MODE[options.mmap, options.mlock]}")
    params.cache_type_k = params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{options.kv_type.upper()}")
    params.swa_full = options.swa_full
    params.cache_ram_mib, params.cache_idle_slots, params.n_ctx_checkpoints = 0, False, 0
    params.cache_prompt = False
    params.warmup = False
    params.verbosity = verbosity
    params.api_keys, params.hostnames, params.port = [key], ["127.0.0.1"], 0
    params.n_threads_http = options.parallel + _SPARE_HTTP_THREADS
    params.ui = params.endpoint_slots = params.endpoint_props = params.endpoint_metrics = False
    return params


class LlamaEngine:
    """A running engine.

    Constructing it blocks while the model loads, and holds the interpreter lock for that time (xllamacpp releases it
    only while it generates).

    Raises:
        BackendError: the engine refused the model or an adapter, in its own words.
    """

    def __init__(self, options: EngineOptions, gguf: Path, adapters: Sequence[Path]) -> None:
        xllamacpp = import_engine()
        key = secrets.token_urlsafe(32)
        paths = [str(path) for path in adapters]
        try:
            server = xllamacpp.Server(common_params(options, str(gguf), paths, key))
        except (RuntimeError, ValueError) as error:
            words = _engine_words(options, str(gguf), paths) or str(error)
            raise BackendError(f"llama.cpp could not open {gguf} with {len(paths)} adapters: {words}") from None
        self.address: str = server.listening_address
        self._port = int(self.address.rpartition(":")[2])
        self._key = key
        self._closed = False
        self._sockets: set[socket.socket] = set()
        # The server must end before the interpreter does; a finalizer also runs at exit.
        self._end = weakref.finalize(self, _ending(server, self._sockets))

    async def post(self, path: str, body: Mapping[str, Any], *, deadline: float | None = None) -> dict[str, Any]:
        """One request, one JSON answer.

        Raises:
            BackendError: the engine refused it, in its own words, or went away.
            DeadlineError: ``deadline`` (monotonic seconds) passed first.
        """
        async with self._exchange("POST", path, body, deadline) as answer:
            return _parsed(answer.status, await within(deadline, answer.whole()))

    async def get(self, path: str) -> dict[str, Any]:
        """The JSON answer of one of the engine's pages."""
        async with self._exchange("GET", path, None, None) as answer:
            return _parsed(answer.status, await answer.whole())

    async def stream(
        self, body: Mapping[str, Any], deadline: float | None = None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The server-sent events of one streamed completion; closing the iterator stops the engine's work on it.

        Raises:
            BackendError, DeadlineError: as `post`.
        """
        async with self._exchange("POST", "/completion", {**body, "stream": True}, deadline) as answer:
            if answer.status != 200:
                _parsed(answer.status, await within(deadline, answer.whole()))
            rest = b""
            while chunk := await within(deadline, answer.chunk()):
                # On line feeds alone: the engine's JSON may hold U+2028 or U+0085 as they are.
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if (event := _event(line)) is not None:
                        yield event

    @asynccontextmanager
    async def _exchange(
        self, method: str, path: str, body: Mapping[str, Any] | None, deadline: float | None
    ) -> AsyncIterator[_Answer]:
        """Send one request and read the head of its answer; leaving closes the connection."""
        content = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self._key}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        try:
            reader, writer = await within(deadline, asyncio.open_connection("127.0.0.1", self._port))
            connection = writer.get_extra_info("socket")
            self._sockets.add(connection)
            try:
                if self._closed:
                    raise ConnectionError("it was closed")
                writer.write(head.encode() + content)
                yield await within(deadline, _Answer.read(reader))
            finally:
                self._sockets.discard(connection)
                writer.transport.abort()
        except (OSError, EOFError, ValueError) as error:
            raise BackendError(
                f"llama.cpp went away during the request ({type(error).__name__}: {error}); open it again"
            ) from error

    async def aclose(self) -> None:
        """End the server; its requests in flight fail."""
        self._closed = True
        await asyncio.to_thread(self._end)


def _ending(server: Any, sockets: set[socket.socket]) -> Callable[[], None]:
    """What ends the server: dropping the last reference to it stops and joins its threads.

    That holds the interpreter lock and waits for requests in flight, which end only when their connection does. So the
    connections are shut first, and by the system call: an event loop could not close them any more.
    """
    held = [server]

    def end() -> None:
        for connection in tuple(sockets):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        held.clear()

    return end


async def within(deadline: float | None, awaitable: Awaitable[T]) -> T:
    """Await until a deadline in monotonic seconds.

    Raises:
        DeadlineError: it passed first.
    """
    if deadline is None:
        return await awaitable
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            return await awaitable
    except TimeoutError:
        raise DeadlineError("the deadline passed before the reply was finished; raise deadline_s") from None


class _Answer:
    """An HTTP/1.1 answer: its status, then its body by chunks (RFC 9112, section 7.1) or to the end."""

    def __init__(self, reader: asyncio.StreamReader, status: int, *, chunked: bool) -> None:
        self.status = status
        self._reader = reader
        self._chunked = chunked

    @classmethod
    async def read(cls, reader: asyncio.StreamReader) -> _Answer:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        return cls(reader, int(head.split(b" ", 2)[1]), chunked=b"\r\ntransfer-encoding: chunked\r\n" in head)

    async def chunk(self) -> bytes:
        """The next piece of the body; empty at its end."""
        if not self._chunked:
            return await self._reader.read(65536)
        size = int(await self._reader.readline(), 16)
        return (await self._reader.readexactly(size + 2))[:-2]

    async def whole(self) -> bytes:
        pieces = []
        while piece := await self.chunk():
            pieces.append(piece)
        return b"".join(pieces)


def _parsed(status: int, content: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except ValueError:
        raise BackendError(f"llama.cpp answered HTTP {status} without JSON: {content[:200]!r}") from None
    if status != 200:
        raise _refused(answer.get("error", answer))
    return dict(answer)


def _event(line: bytes) -> dict[str, Any] | None:
    """One line of a server-sent event stream; None for what is not data."""
    field, _, data = line.partition(b": ")
    if field == b"error":
        raise _refused(json.loads(data))
    if field != b"data" or data == b"[DONE]":
        return None
    event: dict[str, Any] = json.loads(data)
    if "error" in event:
        raise _refused(event["error"])
    return event


def _refused(error: Any) -> BackendError:
    words = error.get("message", error) if isinstance(error, dict) else error
    return BackendError(f"llama.cpp refused the request: {words}")


def _engine_words(options: EngineOptions, gguf: str, adapters: Sequence[str]) -> str:
    """Why the engine refuses these files: it says so only in its log, so it is asked again in a process of its own."""
    script = (
        "import json, sys, xllamacpp\n"
        "from scenepipe.backends.llama_engine import EngineOptions, common_params\n"
        "options, gguf, adapters = json.loads(sys.argv[1])\n"
        "xllamacpp.Server(common_params(EngineOptions(**options), gguf, adapters, 'none', verbosity=1))\n"
    )
    arguments = json.dumps([asdict(options), gguf, list(adapters)])
    try:
        done = subprocess.run([sys.executable, "-c", script, arguments], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    words = [line.partition(" E ")[2] for line in done.stderr.splitlines() if " E " in line]
    return words[0].partition(": ")[2] if words else ""


def has_chat_template(gguf: Path) -> bool:
    """Whether the model brings a chat template; llama.cpp itself would silently use ChatML for one that does not.

    Looks for the key in the header's bytes: reading a vocabulary of 262,144 pieces for it takes 40 times as long.
    """
    with gguf.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(_TEMPLATE_KEY, 0, _HEADER_BYTES) >= 0
