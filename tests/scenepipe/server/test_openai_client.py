"""The OpenAI API as openai-python speaks it: every route, streaming and not, errors as its classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from scenepipe.contracts import Chunk
from scenepipe.server.response_ids import response_id
from scenepipe.testing.fake_backend import FakeBackend

HELLO: list[Any] = [{"role": "user", "content": "Why can I not feel the step in me?"}]


@pytest.fixture
def client(served: Any) -> Any:
    return served.openai()


def of(serving: Any) -> Any:
    return serving.openai()


def test_models_are_the_pipeline_the_base_and_each_register(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["toy", "base", "poet", "philosopher"]
    assert client.models.retrieve("poet@0.6+philosopher@0.4").id == "poet@0.6+philosopher@0.4"
    with pytest.raises(openai.NotFoundError, match="did you mean 'poet'"):
        client.models.retrieve("poe")


def test_a_completion_has_text_usage_and_a_finish_reason(client: openai.OpenAI) -> None:
    found = client.chat.completions.create(model="toy", messages=HELLO)
    assert found.choices[0].message.content
    assert found.choices[0].finish_reason == "stop"
    assert found.usage is not None
    assert found.usage.completion_tokens == len(found.choices[0].message.content.split())
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens
    assert not hasattr(found, "scenepipe")


def test_a_stream_says_what_the_whole_says_and_its_usage_once(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="toy", messages=HELLO, seed=7)
    asked = client.chat.completions.create(
        model="toy", messages=HELLO, seed=7, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(asked)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert [c.choices[0].delta.role for c in chunks if c.choices].count("assistant") == 1
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert [c.usage for c in chunks if c.usage is not None] == [whole.usage]
    assert chunks[-1].usage is not None
    assert len({(c.id, c.created) for c in chunks}) == 1
    plain = list(client.chat.completions.create(model="toy", messages=HELLO, stream=True))
    assert all(chunk.usage is None for chunk in plain)


def test_a_mixture_as_model_is_what_speaks(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"messages": HELLO, "extra_body": {"scenepipe": {"scene": True, "remember": False}}}
    for model, used in (
        ("poet@0.6+philosopher@0.4", {"poet": 0.6, "philosopher": 0.4}),
        ("poet", {"poet": 1.0}),
        ("base", {}),
        ("toy", {"poet": 0.6, "philosopher": 0.3}),
    ):
        found: Any = client.chat.completions.create(model=model, **asked)
        assert found.model == model
        assert found.scenepipe["scene"]["reply"]["receipt"]["used"] == used


def test_the_scene_rides_along_for_a_header_and_in_the_last_chunk_of_a_stream(client: openai.OpenAI) -> None:
    header = {"X-Scenepipe-Scene": "1"}
    found: Any = client.chat.completions.create(model="toy", messages=HELLO, extra_headers=header)
    assert found.scenepipe["scene"]["text"] == HELLO[0]["content"]
    chunks: list[Any] = list(
        client.chat.completions.create(model="toy", messages=HELLO, stream=True, extra_headers=header)
    )
    assert [hasattr(chunk, "scenepipe") for chunk in chunks].count(True) == 1
    assert chunks[-1].scenepipe["scene"]["reply"]["text"]


def test_settings_reach_the_engine(client: openai.OpenAI) -> None:
    def said(**settings: Any) -> Any:
        return client.chat.completions.create(model="toy", messages=HELLO, **settings).choices[0]

    whole = said(seed=3).message.content
    assert whole == said(seed=3).message.content != said(seed=4).message.content
    cut = said(seed=3, max_tokens=2)
    assert (cut.finish_reason, cut.message.content) == ("length", " ".join(whole.split()[:2]))
    assert said(seed=3, max_completion_tokens=2).message.content == cut.message.content
    stop = whole.split()[2]
    assert said(seed=3, stop=stop).message.content == whole.partition(stop)[0].rstrip()
    assert said(seed=3, stop=["nowhere", stop]).message.content == whole.partition(stop)[0].rstrip()
    assert said(seed=3, temperature=0).message.content == said(seed=4, temperature=0).message.content


def test_n_replies_differ_and_are_told_apart_in_a_stream(client: openai.OpenAI, served: Any) -> None:
    found = client.chat.completions.create(model="toy", messages=HELLO, n=3, seed=5)
    texts = [choice.message.content for choice in found.choices]
    assert [choice.index for choice in found.choices] == [0, 1, 2]
    assert len(set(texts)) == 3
    streamed = ["", "", ""]
    for chunk in client.chat.completions.create(model="toy", messages=HELLO, n=3, seed=5, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == texts
    assert [e.kind for e in served.encounters() if e.kind != "linked"] == ["met", "spoken"] * 2


def test_logprobs_are_told_where_the_engine_has_them(serving: Callable[..., Any]) -> None:
    client = of(serving(backend=FakeBackend(capabilities={"logprobs": 3})))
    found = client.chat.completions.create(model="toy", messages=HELLO, logprobs=True, top_logprobs=2, seed=1)
    told = found.choices[0].logprobs
    assert told is not None
    assert told.content
    assert "".join(each.token for each in told.content).strip() == found.choices[0].message.content
    assert all(each.logprob <= 0 and len(each.top_logprobs) == 2 for each in told.content)
    chunks = client.chat.completions.create(
        model="toy", messages=HELLO, logprobs=True, top_logprobs=2, seed=1, stream=True
    )
    streamed = [
        t.token for c in chunks for choice in c.choices if choice.logprobs for t in choice.logprobs.content or ()
    ]
    assert streamed == [each.token for each in told.content]
    asked: dict[str, Any] = {"model": "poet", "prompt": "A door", "logprobs": 2, "max_tokens": 4, "seed": 1}
    old = client.completions.create(**asked).choices[0].logprobs
    assert old is not None
    assert len(old.tokens or ()) == 4
    pieces = [chunk.choices[0].logprobs for chunk in client.completions.create(**asked, stream=True)]
    assert [at for piece in pieces if piece for at in piece.text_offset] == old.text_offset
    with pytest.raises(openai.BadRequestError, match="echo"):
        client.completions.create(**asked, echo=True)
    with pytest.raises(openai.BadRequestError, match="3"):
        client.chat.completions.create(model="toy", messages=HELLO, logprobs=True, top_logprobs=4)


class Step(BaseModel):
    feeling: str
    strength: int


def test_a_schema_shapes_the_reply(client: openai.OpenAI) -> None:
    found = client.chat.completions.parse(model="toy", messages=HELLO, response_format=Step)
    assert found.choices[0].message.parsed == Step(feeling="", strength=0)
    loose = client.chat.completions.create(model="toy", messages=HELLO, response_format={"type": "json_object"})
    assert loose.choices[0].message.content == "{}"
    answer = client.responses.parse(model="toy", input="Why?", text_format=Step)
    assert answer.output_parsed == Step(feeling="", strength=0)


def test_what_the_engine_lacks_is_refused_by_name(serving: Callable[..., Any]) -> None:
    lacking = {"json_schema": False, "stop": False, "logprobs": 0, "sampling": ("temperature", "top_p")}
    client = of(serving(backend=FakeBackend(capabilities=lacking)))
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"logprobs": True}, "logprobs"),
        ({"stop": "x"}, "stop"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"presence_penalty": 1.0}, "presence_penalty"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}, "tools"),
        ({"n": 9}, "n"),
        ({"max_tokens": 10**6}, "max_tokens"),
    ]
    for settings, param in wrong:
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="toy", messages=HELLO, **settings)
        assert caught.value.param == param


def test_completions_pass_through_and_remember_nothing(client: openai.OpenAI, served: Any) -> None:
    found = client.completions.create(model="poet", prompt=["A door", "A hand"], n=2, echo=True, seed=1)
    assert [choice.index for choice in found.choices] == [0, 1, 2, 3]
    assert [choice.text[:6] for choice in found.choices] == ["A door", "A door", "A hand", "A hand"]
    assert found.choices[0].text != found.choices[1].text
    plain = client.completions.create(model="poet", prompt="A door", seed=1, max_tokens=3)
    assert plain.choices[0].finish_reason == "length"
    chunks = list(client.completions.create(model="poet", prompt="A door", seed=1, max_tokens=3, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == plain.choices[0].text
    other = client.completions.create(model="philosopher", prompt="A door", seed=1, max_tokens=3)
    assert other.choices[0].text != plain.choices[0].text
    assert served.encounters() == []


def test_responses_whole_and_as_events(client: openai.OpenAI) -> None:
    whole = client.responses.create(model="toy", input="Who knocks?", instructions="Be brief.", max_output_tokens=3)
    assert whole.status == "incomplete"
    assert whole.usage is not None
    assert whole.usage.output_tokens == 3
    with client.responses.stream(model="toy", input="Who knocks?") as events:
        seen = [event.type for event in events]
        final = events.get_final_response()
    assert seen[0] == "response.created"
    assert seen[-1] == "response.completed"
    assert final.output_text
    raw = client.responses.create(model="toy", input="Who knocks?", stream=True)
    numbers = [event.sequence_number for event in raw]
    assert numbers == list(range(len(numbers)))


def test_a_response_goes_on_from_the_one_before(client: openai.OpenAI) -> None:
    scene = {"scenepipe": {"scene": True}}
    first = client.responses.create(model="toy", input="Who knocks?")
    second: Any = client.responses.create(
        model="toy", input="And who sleeps?", previous_response_id=first.id, extra_body=scene
    )
    turns = second.scenepipe["scene"]["turns"]
    assert [(turn["text"], turn["reply"]) for turn in turns] == [("Who knocks?", first.output_text)]
    again: Any = client.responses.create(
        model="toy", input="Who wakes?", previous_response_id=first.id, extra_body=scene
    )
    assert len(again.scenepipe["scene"]["turns"]) == 1
    unnamed = response_id("0" * 32, "history:1")
    for wrong in (
        "resp_nonsense",
        first.id[:-4],
        "resp_" + "0" * 32 + "_eA",
        first.id[:5] + "0" * 32 + first.id[37:],
        unnamed,
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(model="toy", input="x", previous_response_id=wrong)
        assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "previous_response_id")
    long: Any = {"conversation": "д" * 200}
    told = client.responses.create(model="toy", input="Who knocks?", **long)
    assert client.responses.create(model="toy", input="Who sleeps?", previous_response_id=told.id).output_text


class Thinks(FakeBackend):
    """Thinks before it speaks, and once more after."""

    async def generate(self, request: Any) -> Any:
        yield Chunk(reasoning="First the door. ")
        async for chunk in super().generate(request):
            yield chunk if chunk.finish_reason is None else chunk.model_copy(update={"reasoning": "Then the hand."})


def test_the_items_of_a_stream_stand_where_the_whole_has_them(serving: Callable[..., Any]) -> None:
    started = serving(backend=Thinks())
    client = of(started)
    whole = client.responses.create(model="toy", input="Who knocks?", store=False)
    assert [item.type for item in whole.output] == ["reasoning", "message"]
    with client.responses.stream(model="toy", input="Who knocks?", store=False) as events:
        seen = list(events)
        final = events.get_final_response()
    added = {each.item.type: each.output_index for each in seen if each.type == "response.output_item.added"}
    assert added == {item.type: place for place, item in enumerate(final.output)} == {"reasoning": 0, "message": 1}
    assert {each.output_index for each in seen if each.type == "response.output_text.delta"} == {1}
    thought = "".join(each.delta for each in seen if each.type == "response.reasoning_text.delta")
    assert thought.strip() == final.output[0].content[0].text.strip() == "First the door. Then the hand."
    done = [each for each in seen if each.type == "response.output_item.done"]
    assert [each.item.id for each in done] == [item.id for item in final.output]
    assert final.output_text == whole.output_text


def test_a_response_that_is_not_stored_leaves_nothing(client: openai.OpenAI, served: Any) -> None:
    client.responses.create(model="toy", input="Who knocks?", store=False)
    assert served.encounters() == []


def test_embeddings_are_the_encoders(client: openai.OpenAI, served: Any) -> None:
    texts = ["дверь", "a door"]
    encoder = served.pipeline.resources.encoder
    assert encoder is not None
    expected = encoder.encode(texts)
    for form in ("float", "base64"):
        found = client.embeddings.create(model="toy", input=texts, encoding_format=form)  # type: ignore[arg-type]
        vectors = [each.embedding for each in found.data]
        if form == "float":
            assert vectors == [[float(c) for c in row] for row in expected]
    plain = client.embeddings.create(model="toy", input=texts)
    assert [len(each.embedding) for each in plain.data] == [encoder.dim] * 2
    with pytest.raises(openai.BadRequestError, match="256"):
        client.embeddings.create(model="toy", input=texts, dimensions=3)


def test_errors_are_the_clients_own_classes(serving: Callable[..., Any]) -> None:
    client = of(serving(backend=FakeBackend(fail_on="CRASH")))
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="nobody", messages=HELLO)
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError, match="at most 1"):
        client.chat.completions.create(model="poet@0.9+philosopher@0.9", messages=HELLO)
    with pytest.raises(openai.BadRequestError) as empty:
        client.chat.completions.create(model="toy", messages=[{"role": "user", "content": " "}])
    assert empty.value.param == "messages"
    with pytest.raises(openai.InternalServerError) as broken:
        client.chat.completions.create(model="toy", messages=[{"role": "user", "content": "CRASH"}])
    assert broken.value.status_code == 502
    assert broken.value.response.headers["x-should-retry"] == "false"
    with pytest.raises(openai.InternalServerError):  # before the first token it is still a status
        client.chat.completions.create(model="toy", messages=[{"role": "user", "content": "CRASH"}], stream=True)


class Breaks(FakeBackend):
    """Says two words, then fails."""

    async def generate(self, request: Any) -> Any:
        count = 0
        async for chunk in super().generate(request):
            yield chunk
            count += 1
            if count == 2:
                raise RuntimeError("secret detail of the engine")


def test_a_stream_that_breaks_ends_with_an_error_and_done(serving: Callable[..., Any]) -> None:
    started = serving(backend=Breaks())
    with pytest.raises(openai.APIError) as caught:
        list(of(started).chat.completions.create(model="toy", messages=HELLO, stream=True))
    assert "secret detail" not in str(caught.value)
    with started.client() as http:
        lines = http.post("/v1/chat/completions", json={"messages": HELLO, "stream": True}).text.split("\n\n")
    assert lines[-2] == "data: [DONE]"
    assert '"error"' in lines[-3]
    assert started.encounters() == []
