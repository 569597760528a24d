"""Tools as openai-python asks for them: calls whole and streamed, their results, and what of it is remembered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import openai
import pytest

from scenepipe import chats
from scenepipe.contracts import Chunk, Request
from scenepipe.testing.fake_backend import FakeBackend

CAN = {"chat": True, "tools": True, "tool_wishes": ("required", "named", "parallel")}
TOWN = {"type": "object", "properties": {"town": {"type": "string", "minLength": 1}}, "required": ["town"]}
WEATHER: Any = {"type": "function", "function": {"name": "weather_of", "description": "Weather.", "parameters": TOWN}}
CLOCK: Any = {"type": "function", "function": {"name": "clock_of", "parameters": TOWN}}
ASKED: Any = {"role": "user", "content": "What does weather_of say of Tver?"}
NAMED = {"X-Scenepipe-Chat": "kitchen"}


class Recording(FakeBackend):
    """Keeps its requests."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**({"capabilities": CAN} | options))
        self.asked: list[Request] = []

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        self.asked.append(request)
        async for chunk in super().generate(request):
            yield chunk


@pytest.fixture
def engine() -> Recording:
    return Recording()


@pytest.fixture
def started(serving: Callable[..., Any], engine: Recording) -> Any:
    return serving(backend=engine)


@pytest.fixture
def client(started: Any) -> openai.OpenAI:
    found: openai.OpenAI = started.openai()
    return found


def kinds(started: Any) -> list[str]:
    return [e.kind for e in started.encounters() if e.kind != "linked"]


def ask(client: openai.OpenAI, *messages: Any, **options: Any) -> Any:
    return client.chat.completions.create(
        model="toy", messages=list(messages), **({"tools": [WEATHER, CLOCK]} | options)
    )


def results(message: Any, *gave: str) -> list[Any]:
    """The assistant's message and what its calls gave, as clients send them back."""
    told = [
        {"role": "tool", "tool_call_id": call.id, "content": words}
        for call, words in zip(message.tool_calls, gave, strict=True)
    ]
    return [message.model_dump(exclude_none=True), *told]


def answered(client: openai.OpenAI, *messages: Any, **options: Any) -> tuple[list[Any], str]:
    """A call, its result, and the answer: all messages up to it, and its words."""
    called = ask(client, *messages, **options).choices[0]
    assert called.finish_reason == "tool_calls"
    said = [*messages, *results(called.message, "Snow.")]
    final = ask(client, *said, **options).choices[0]
    assert final.finish_reason == "stop"
    return said, final.message.content


def test_a_call_is_told_whole(client: openai.OpenAI) -> None:
    choice = ask(client, ASKED, seed=1).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    (call,) = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "weather_of")
    assert json.loads(call.function.arguments) == {"town": "x"}
    plain = ask(client, {"role": "user", "content": "Why?"}).choices[0]
    assert plain.finish_reason == "stop"
    assert plain.message.content
    assert plain.message.tool_calls is None


def test_a_call_is_streamed_piece_by_piece(client: openai.OpenAI) -> None:
    both: Any = {"role": "user", "content": "weather_of and clock_of Tver?"}
    whole = ask(client, both, seed=1).choices[0].message.tool_calls
    chunks = list(ask(client, both, seed=1, stream=True, stream_options={"include_usage": True}))
    deltas = [d for c in chunks for choice in c.choices for d in choice.delta.tool_calls or ()]
    assert [(d.index, d.id, d.function.name) for d in deltas if d.id] == [
        (0, whole[0].id, "weather_of"),
        (1, whole[1].id, "clock_of"),
    ]
    for index, call in enumerate(whole):
        assert "".join(d.function.arguments for d in deltas if d.index == index) == call.function.arguments
    assert len(deltas) == 4
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "tool_calls"
    assert chunks[-1].usage.completion_tokens > 0
    with client.chat.completions.stream(model="toy", messages=[both], tools=[WEATHER, CLOCK], seed=1) as stream:
        final = stream.get_final_completion().choices[0].message
    assert [call.id for call in final.tool_calls or ()] == [call.id for call in whole]


def test_what_a_tool_gave_is_answered_and_the_text_is_met_once(client: openai.OpenAI, started: Any) -> None:
    ask_again, text = answered(client, ASKED)
    met, spoken = (e for e in started.encounters() if e.kind != "linked")
    assert (met.kind, spoken.kind, spoken.data["text"], spoken.data["parent"]) == ("met", "spoken", text, met.id)
    thanks: Any = {"role": "user", "content": "And why?"}
    ask(client, *ask_again, {"role": "assistant", "content": text}, thanks)
    assert kinds(started) == ["met", "spoken"] * 2
    assert len({e.chat for e in started.encounters() if e.chat}) == 1
    chat = started.call(chats.load(started.service.archive, met.chat))
    assert [(step.reply, step.replies, step.versions) for step in chat.steps()][0] == (text, 1, 1)
    assert len(chat.steps()) == 2


def test_a_call_alone_leaves_a_text_that_waits(client: openai.OpenAI, started: Any) -> None:
    found: Any = ask(client, ASKED, extra_body={"scenepipe": {"scene": True}})
    (met,) = started.encounters()
    assert met.kind == "met"
    assert found.scenepipe["tip"] is None
    assert found.scenepipe["scene"]["reply"]["tool_calls"][0]["name"] == "weather_of"
    assert started.call(started.service.archive.get([met.scene_id]))[0].text == ASKED["content"]
    assert started.call(chats.load(started.service.archive, met.chat)).steps()[0].spoken is None


@pytest.mark.parametrize("headers", [{}, NAMED, {"X-OpenWebUI-Chat-Id": "window"}], ids=["nameless", "named", "window"])
def test_several_rounds_of_calls_are_one_turn(client: openai.OpenAI, started: Any, headers: Any) -> None:
    said, text = [ASKED], None
    for number in range(3):
        choice: Any = {"tool_choice": "required"} if number < 2 else {}
        message = ask(client, *said, extra_headers=headers, **choice).choices[0].message
        if message.tool_calls:
            said += results(message, "Snow.")
        text = message.content
    assert text
    assert kinds(started) == ["met", "spoken"]


def test_each_of_two_equal_texts_gets_its_answer(client: openai.OpenAI, started: Any) -> None:
    first, second = (ask(client, ASKED, seed=seed).choices[0].message for seed in (1, 2))
    for message in (first, second):
        assert ask(client, ASKED, *results(message, "Snow.")).choices[0].message.content
    assert sorted(kinds(started)) == ["met", "met", "spoken", "spoken"]
    by_chat: dict[str, list[str]] = {}
    for encounter in started.encounters():
        by_chat.setdefault(str(encounter.chat), []).append(encounter.kind)
    assert sorted(len([k for k in found if k == "spoken"]) for found in by_chat.values()) == [1, 1]


def test_a_turn_with_a_parent_goes_on_where_it_was_met(client: openai.OpenAI, started: Any) -> None:
    first: Any = client.chat.completions.create(
        model="toy",
        messages=[{"role": "user", "content": "Hello"}],
        extra_headers=NAMED,
        extra_body={"scenepipe": {"scene": True}},
    )
    for text in ("Branch weather_of", "Branch clock_of"):
        headers = NAMED | {"X-Scenepipe-Parent": first.scenepipe["tip"]}
        answered(client, {"role": "user", "content": text}, extra_headers=headers)
    assert kinds(started) == ["met", "spoken"] * 3
    chat = started.call(chats.load(started.service.archive, "kitchen"))
    assert len(chat.tips) == 2


def test_the_models_own_template_speaks_with_the_mixture(client: openai.OpenAI, engine: Recording) -> None:
    system: Any = {"role": "system", "content": "Be brief."}
    said, _ = answered(client, system, ASKED)
    first, second = engine.asked
    assert first.prompt is None
    assert [m.wire() for m in first.messages or ()] == [system, ASKED]
    assert [m.role for m in second.messages or ()] == ["system", "user", "assistant", "tool"]
    assert (second.messages or ())[-1].tool_call_id == said[2]["tool_calls"][0]["id"]
    assert first.tools is not None
    assert [tool.name for tool in first.tools.offered] == ["weather_of", "clock_of"]
    assert first.tools.offered[0].parameters == TOWN
    assert first.plan.used.weights
    assert first.stop == ()


def test_the_chats_earlier_turns_are_messages_too(client: openai.OpenAI, engine: Recording) -> None:
    hello: Any = {"role": "user", "content": "Hello there"}
    reply = (
        client.chat.completions.create(model="toy", messages=[hello], extra_headers=NAMED).choices[0].message.content
    )
    answered(client, ASKED, extra_headers=NAMED)
    assert engine.asked[0].prompt is not None
    for request in engine.asked[1:]:
        assert [m.content for m in request.messages or ()][:3] == ["Hello there", reply, ASKED["content"]]


def test_a_history_of_calls_is_sent_on_as_it_is(client: openai.OpenAI, engine: Recording, started: Any) -> None:
    said, text = answered(client, ASKED)
    more = [*said, {"role": "assistant", "content": text}, {"role": "user", "content": "And why?"}]
    client.chat.completions.create(model="toy", messages=more)  # without tools: their messages are still messages
    request = engine.asked[-1]
    assert request.tools is None
    assert [m.role for m in request.messages or ()] == ["user", "assistant", "tool", "assistant", "user"]
    assert kinds(started) == ["met", "spoken"] * 2


def test_a_choice_is_followed(client: openai.OpenAI, engine: Recording) -> None:
    named: Any = {"type": "function", "function": {"name": "clock_of"}}
    hello: Any = {"role": "user", "content": "Hello"}
    both: Any = {"role": "user", "content": "weather_of and clock_of?"}
    assert ask(client, hello, tool_choice=named).choices[0].message.tool_calls[0].function.name == "clock_of"
    assert len(ask(client, hello, tool_choice="required").choices[0].message.tool_calls) == 1
    assert len(ask(client, both).choices[0].message.tool_calls) == 2
    assert len(ask(client, both, parallel_tool_calls=False).choices[0].message.tool_calls) == 1
    assert ask(client, both, tool_choice="none").choices[0].message.content
    assert engine.asked[-1].prompt is not None


def test_several_choices_each_have_their_calls(client: openai.OpenAI, started: Any) -> None:
    found = ask(client, ASKED, n=2, seed=4)
    assert len({choice.message.tool_calls[0].id for choice in found.choices}) == 2
    assert kinds(started) == ["met"]


def test_a_request_that_is_sent_again_is_answered_again(client: openai.OpenAI, engine: Recording, started: Any) -> None:
    again = {"x-stainless-retry-count": "1"}
    said, text = answered(client, ASKED, extra_headers=NAMED)
    assert ask(client, *said, extra_headers=NAMED | again).choices[0].message.content == text
    assert len(engine.asked) == 2
    assert kinds(started) == ["met", "spoken"]
    own = {"Idempotency-Key": "one"}
    calls = [ask(client, {"role": "user", "content": "weather_of?"}, extra_headers=own).choices[0] for _ in range(2)]
    assert [choice.finish_reason for choice in calls] == ["tool_calls"] * 2


def test_what_tools_gave_to_others_is_not_told_again(client: openai.OpenAI, engine: Recording, started: Any) -> None:
    """Without a chat the words alone are known, and the same words may wait for other results."""
    said, _ = answered(client, ASKED, user="anna")
    called = ask(client, ASKED, user="boris").choices[0].message
    assert ask(client, ASKED, *results(called, "Rain."), user="boris").choices[0].message.content
    assert {(e.user, e.kind) for e in started.encounters()} == {
        (user, kind) for user in ("anna", "boris") for kind in ("met", "spoken")
    }
    ask(client, *said, user="anna", extra_headers={"x-stainless-retry-count": "1"})
    assert len(engine.asked) == 5
    assert sorted(e.user for e in started.encounters() if e.kind == "met") == ["anna", "boris"]
    answers = {e.data["parent"]: e.user for e in started.encounters() if e.kind == "spoken"}
    assert answers == {e.id: e.user for e in started.encounters() if e.kind == "met"}


def test_nothing_is_remembered_where_nothing_shall_be(client: openai.OpenAI, started: Any) -> None:
    answered(client, ASKED, extra_headers={"X-Scenepipe-Remember": "0"})
    assert started.encounters() == []


def test_what_the_engine_lacks_is_refused_by_name(serving: Callable[..., Any]) -> None:
    lacking = serving(backend=FakeBackend(capabilities={"chat": True})).openai()
    call = {"id": "c", "type": "function", "function": {"name": "weather_of", "arguments": "{}"}}
    gave = [
        ASKED,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "Snow."},
    ]
    for messages, options, param in (([ASKED], {}, "tools"), (gave, {"tools": openai.omit}, "messages.2.role")):
        with pytest.raises(openai.BadRequestError) as caught:
            ask(lacking, *messages, **options)
        assert caught.value.param == param
    ask(lacking, ASKED, tool_choice="none")


def test_a_wish_that_the_engine_does_not_know_is_refused_by_name(serving: Callable[..., Any]) -> None:
    plain = serving(backend=FakeBackend(capabilities={"chat": True, "tools": True})).openai()
    named = {"type": "function", "function": {"name": "clock_of"}}
    for options, param in (
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": named}, "tool_choice"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            ask(plain, ASKED, **options)
        assert caught.value.param == param
    assert ask(plain, ASKED, parallel_tool_calls=True).choices[0].message.tool_calls


_CALL = {"id": "c", "type": "function", "function": {"name": "weather_of", "arguments": "{}"}}
_CALLED = {"role": "assistant", "tool_calls": [_CALL]}
_GAVE = {"role": "tool", "tool_call_id": "c", "content": "Snow."}


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"messages": [ASKED, _CALLED]}, "messages"),
        ({"messages": [ASKED, _CALLED, {"role": "user", "content": "And?"}]}, "messages.2"),
        ({"messages": [ASKED, _GAVE]}, "messages.1.tool_call_id"),
        ({"messages": [ASKED, _CALLED, _GAVE, _GAVE]}, "messages.3.tool_call_id"),
        ({"messages": [_CALLED, _GAVE, ASKED]}, "messages.0"),
        ({"messages": [ASKED, {"role": "function", "name": "f", "content": "Snow."}]}, "messages.1.role"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools.0"),
        ({"tools": ["f"]}, "tools.0"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.name"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools.0.name"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": 3}}}]}, "tools.0.parameters"),
        ({"tools": [WEATHER, WEATHER]}, "tools"),
        ({"tools": [WEATHER] * 200}, "tools"),
        ({"tool_choice": {"type": "function", "function": {"name": "other"}}}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}, "tool_choice"),
        ({"tool_choice": "always"}, "tool_choice"),
    ],
)
def test_bad_tools_are_named(started: Any, wrong: dict[str, Any], param: str) -> None:
    with started.client() as http:
        found = http.post("/v1/chat/completions", json={"messages": [ASKED], "tools": [WEATHER]} | wrong)
    assert found.status_code == 400
    assert found.json()["error"]["param"].startswith(param)
    assert started.encounters() == []


_FLAT: Any = {"type": "function", **WEATHER["function"], "strict": True}


def test_a_response_holds_its_calls_and_goes_on_after_them(client: openai.OpenAI, started: Any) -> None:
    first: Any = client.responses.create(model="toy", input=ASKED["content"], tools=[_FLAT])
    assert (first.status, first.output_text) == ("completed", "")
    (call,) = first.output
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments)) == ("weather_of", {"town": "x"})
    said: Any = [ASKED, call.model_dump(), {"type": "function_call_output", "call_id": call.call_id, "output": "Snow."}]
    second = client.responses.create(model="toy", input=said, tools=[_FLAT])
    assert second.output_text
    assert kinds(started) == ["met", "spoken"]
    third = client.responses.create(model="toy", input="And why?", previous_response_id=second.id)
    assert third.output_text
    assert len({e.chat for e in started.encounters() if e.kind != "linked"}) == 1
    bad: list[Any] = [said[2:], [ASKED, *said[2:]], [{"type": "custom_tool_call"}]]
    for wrong in bad:
        with pytest.raises(openai.BadRequestError):
            client.responses.create(model="toy", input=wrong, tools=[_FLAT])


def test_calls_of_a_response_are_streamed_as_items(client: openai.OpenAI) -> None:
    flat: Any = [_FLAT, {"type": "function", **CLOCK["function"], "strict": False}]
    both = "weather_of and clock_of?"
    whole: Any = client.responses.create(model="toy", input=both, tools=flat, store=False)
    with client.responses.stream(model="toy", input=both, tools=flat, store=False) as events:
        seen = list(events)
        final: Any = events.get_final_response()
    assert [(i.type, i.name, i.arguments) for i in final.output] == [
        (i.type, i.name, i.arguments) for i in whole.output
    ]
    deltas = [e for e in seen if e.type == "response.function_call_arguments.delta"]
    assert [e.output_index for e in deltas] == [0, 0, 1, 1]
    done = [e for e in seen if e.type == "response.function_call_arguments.done"]
    for place, event in enumerate(done):
        assert "".join(e.delta for e in deltas if e.output_index == place) == event.arguments
        assert event.item_id == final.output[place].id
    assert [e.sequence_number for e in seen] == list(range(len(seen)))
    assert seen[-1].type == "response.completed"


class Thinking(FakeBackend):
    """Thinks before it speaks."""

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        for thought in ("Snow ", "is cold."):
            yield Chunk(reasoning=thought)
        async for chunk in super().generate(request):
            yield chunk


def test_reasoning_passes_beside_the_reply(serving: Callable[..., Any]) -> None:
    client = serving(backend=Thinking(capabilities=CAN | {"reasoning": True})).openai()
    for options in ({}, {"tools": openai.omit}):
        whole = ask(client, ASKED, seed=2, **options).choices[0].message
        assert whole.reasoning_content == "Snow is cold."
        deltas = [c.choices[0].delta for c in ask(client, ASKED, seed=2, stream=True, **options)]
        assert "".join(getattr(d, "reasoning_content", None) or "" for d in deltas) == "Snow is cold."
        assert "".join(d.content or "" for d in deltas) == (whole.content or "")
    found = client.responses.create(model="toy", input="Why?")
    assert [item.type for item in found.output] == ["reasoning", "message"]
    with client.responses.stream(model="toy", input="Why?") as events:
        told = [event.delta for event in events if event.type == "response.reasoning_text.delta"]
    assert "".join(told) == "Snow is cold."


def test_calls_come_over_asyncio_too(started: Any) -> None:
    async def called() -> Any:
        async with openai.AsyncOpenAI(base_url=f"{started.url}/v1", api_key="none", max_retries=0) as client:
            stream = await client.chat.completions.create(model="toy", messages=[ASKED], tools=[WEATHER], stream=True)
            return [d async for c in stream for d in c.choices[0].delta.tool_calls or ()]

    assert "".join(d.function.arguments for d in asyncio.run(called())) == '{"town": "x"}'
