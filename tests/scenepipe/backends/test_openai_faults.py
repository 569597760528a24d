"""Dead, slow, half-answering and lying servers: what the openai backend makes of each, on real sockets."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from scenepipe.backends.openai import OpenAI
from scenepipe.backends.openai_errors import retry_after
from scenepipe.backends.openai_sse import JsonLines, SseDecoder
from scenepipe.backends.stops import StopText
from scenepipe.contracts import Chunk, Request
from scenepipe.errors import BackendError, DeadlineError
from scenepipe.testing.backend_suite import ANSWER_SCHEMA, GREEDY, text_of
from tests.scenepipe.backends.servers.fake import SSE
from tests.scenepipe.backends.servers.http import Answer, Asked, HttpThread, told

OFF = {"sampling": GREEDY}
KEY = "secret-key"


def event(text: str = "", finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "text": text, "finish_reason": finish}
    return f"data: {json.dumps({'model': 'm', 'choices': [choice], **more}, ensure_ascii=False)}\n\n".encode()


GOOD = [event("Тишина "), event("— вход."), event(finish="stop"), b"data: [DONE]\n\n"]


def streamed(*pieces: bytes, cut: bool = False, pause_s: float = 0.0, headers: dict[str, str] | None = None) -> Answer:
    async def body() -> AsyncIterator[bytes]:
        for number, piece in enumerate(pieces):
            if number and pause_s:
                await asyncio.sleep(pause_s)
            yield piece

    return Answer(body(), headers={**SSE, **(headers or {})}, cut=cut)


class Scripted(HttpThread):
    """Answers `/v1/completions` with each of these in turn, the last one for ever."""

    def __init__(self, *answers: Callable[[], Answer]) -> None:
        super().__init__(self._next)
        self._answers = list(answers)

    async def _next(self, asked: Asked) -> Answer:
        if asked.path == "/v1/models":
            return told({"data": [{"id": "m"}]})
        return self._answers.pop(0)() if len(self._answers) > 1 else self._answers[0]()

    @property
    def tries(self) -> int:
        return sum(asked.path == "/v1/completions" for asked in self.asked)


def run(url: str, use: Callable[[OpenAI], Awaitable[Any]] | None = None, *, request: Any = None, **options: Any) -> Any:
    """The chunks of one reply, or what ``use`` makes of an open backend."""

    async def scenario() -> Any:
        backend = OpenAI(url=url, api_key=SecretStr(KEY), **options)
        await backend.open(None, [])
        try:
            return await use(backend) if use is not None else await _chunks(backend, **(request or {}))
        finally:
            await backend.aclose()

    return asyncio.run(scenario())


async def _chunks(backend: OpenAI, **request: Any) -> list[Chunk]:
    return [chunk async for chunk in backend.generate(Request(**{"prompt": "a", **OFF, **request}))]


# --- streams that must be read ---------------------------------------------------------------------------------------

_TEXT = 'строка  с тем\u2028и этим 🙂 "и" \\n'


def _frames(newline: str, keepalive: bool) -> bytes:
    lines = [": keep-alive", ""] if keepalive else []
    lines += ["event: message", "id: 7", "retry: 10", f"data: {json.dumps({'text': _TEXT}, ensure_ascii=False)}", ""]
    lines += [":", "data:", "", "data: {", 'data: "more": 1}', "", "data: [DONE]", ""]
    return newline.join(lines).encode()


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(["\n", "\r\n", "\r"]), st.booleans(), st.lists(st.integers(0, 400), max_size=12))
def test_events_are_the_same_however_the_bytes_come(newline: str, keepalive: bool, cuts: Sequence[int]) -> None:
    whole = b"\xef\xbb\xbf" + _frames(newline, keepalive)
    edges = [0, *sorted({min(cut, len(whole)) for cut in cuts}), len(whole)]
    decoder = SseDecoder()
    found = [e for a, b in itertools.pairwise(edges) for e in decoder.feed(whole[a:b])] + decoder.end()
    assert [each.data for each in found] == [json.dumps({"text": _TEXT}, ensure_ascii=False), '{\n"more": 1}', "[DONE]"]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text(max_size=8), max_size=6), st.integers(1, 5))
def test_json_lines_are_the_same_however_the_bytes_come(texts: Sequence[str], size: int) -> None:
    lines = [json.dumps({"response": text}, ensure_ascii=False) for text in texts]
    whole = "\n".join(lines).encode()
    decoder = JsonLines()
    found = [e for at in range(0, len(whole), size) for e in decoder.feed(whole[at : at + size])] + decoder.end()
    assert [each.data for each in found] == lines


def test_a_stream_that_is_no_utf8_or_one_endless_line_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="utf-8"):
        SseDecoder().feed(b"data: \xff\xfe\n")
    monkeypatch.setattr("scenepipe.backends.openai_sse.LONGEST_LINE", 100)
    with pytest.raises(ValueError, match="more than 100 bytes"):
        SseDecoder().feed(b"x" * 101)


@pytest.mark.parametrize(
    "pieces",
    [
        GOOD,
        [b"".join(GOOD)],
        [bytes([byte]) for byte in b"".join(GOOD)],
        [piece.replace(b"\n", b"\r\n") for piece in GOOD],
        [b": ping\n\n", *GOOD[:2], b":\n\n", *GOOD[2:]],
        GOOD[:3],
        [*GOOD[:2], GOOD[2].rstrip()],
        [event("Тишина ", unknown={"a": [1]}), *GOOD[1:3], event(usage={"prompt_tokens": 3, "completion_tokens": 2})],
    ],
    ids=["plain", "one packet", "bytes", "crlf", "comments", "no DONE", "no last line end", "unknown fields"],
)
def test_a_stream_is_read(pieces: list[bytes]) -> None:
    with Scripted(lambda: streamed(*pieces)) as server:
        chunks = run(server.url)
    assert text_of(chunks) == "Тишина — вход."
    assert chunks[-1].finish_reason == "stop"
    assert chunks[-1].usage.reply_tokens == 2


def test_connections_are_used_again() -> None:
    with Scripted(lambda: streamed(*GOOD)) as server:

        async def thrice(backend: OpenAI) -> None:
            for _ in range(3):
                await _chunks(backend)

        run(server.url, thrice)
        assert server.connections == 1


# --- streams that must not -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            lambda: streamed(GOOD[0], b'data: {"error": {"message": "CUDA is gone"}}\n\n'),
            "broke the reply off: CUDA is gone",
        ),
        (lambda: streamed(GOOD[0], b"event: error\ndata: it hurts\n\n"), "it hurts"),
        (
            lambda: streamed(GOOD[0], b'data: {"object": "error", "message": "no", "code": 5}\n\n'),
            "broke the reply off: no",
        ),
        (lambda: streamed(*GOOD[:2], cut=True), "went away during the request"),
        (lambda: streamed(*GOOD[:2]), "broke the reply off in the middle, after 14 characters"),
        (lambda: streamed(GOOD[0], b"data: {'not': json}\n\n"), "where a JSON object belongs"),
        (lambda: streamed(GOOD[0], b"data: [1, 2]\n\n"), "where a JSON object belongs"),
        (lambda: streamed(GOOD[0], b"data: \xff\xfe\n\n"), "not text in UTF-8"),
        (lambda: streamed(b'data: {"choices": [7]}\n\n'), "an event is not of its kind"),
        (lambda: streamed(GOOD[0], event(finish="abort")), "gave the reply up"),
        (lambda: told({"error": {"message": "model is broken"}}), "model is broken"),
        (lambda: told({"choices": [{"text": "whole"}]}), "did not answer as such a server does"),
        (lambda: Answer(b"<html><body>Sign <b>in</b></body></html>", headers={"content-type": "text/html"}), "Sign in"),
        (lambda: Answer(b"<h1>Bad Gateway</h1>", 403, {"content-type": "text/html"}), r"403: a web page .*Bad Gateway"),
        (
            lambda: told({"error": {"message": "The model `m` does not exist."}}, 404),
            "does not exist.; compare 'url', 'served'",
        ),
        (
            lambda: told({"detail": [{"loc": ["body", "top_k"], "msg": "must be > 0"}]}, 422),
            "422: body.top_k: must be > 0",
        ),
        (lambda: told({"error": "Unauthorized"}, 401), "401: Unauthorized; give the key as api_key"),
    ],
)
def test_trouble_names_server_request_and_remedy(answer: Callable[[], Answer], words: str) -> None:
    with Scripted(answer) as server:
        with pytest.raises(BackendError, match=words) as raised:
            run(server.url, retries=0)
        assert f"{server.url} (generic)" in str(raised.value)
        assert KEY not in str(raised.value)
        assert server.tries == 1


def test_the_request_id_is_the_servers_own_where_it_tells_one() -> None:
    with (
        Scripted(lambda: told({"error": "no"}, 400, **{"x-request-id": "theirs-1"})) as server,
        pytest.raises(BackendError, match="request theirs-1: HTTP 400: no"),
    ):
        run(server.url)
    with Scripted(lambda: told({"error": "no"}, 400)) as server:
        with pytest.raises(BackendError) as raised:
            run(server.url)
        assert f"request {server.asked[-1].headers['x-request-id']}: HTTP 400" in str(raised.value)


# --- second tries ----------------------------------------------------------------------------------------------------


def test_429_and_503_are_tried_again_after_the_time_that_was_asked_for() -> None:
    busy = [lambda: told({"error": "busy"}, 429, **{"retry-after": "0.3"}), lambda: Answer(b"", 503)]
    with Scripted(*busy, lambda: streamed(*GOOD)) as server:
        started = time.monotonic()
        assert text_of(run(server.url)) == "Тишина — вход."
        assert server.tries == 3
        assert time.monotonic() - started >= 0.3


@pytest.mark.parametrize("retries", [0, 1])
def test_tries_are_bounded(retries: int) -> None:
    with Scripted(lambda: told({"error": "busy"}, 503, **{"retry-after": "0"})) as server:
        with pytest.raises(BackendError, match="HTTP 503: busy; it is not ready or overloaded"):
            run(server.url, retries=retries)
        assert server.tries == retries + 1


def test_a_retry_after_beyond_the_deadline_is_not_waited_for() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(minutes=5), usegmt=True)
    with Scripted(lambda: told({"error": "busy"}, 429, **{"retry-after": later})) as server:
        started = time.monotonic()
        with pytest.raises(BackendError, match=r"asks to come back in \d+ s, which is after the deadline"):
            run(server.url, deadline_s=2.0)
        assert time.monotonic() - started < 1.5


def test_what_has_spoken_is_not_asked_again_and_what_has_not_is() -> None:
    with Scripted(lambda: streamed(GOOD[0], cut=True), lambda: streamed(*GOOD)) as server:
        with pytest.raises(BackendError, match="went away"):
            run(server.url)
        assert server.tries == 1
    with Scripted(lambda: streamed(cut=True), lambda: streamed(), lambda: streamed(*GOOD)) as server:
        assert text_of(run(server.url)) == "Тишина — вход."
        assert server.tries == 3


def test_a_refusal_is_not_asked_again() -> None:
    with Scripted(lambda: told({"error": "no such field"}, 400)) as server:
        with pytest.raises(BackendError, match="no such field"):
            run(server.url)
        assert server.tries == 1


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after(None) is None
    assert retry_after("2.5") == 2.5
    assert retry_after("-1") == 0.0
    assert retry_after("nan") is None
    assert retry_after("soon") is None
    assert 50 < (retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)) or 0) <= 60


# --- time ------------------------------------------------------------------------------------------------------------


def test_a_slow_drip_ends_at_the_deadline_of_the_request_or_of_the_backend() -> None:
    with Scripted(lambda: streamed(*[event("a ")] * 100, pause_s=0.05)) as server:
        for options, request in (({"deadline_s": 0.4}, {}), ({}, {"deadline": time.monotonic() + 0.5})):
            started = time.monotonic()
            with pytest.raises(DeadlineError, match=r"\(generic\), request .*: the deadline passed"):
                run(server.url, request=request, **options)
            assert time.monotonic() - started < 4.0  # the whole drip takes 5 s


def test_silence_before_the_first_token_and_between_tokens() -> None:
    with (
        Scripted(lambda: streamed(b": ping\n\n", *[b": ping\n\n"] * 60, pause_s=0.05)) as server,
        pytest.raises(BackendError, match=r"said nothing for 0.3 s; .* raise first_token_s"),
    ):
        run(server.url, first_token_s=0.3, retries=0)
    with (
        Scripted(lambda: streamed(GOOD[0], *[b": ping\n\n"] * 60, pause_s=0.05)) as server,
        pytest.raises(BackendError, match=r"said nothing for 0.2 s; .* raise between_tokens_s"),
    ):
        run(server.url, between_tokens_s=0.2)


def test_a_dead_port_and_a_deaf_one() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with pytest.raises(BackendError, match=r"cannot be reached .*is it running there\?"):
            run(url, retries=1)
        deaf.listen(1)
        with pytest.raises(BackendError, match="said nothing for 0.2 s"):
            run(url, first_token_s=0.2, retries=0)


def test_an_abandoned_reply_closes_its_connection() -> None:
    with Scripted(lambda: streamed(*[event("a ")] * 400, pause_s=0.02)) as server:

        async def leave(backend: OpenAI) -> None:
            chunks = backend.generate(Request(prompt="a", **OFF))
            await anext(chunks)
            await chunks.aclose()  # type: ignore[attr-defined]
            task = asyncio.create_task(_chunks(backend))
            await asyncio.sleep(0.2)
            task.cancel()
            await asyncio.wait([task])
            until = time.monotonic() + 2
            while server.dropped < 2 and time.monotonic() < until:
                await asyncio.sleep(0.02)
            assert server.dropped == 2

        run(server.url, leave)


def test_no_more_requests_than_parallel_are_in_flight() -> None:
    flying: list[int] = [0, 0]

    async def body() -> AsyncIterator[bytes]:
        flying[0] += 1
        flying[1] = max(flying)
        await asyncio.sleep(0.05)
        flying[0] -= 1
        for piece in GOOD:
            yield piece

    with Scripted(lambda: Answer(body(), headers=SSE)) as server:

        async def many(backend: OpenAI) -> None:
            await asyncio.gather(*(_chunks(backend) for _ in range(8)))

        run(server.url, many, parallel=2)
    assert flying[1] == 2


def test_the_queue_keeps_the_deadline() -> None:
    with Scripted(lambda: streamed(*[event("a ")] * 100, pause_s=0.05)) as server:

        async def two(backend: OpenAI) -> None:
            first = asyncio.create_task(_chunks(backend))
            await asyncio.sleep(0.1)
            with pytest.raises(DeadlineError, match="in the queue; raise deadline_s or parallel"):
                await _chunks(backend, deadline=time.monotonic() + 0.2)
            first.cancel()
            await asyncio.wait([first])

        run(server.url, two, parallel=1)


# --- replies that are not what was asked for -------------------------------------------------------------------------


def test_a_schema_that_is_ignored_is_found() -> None:
    def chat(text: str) -> bytes:
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": "stop"}
        return f"data: {json.dumps({'choices': [choice]})}\n\n".encode()

    for text in ("Sure! Here it is", '{"word": '):
        body = chat(text)
        with (
            Scripted(lambda body=body: streamed(body)) as server,  # type: ignore[misc]
            pytest.raises(BackendError, match="did not keep to the JSON Schema"),
        ):
            run(server.url, endpoint="chat", request={"json_schema": ANSWER_SCHEMA})


def test_more_stop_strings_than_the_server_takes_are_watched_here() -> None:
    with Scripted(lambda: streamed(event("one tw"), event("o three"), event(finish="length"))) as server:
        stop = ("s1", "s2", "s3", "s4", "two")
        chunks = run(server.url, request={"stop": stop})
        assert server.asked[-1].body["stop"] == ["s1", "s2", "s3", "s4"]
    assert text_of(chunks) == "one "
    assert chunks[-1].finish_reason == "stop"


@settings(deadline=None, max_examples=40)
@given(st.text("abc", max_size=20), st.lists(st.text("abc", min_size=1, max_size=3), max_size=3), st.integers(1, 4))
def test_stop_strings_end_a_text_at_the_first_of_them(text: str, stop: Sequence[str], size: int) -> None:
    watch, said = StopText(stop), ""
    for at in range(0, len(text), size):
        said += watch.add(text[at : at + size])
        if watch.stopped:
            break
    said += watch.rest()
    read = (text[: at + size] for at in range(0, len(text), size))
    met = next((so_far for so_far in read if any(each in so_far for each in stop)), None)
    assert watch.stopped == (met is not None)
    assert said == (text if met is None else text[: min(met.index(each) for each in stop if each in met)])
