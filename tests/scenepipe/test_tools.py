"""Tools and messages as values: what may stand in them, and calls put together from their pieces."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from scenepipe.contracts import Capabilities, Request
from scenepipe.errors import BackendError
from scenepipe.message import Message
from scenepipe.tools import Tool, ToolCall, ToolCallPiece, Tools, check_tools, joined, lacks

WEATHER, CLOCK = Tool(name="weather_of"), Tool(name="clock_of")
CALL = ToolCall(id="c", name="weather_of", arguments="{}")
USER = Message(role="user", content="Snow?")


@pytest.mark.parametrize(
    ("given", "wishes"),
    [
        ({}, ()),
        ({"parallel": True}, ()),
        ({"parallel": False}, ("parallel",)),
        ({"choice": "required"}, ("required",)),
        ({"choice": "required", "named": "clock_of", "parallel": False}, ("named", "parallel")),
    ],
)
def test_the_wishes_are_what_goes_beyond_offering(given: dict[str, Any], wishes: tuple[str, ...]) -> None:
    tools = Tools(offered=(WEATHER, CLOCK), **given)
    assert tools.wishes == wishes
    assert lacks(tools, tools.wishes) is None
    assert lacks(tools, ()) == next(iter(wishes), None)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"offered": ()}, "at least 1"),
        ({"offered": (WEATHER, WEATHER)}, "'weather_of' is there twice"),
        ({"offered": (WEATHER,), "named": "weather_off"}, "did you mean 'weather_of'"),
    ],
)
def test_tools_that_cannot_be_told_apart_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Tools(**wrong)


@pytest.mark.parametrize("name", ["", "a b", "я", "a" * 65, "a.b"])
def test_a_name_is_one_that_every_server_takes(name: str) -> None:
    with pytest.raises(ValidationError):
        Tool(name=name)


@pytest.mark.parametrize(
    "wrong",
    [
        {"role": "tool", "content": "Snow."},
        {"role": "user", "content": "Snow.", "tool_call_id": "c"},
        {"role": "user", "content": "Snow.", "tool_calls": (CALL,)},
    ],
)
def test_a_message_has_what_belongs_to_its_role(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="tool"):
        Message(**wrong)


def test_a_message_goes_out_with_what_it_has_and_nothing_else() -> None:
    assert USER.wire() == {"role": "user", "content": "Snow?"}
    assert Message(role="tool", content="Yes.", tool_call_id="c").wire() == {
        "role": "tool",
        "content": "Yes.",
        "tool_call_id": "c",
    }
    assert Message(role="assistant", content="", tool_calls=(CALL,)).wire()["tool_calls"] == [
        {"id": "c", "type": "function", "function": {"name": "weather_of", "arguments": "{}"}}
    ]


@given(st.data(), st.lists(st.text(max_size=12), min_size=1, max_size=4))
def test_calls_are_put_together_however_their_pieces_are_mixed(data: st.DataObject, arguments: list[str]) -> None:
    calls = [ToolCall(id=f"c{n}", name=f"f{n}", arguments=text) for n, text in enumerate(arguments)]
    waiting = {
        n: [ToolCallPiece(index=n, id=c.id, name=c.name), *(ToolCallPiece(index=n, arguments=a) for a in c.arguments)]
        for n, c in enumerate(calls)
    }
    pieces = []
    while waiting:
        number = data.draw(st.sampled_from(sorted(waiting)))
        pieces.append(waiting[number].pop(0))
        if not waiting[number]:
            del waiting[number]
    assert joined(pieces) == tuple(calls)


def test_an_engine_without_tools_refuses_them_and_their_messages() -> None:
    tools, called = Tools(offered=(WEATHER,)), Message(role="assistant", content="", tool_calls=(CALL,))
    none, some = Capabilities(), Capabilities(tools=True, tool_wishes=("required",))
    for request in (Request(messages=(USER,), tools=tools), Request(messages=(USER, called))):
        with pytest.raises(BackendError, match="stone calls no tools"):
            check_tools(request, none, "stone")
        check_tools(request, some, "stone")
    check_tools(Request(messages=(USER,)), none, "stone")
    required = tools.model_copy(update={"choice": "required"})
    check_tools(Request(messages=(USER,), tools=required), some, "stone")
    with pytest.raises(BackendError, match="parallel_tool_calls"):
        check_tools(Request(messages=(USER,), tools=tools.model_copy(update={"parallel": False})), some, "stone")
    with pytest.raises(BackendError, match="need messages"):
        check_tools(Request(prompt="Snow?", tools=tools), some, "stone")
