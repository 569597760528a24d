"""``remote-tokenizer`` against small servers on real sockets, and its errors."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import SecretStr

from scenepipe.context import Context, Resources
from scenepipe.errors import BackendError, ConfigError, InputError, UnreachableError
from scenepipe.modules.remote_tokenizer import RemoteTokenizer
from scenepipe.scene import Scene, new_scene
from scenepipe.testing.stage_suite import StageSuite

READ: dict[str, Any] = {
    "language": {"code": "en", "confidence": 0.9},
    "pieces": [{"id": 7, "text": "A", "span": [0, 1]}],
    "symbols": [{"lemma": "door", "language": "en", "evidence": [[2, 6]]}],
    "hypertokens": [],
    "count": 1,
}
Answer = Callable[[list[str]], tuple[int, Any]]


class Server:
    """Answers as it is told, and keeps what was asked."""

    def __init__(self) -> None:
        self.answer: Answer = lambda texts: (200, {"data": [READ] * len(texts)})
        self.asked: list[tuple[str, str | None, list[str]]] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                texts = json.loads(self.rfile.read(int(self.headers["content-length"])))["input"]
                owner.asked.append((self.path, self.headers["authorization"], texts))
                status, value = owner.answer(texts)
                body = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def server(shared: Server) -> Server:
    shared.answer = lambda texts: (200, {"data": [READ] * len(texts)})
    shared.asked.clear()
    return shared


def read(stage: RemoteTokenizer, *texts: str) -> list[Scene]:
    ctx = Context(Resources(), run="r", pipeline="p", emit=lambda event: None)
    try:
        return stage.run_batch([new_scene(text) for text in texts], ctx)
    finally:
        http, stage._http = stage._http, None
        if http is not None:
            http.close()


class TestConformance(StageSuite):
    @pytest.fixture(autouse=True)
    def _with(self, server: Server) -> None:
        plain = {"language": {"code": "en"}, "pieces": [], "symbols": [{"lemma": "door", "language": "en"}]}
        server.answer = lambda texts: (200, {"data": [plain] * len(texts)})
        self.server = server

    def make_stage(self) -> RemoteTokenizer:
        return RemoteTokenizer(url=self.server.url)


def test_what_the_server_reads_is_the_scenes(server: Server) -> None:
    (scene, _) = read(RemoteTokenizer(url=f"{server.url}/v1/", key=SecretStr("k")), "A door.", "B door.")
    assert scene.language is not None
    assert scene.language.code == "en"
    assert [piece.id for piece in scene.pieces or ()] == [7]
    assert [symbol.lemma for symbol in scene.symbols or ()] == ["door"]
    assert server.asked == [("/v1/tokenize", "Bearer k", ["A door.", "B door."])]


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        ((400, {"error": {"message": "too long"}}), InputError, "too long"),
        ((401, {"error": {"message": "no key"}}), BackendError, "no key"),
        ((500, b"<html>"), BackendError, "500"),
        ((200, b"<html>"), BackendError, "no scenepipe server"),
        ((200, {"data": []}), BackendError, "0 texts of 1"),
        ((200, {"data": [READ | {"pieces": [{"id": 1, "text": "x", "span": [0, 99]}]}]}), BackendError, "outside"),
    ],
    ids=str,
)
def test_another_answer_is_an_error_that_says_so(
    server: Server, answer: tuple[int, Any], error: type[Exception], says: str
) -> None:
    server.answer = lambda texts: answer
    with pytest.raises(error, match=says):
        read(RemoteTokenizer(url=server.url), "A door.")


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(UnreachableError, match="cannot be reached"):
        read(RemoteTokenizer(url="http://127.0.0.1:1", timeout_s=1), "A door.")
    with pytest.raises(ConfigError, match="http://127") as caught:
        RemoteTokenizer(url="localhost", batch_size=0, timeout_s=0)
    assert {fault.where for fault in caught.value.faults} == {"url", "batch_size", "timeout_s"}


def test_a_slow_server_is_given_up(server: Server) -> None:
    held = threading.Event()
    server.answer = lambda texts: ((held.wait(5) and 200) or 200, {"data": [READ]})
    try:
        with pytest.raises(UnreachableError, match="Timeout"):
            read(RemoteTokenizer(url=server.url, timeout_s=0.1), "A door.")
    finally:
        held.set()
