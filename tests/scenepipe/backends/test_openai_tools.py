"""Tools over HTTP: the suite at a strict server of every flavour that calls them, requests and events piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from scenepipe.backends.openai import OpenAI
from scenepipe.backends.openai_calls import CallReader, tools_body
from scenepipe.backends.openai_flavours import FLAVOURS, FlavourName
from scenepipe.contracts import Chunk
from scenepipe.errors import BackendError
from scenepipe.message import Message
from scenepipe.register import Register
from scenepipe.testing.backend_requests import GREEDY, collect
from scenepipe.testing.backend_suite_tools import BOTH, CLOCK, QUESTION, WEATHER, ToolSuite
from scenepipe.tools import ToolCall, ToolCallPiece, Tools, joined
from tests.scenepipe.backends.servers.fake import FakeServer
from tests.scenepipe.backends.servers.fields import fields
from tests.scenepipe.backends.servers.http import Answer, HttpThread, told

CALLING = sorted(name for name, row in FLAVOURS.items() if row.chat is not None and row.chat.tools is not None)
NOT_CALLING = sorted(set(FLAVOURS) - set(CALLING))


class TestTools(ToolSuite):
    """Every flavour: those that call nothing refuse."""

    @pytest.fixture(scope="class", params=sorted(FLAVOURS))
    @classmethod
    def backend(cls, request: pytest.FixtureRequest, runner: asyncio.Runner) -> Iterator[OpenAI]:
        poet = ("poet",) if request.param == "llama-server" else ()  # it refuses a request without scales
        with FakeServer(request.param, adapters=poet) as server:
            backend = OpenAI(url=server.url, flavour=request.param, endpoint="chat")
            registers = [Register(name, Path(), {}, {}, "●", "🙂", "CC0-1.0", {}) for name in poet]
            runner.run(backend.open(None, registers))
            yield backend
            runner.run(backend.aclose())


@asynccontextmanager
async def opened(url: str, flavour: FlavourName = "generic", endpoint: Any = "chat") -> AsyncIterator[OpenAI]:
    backend = OpenAI(url=url, flavour=flavour, endpoint=endpoint)
    await backend.open(None, [])
    try:
        yield backend
    finally:
        await backend.aclose()


@pytest.mark.parametrize("flavour", CALLING)
def test_every_wish_of_the_table_is_a_documented_field(flavour: FlavourName) -> None:
    endpoint = FLAVOURS[flavour].chat
    assert endpoint is not None
    assert endpoint.tools is not None
    known = fields(flavour, endpoint.path)
    named = {"required": "tool_choice", "named": "tool_choice", "parallel": "parallel_tool_calls"}
    assert {"tools", *(named[wish] for wish in endpoint.tools)} <= known


@pytest.mark.parametrize("flavour", CALLING)
def test_plain_prompts_have_no_tools(flavour: FlavourName) -> None:
    assert not OpenAI(url="http://h", flavour=flavour).capabilities.tools
    assert OpenAI(url="http://h", flavour=flavour, endpoint="chat").capabilities.tools


def test_servers_of_which_nothing_is_sure_call_nothing() -> None:
    assert NOT_CALLING == ["fastchat", "tgi"]


def test_a_request_says_what_is_asked_and_nothing_more() -> None:
    every = Tools(offered=(WEATHER,), named=WEATHER.name, parallel=True)
    assert tools_body(every, ("required", "named", "parallel")) == {
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "weather_of",
                    "description": "The weather of a town.",
                    "parameters": WEATHER.parameters,
                },
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "weather_of"}},
        "parallel_tool_calls": True,
    }
    plain = Tools(offered=(WEATHER.model_copy(update={"strict": True}),))
    assert list(tools_body(plain, ())) == ["tools"]
    assert tools_body(plain, ())["tools"][0]["function"]["strict"] is True
    assert tools_body(plain, ("required",))["tool_choice"] == "auto"
    assert "parallel_tool_calls" not in tools_body(plain, ("parallel",))


def test_calls_are_numbered_by_where_they_began() -> None:
    reader = CallReader()
    first = [{"index": 0, "id": "a", "function": {"name": "one", "arguments": None}}]
    more = [
        {"index": 0, "id": "another", "function": {"arguments": '{"x":'}},
        {"index": 0, "function": {"arguments": "1}"}},
    ]
    second = [{"index": 0, "id": "b", "function": {"name": "two", "arguments": {"y": "я"}}}]
    third = [{"function": {"name": "three", "arguments": ""}}, {"function": {"name": "four"}}]
    pieces = [piece for event in (first, more, [{"index": 0}], second, third) for piece in reader.read(event)]
    calls = joined(pieces)
    assert calls[:2] == (
        ToolCall(id="a", name="one", arguments='{"x":1}'),
        ToolCall(id="b", name="two", arguments='{"y": "я"}'),
    )
    assert [call.name for call in calls] == ["one", "two", "three", "four"]
    assert len({call.id for call in calls}) == 4
    assert pieces[1] == ToolCallPiece(index=0, arguments='{"x":')
    with pytest.raises(KeyError):
        reader.read([{"index": 7, "function": {"arguments": "{}"}}])


def _serving(*events: str) -> HttpThread:
    async def answer(asked: Any) -> Answer:
        if asked.method == "GET":
            return told({"object": "list", "data": [{"id": "m", "object": "model"}]})
        lines = "".join(f"data: {event}\n\n" for event in (*events, "[DONE]"))
        return Answer(lines.encode(), headers={"content-type": "text/event-stream"})

    return HttpThread(answer)


async def _chunks(url: str) -> list[Chunk]:
    async with opened(url) as backend:
        tools = Tools(offered=(WEATHER, CLOCK))
        return await collect(backend, messages=(BOTH,), tools=tools, sampling=GREEDY, max_tokens=32)


def test_a_whole_message_in_a_stream_is_read_too() -> None:
    call = '{"id": "c", "type": "function", "function": {"name": "weather_of", "arguments": "{}"}}'
    event = (
        f'{{"choices": [{{"message": {{"content": "Wait.", "tool_calls": [{call}]}}, "finish_reason": "tool_calls"}}]}}'
    )
    with _serving(event) as server:
        chunks = asyncio.run(_chunks(server.url))
    assert joined(p for c in chunks for p in c.tool_calls) == (ToolCall(id="c", name="weather_of", arguments="{}"),)
    assert chunks[0].text == "Wait."
    assert chunks[-1].finish_reason == "tool_calls"


def test_an_end_with_tool_calls_without_a_call_is_an_end() -> None:
    event = '{"choices": [{"delta": {"content": "None."}, "finish_reason": "tool_calls"}]}'
    with _serving(event) as server:
        assert asyncio.run(_chunks(server.url))[-1].finish_reason == "stop"


def test_a_call_that_was_cut_off_ends_with_length() -> None:
    call = '{"index": 0, "id": "c", "function": {"name": "weather_of", "arguments": "{"}}'
    with _serving(f'{{"choices": [{{"delta": {{"tool_calls": [{call}]}}, "finish_reason": "length"}}]}}') as server:
        chunks = asyncio.run(_chunks(server.url))
    assert [chunk.finish_reason for chunk in chunks] == [None, "length"]


def test_a_piece_of_no_call_is_an_error_that_names_the_server() -> None:
    event = '{"choices": [{"delta": {"tool_calls": [{"index": 3, "function": {"arguments": "{}"}}]}}]}'
    with _serving(event) as server, pytest.raises(BackendError, match=server.url.removeprefix("http://")):
        asyncio.run(_chunks(server.url))


def test_the_history_of_calls_goes_out_in_openais_form() -> None:
    call = ToolCall(id="c", name="weather_of", arguments='{"town":"Tver"}')
    called = Message(role="assistant", content="", tool_calls=(call,))
    said = (QUESTION, called, Message(role="tool", content="Snow.", tool_call_id="c"))
    with FakeServer("generic") as server:

        async def ask() -> None:
            async with opened(server.url) as backend:
                await collect(backend, messages=said, sampling=GREEDY, max_tokens=4)

        asyncio.run(ask())
        (body,) = [asked.body for asked in server.asked if asked.method == "POST"]
    assert body["messages"][1:] == [
        {"role": "assistant", "content": "", "tool_calls": [call.wire()]},
        {"role": "tool", "content": "Snow.", "tool_call_id": "c"},
    ]
    assert "tools" not in body
