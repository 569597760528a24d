"""What every backend must do with tools: call them where it says that it can, and refuse them by name where it cannot."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from scenepipe.contracts import Backend, Chunk
from scenepipe.errors import BackendError
from scenepipe.message import Message
from scenepipe.testing.backend_requests import GREEDY, collect, text_of
from scenepipe.tools import Tool, ToolCall, Tools, ToolWish, joined

WEATHER = Tool(
    name="weather_of",
    description="The weather of a town.",
    parameters={
        "type": "object",
        "properties": {"town": {"type": "string", "minLength": 1}},
        "required": ["town"],
        "additionalProperties": False,
    },
)
CLOCK = Tool(name="clock_of", description="The time in a town.", parameters=WEATHER.parameters)
QUESTION = Message(role="user", content="Call weather_of with the town Tver.")
BOTH = Message(role="user", content="Call weather_of and clock_of with the town Tver.")


class ToolSuite:
    """Calls, their results, and what may be asked about them."""

    def _asked(self, backend: Backend, *offered: Tool, **given: Any) -> Tools:
        known = backend.capabilities.tool_wishes
        choice = "required" if "required" in known and "named" not in given else "auto"
        return Tools(**{"offered": offered or (WEATHER, CLOCK), "choice": choice, **given})

    def _chunks(self, backend: Backend, runner: asyncio.Runner, tools: Tools | None, *messages: Message) -> list[Chunk]:
        if not backend.capabilities.tools:
            pytest.skip("no tools")
        request = {"messages": messages, "tools": tools, "sampling": GREEDY, "max_tokens": 96}
        return runner.run(collect(backend, **request))

    def test_a_call_comes_in_pieces_and_ends_the_reply(self, backend: Backend, runner: asyncio.Runner) -> None:
        chunks = self._chunks(backend, runner, self._asked(backend, WEATHER), QUESTION)
        pieces = [piece for chunk in chunks for piece in chunk.tool_calls]
        (call,) = joined(pieces)
        assert call.name == WEATHER.name
        assert call.id
        assert json.loads(call.arguments)["town"]
        assert [bool(piece.id and piece.name) for piece in pieces] == [True] + [False] * (len(pieces) - 1)
        assert [chunk.finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["tool_calls"]
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.reply_tokens > 0

    def test_what_a_call_gave_is_answered_in_words(self, backend: Backend, runner: asyncio.Runner) -> None:
        (call,) = _calls(self._chunks(backend, runner, self._asked(backend, WEATHER), QUESTION))
        said = (
            QUESTION,
            Message(role="assistant", content="", tool_calls=(call,)),
            Message(role="tool", content="Snow, minus three.", tool_call_id=call.id),
        )
        for tools in (Tools(offered=(WEATHER,)), None):
            chunks = self._chunks(backend, runner, tools, *said)
            assert text_of(chunks).strip()
            assert chunks[-1].finish_reason in ("stop", "length")

    def test_a_named_tool_is_the_one_that_is_called(self, backend: Backend, runner: asyncio.Runner) -> None:
        self._knows(backend, "named")
        for tool in (WEATHER, CLOCK):
            calls = _calls(self._chunks(backend, runner, self._asked(backend, named=tool.name), QUESTION))
            assert {call.name for call in calls} == {tool.name}

    def test_a_required_call_is_made(self, backend: Backend, runner: asyncio.Runner) -> None:
        self._knows(backend, "required")
        thanks = Message(role="user", content="Thank you.")
        assert _calls(self._chunks(backend, runner, Tools(offered=(WEATHER,), choice="required"), thanks))

    def test_without_parallel_calls_there_is_one(self, backend: Backend, runner: asyncio.Runner) -> None:
        self._knows(backend, "parallel")
        assert len(_calls(self._chunks(backend, runner, self._asked(backend, parallel=False), BOTH))) == 1
        several = _calls(self._chunks(backend, runner, self._asked(backend, parallel=True), BOTH))
        assert len({call.id for call in several}) == len(several) >= 1

    def test_what_it_cannot_do_with_tools_is_refused_by_name(self, backend: Backend, runner: asyncio.Runner) -> None:
        can, tools = backend.capabilities, Tools(offered=(WEATHER,))
        call = ToolCall(id="call_1", name=WEATHER.name, arguments="{}")
        history = (QUESTION, Message(role="assistant", content="", tool_calls=(call,)))
        wrong: list[tuple[str, dict[str, Any]]] = [("tools", {"prompt": QUESTION.content, "tools": tools})]
        if not can.tools:
            wrong += [("tools", {"messages": (QUESTION,), "tools": tools}), ("tools", {"messages": history})]
        else:
            wishes: dict[ToolWish, dict[str, Any]] = {
                "required": {"choice": "required"},
                "named": {"named": WEATHER.name},
                "parallel": {"parallel": False},
            }
            unknown = [given for wish, given in wishes.items() if wish not in can.tool_wishes]
            wrong += [("tool_c", {"messages": (QUESTION,), "tools": tools.model_copy(update=g)}) for g in unknown]
        for words, request in wrong:
            with pytest.raises(BackendError, match=words):
                runner.run(collect(backend, max_tokens=8, sampling=GREEDY, **request))

    def _knows(self, backend: Backend, wish: ToolWish) -> None:
        if wish not in backend.capabilities.tool_wishes:
            pytest.skip(f"it takes no {wish}")


def _calls(chunks: Sequence[Chunk]) -> tuple[ToolCall, ...]:
    return joined(piece for chunk in chunks for piece in chunk.tool_calls)
