"""A real server in a thread, on a real socket, over the toy stage and the fake engine."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import openai
import pytest

from scenepipe.contracts import Chunk, Request
from scenepipe.pipeline import Pipeline
from scenepipe.registry import default_registry
from scenepipe.server.app import NO_KEYS, build_app
from scenepipe.server.auth import Keys, key_line, parse_keys
from scenepipe.server.running import Server
from scenepipe.server.service import Service
from scenepipe.server.settings import Settings
from scenepipe.testing.fake_backend import FakeBackend
from scenepipe.testing.hash_encoder import HashEncoder

TOY_FILE = Path(__file__).parents[1] / "cli" / "toy.py"
UNTIL_S = 60.0
START_S = 120.0
KEYS = parse_keys([key_line("anna", "sp-anna"), key_line("bert", "sp-bert")], "test")


def wait_until(true: Callable[[], bool], seconds: float = UNTIL_S, what: str = "it did not come about") -> None:
    """Wait for something that another thread brings about."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.002)


class Endless(FakeBackend):
    """Never ends by itself; counts who is inside. ``silent`` says nothing, as an engine that still reads a long prompt."""

    def __init__(self, *, silent: bool = False) -> None:
        super().__init__()
        self.inside = 0
        self.begun = 0
        self.silent = silent

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        self.inside += 1
        self.begun += 1
        try:
            while True:
                await asyncio.sleep(0.002)
                if not self.silent:
                    yield Chunk(text=" word")
        finally:
            self.inside -= 1


class Serving:
    """A server that runs in a thread."""

    def __init__(self, pipeline: Pipeline, settings: Settings, keys: Keys = NO_KEYS, **options: Any) -> None:
        self._clients: list[httpx.Client] = []
        self.pipeline = pipeline
        self.app = build_app(pipeline, settings, keys=keys, **options)
        self.service: Service = self.app.state.service
        self.server = Server(self.app, settings)
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        wait_until(lambda: self.server.started, START_S)
        wait_until(lambda: self.service.ready or self.service.broken is not None, START_S)
        self.url = f"http://127.0.0.1:{self.server.port}"

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self.server.serve())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    @property
    def busy(self) -> bool:
        """Whether a reply is made or written, or somebody waits for one."""
        service = self.service
        return bool(service._replies or service._kept or service.admission.running or service.admission.waiting)

    def call(self, coroutine: Any) -> Any:
        """Run something on the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(UNTIL_S)

    def encounters(self) -> Any:
        """Everything that was remembered."""
        assert self.service.archive is not None
        return list(self.call(self.service.archive.encounters()))

    def client(self, **options: Any) -> httpx.Client:
        """A client that is closed with the server."""
        self._clients.append(httpx.Client(base_url=self.url, timeout=UNTIL_S, **options))
        return self._clients[-1]

    def openai(self, **options: Any) -> openai.OpenAI:
        given = {"api_key": "none", "max_retries": 0} | options
        return openai.OpenAI(base_url=f"{self.url}/v1", http_client=self.client(), **given)

    def drain(self) -> None:
        self.loop.call_soon_threadsafe(self.server.begin_drain)

    def join(self, seconds: float = UNTIL_S) -> None:
        self._thread.join(seconds)
        assert not self._thread.is_alive()

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.server.should_exit = True
        self._thread.join(UNTIL_S)


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scenepipe_server_toy", TOY_FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def toy_pipeline(toy: ModuleType, folder: Path, *, backend: Any = None, **decode: Any) -> Pipeline:
    """Toy stage, recall, decode and remember, over SQLite and the fake engine."""
    load = default_registry().load
    from scenepipe.register import find_registers
    from scenepipe.rooms import room

    return Pipeline(
        [
            ("toy-scene", toy.ToyScene(fail_on="BOOM")),
            ("recall", load("stage", "recall")(top_k=2)),
            ("decode", load("stage", "decode")(**({"seed": 1} | decode))),
            ("remember", load("stage", "remember")()),
        ],
        name="toy",
        backend=backend or FakeBackend(),
        archive=load("archive", "sqlite")(path=str(folder / "archive.db")),
        encoder=HashEncoder(),
        registers=find_registers(["poet", "philosopher"], [room("registers")]),
    )


class Starter:
    """Starts servers, and stops all of them. Keyword arguments are settings; ``decode`` holds options of that stage."""

    def __init__(self, toy: ModuleType, folder: Path) -> None:
        self._toy = toy
        self._folder = folder
        self._started: list[Serving] = []

    def __call__(
        self,
        *,
        backend: Any = None,
        keys: Keys = NO_KEYS,
        decode: Any = None,
        pipeline: Any = None,
        app: Any = None,
        **settings: Any,
    ) -> Serving:
        made = pipeline or toy_pipeline(self._toy, self._folder, backend=backend, **(decode or {}))
        self._started.append(Serving(made, Settings(**({"port": 0} | settings)), keys, **(app or {})))
        return self._started[-1]

    def close(self) -> None:
        for each in self._started:
            each.close()


@pytest.fixture
def serving(toy: ModuleType, tmp_path: Path) -> Iterator[Starter]:
    starter = Starter(toy, tmp_path)
    yield starter
    starter.close()


@pytest.fixture(scope="module")
def serving_all(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """For servers that all tests of a file share."""
    starter = Starter(toy, tmp_path_factory.mktemp("served"))
    yield starter
    starter.close()


@pytest.fixture
def served(serving: Starter) -> Serving:
    return serving()
