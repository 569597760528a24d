"""What one caller asks goes before what the stages are set to, in that run alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from scenepipe import events as ev
from scenepipe.ask import Ask
from scenepipe.contracts import Chunk, DrawnToken, Encounter, Request
from scenepipe.errors import InputError
from scenepipe.memory.memory import MemoryArchive
from scenepipe.modules.decode import Decode
from scenepipe.modules.remember import Remember
from scenepipe.pipeline import Pipeline
from scenepipe.scene import Language, Linkage, Origin, Scene, TokenScore, new_scene
from scenepipe.testing.fake_backend import FakeBackend

GIVEN = ("language", "linkage", "registers")


class Seen(FakeBackend):
    """Keeps the requests that reach it; tells a probability for every piece that is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        self.requests.append(request)
        plain = request.model_copy(update={"logprobs": None, "stop": ()})
        async for chunk in super().generate(plain):
            told = (DrawnToken(token=chunk.text, logprob=-1.0),) if chunk.text and request.logprobs is not None else ()
            yield chunk.model_copy(update={"logprobs": told})


def scene(**origin: Any) -> Scene:
    start = new_scene("Почему?", Origin(**origin))
    return start.with_(language=Language(code="ru"), linkage=Linkage(chain=("дрожь", "тишина")))


def run(
    decode: Decode, *asks: Ask, **origin: Any
) -> tuple[list[Request], list[Scene], Sequence[Encounter], list[ev.Event]]:
    """The requests, scenes, encounters and events of a run for each ask."""

    async def all_of_them() -> Any:
        backend, archive, events = Seen(), MemoryArchive(), list[ev.Event]()
        stages = [("decode", decode), ("remember", Remember())]
        async with Pipeline(stages, backend=backend, archive=archive, given=GIVEN) as pipe:
            done = [await pipe.arun(scene(**origin), ask=ask, emit=events.append) for ask in asks]
            return backend.requests, done, await archive.encounters(), events

    return asyncio.run(all_of_them())  # type: ignore[no-any-return]


def test_settings_of_one_run_leave_the_next_as_it_was() -> None:
    ask = Ask(
        max_tokens=3,
        sampling={"temperature": 0.2, "top_k": 5},
        stop=("x",),
        seed=9,
        json_schema={"type": "object"},
        logprobs=2,
    )
    decode = Decode(seed=1, max_tokens=20, temperature=0.9, stop=["y"])
    (asked, plain), _, _, _ = run(decode, ask, Ask())
    assert (asked.max_tokens, asked.seed, asked.logprobs) == (3, 9, 2)
    assert (asked.sampling.temperature, asked.sampling.top_k) == (0.2, 5)
    assert {"x", "y"} <= set(asked.stop)
    assert asked.json_schema == {"type": "object"}
    assert (plain.max_tokens, plain.seed, plain.logprobs, plain.json_schema) == (20, 1, None, None)
    assert (plain.sampling.temperature, plain.sampling.top_k) == (0.9, 40)
    assert "x" not in plain.stop


@pytest.mark.parametrize("sampling", [{"temperature": 9.0}, {"heat": 1.0}])
def test_a_setting_that_is_none_is_refused(sampling: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"temperature|heat"):
        run(Decode(seed=1), Ask(sampling=sampling))


def test_the_style_is_the_first_line_of_the_prompt_and_is_cut_to_its_tokens() -> None:
    style = "Говори тихо\nи коротко, как снег."
    (styled, plain), _, _, _ = run(Decode(seed=1), Ask(style=style), Ask())
    assert styled.prompt == f"Стиль: Говори тихо и коротко, как снег.\n{plain.prompt}"
    ((cut,), _, _, _) = run(Decode(seed=1, style_tokens=4), Ask(style=style))
    assert (cut.prompt or "").splitlines()[0] == "Стиль: Говори тихо и…"
    ((none,), _, _, _) = run(Decode(seed=1, style_tokens=0), Ask(style=style))
    assert none.prompt == plain.prompt


def test_probabilities_go_with_tokens_and_into_the_reply() -> None:
    _, (told, untold), _, events = run(Decode(seed=1), Ask(logprobs=0), Ask())
    assert told.reply is not None
    assert untold.reply is not None
    assert untold.reply.logprobs == ()
    pieces = [score.token for score in told.reply.logprobs]
    assert "".join(pieces).strip() == told.reply.text
    assert told.reply.logprobs[0] == TokenScore(token=pieces[0], logprob=-1.0)
    emitted = [drawn.token for event in events if isinstance(event, ev.Token) for drawn in event.logprobs]
    assert emitted == pieces


def test_a_caller_may_leave_no_trace_and_a_style_is_kept_with_its_chat() -> None:
    keep = {"system": "Тихо."}
    _, _, silent, _ = run(Decode(seed=1), Ask(remember=False, keep=keep), chat="c")
    assert list(silent) == []
    _, _, kept, _ = run(Decode(seed=1), Ask(keep=keep), chat="c")
    assert [e.data.get("style") for e in kept] == [keep, None]
    _, _, outside, _ = run(Decode(seed=1), Ask(keep=keep))
    assert [e.data.get("style") for e in outside] == [None, None]


def test_an_empty_reply_is_no_error_where_the_callers_bounds_may_have_made_it() -> None:
    class Empty(FakeBackend):
        async def generate(self, request: Request) -> AsyncIterator[Chunk]:
            yield Chunk(finish_reason="stop")

    async def said(ask: Ask) -> str:
        async with Pipeline([("decode", Decode(seed=1))], backend=Empty(), given=GIVEN) as pipe:
            done = await pipe.arun(scene(), ask=ask)
            assert done.reply is not None
            return done.reply.text

    assert asyncio.run(said(Ask(stop=("x",)))) == ""
    assert asyncio.run(said(Ask(max_tokens=1))) == ""


def test_emit_hears_stages_and_tokens_and_a_stream_hears_fields_too() -> None:
    async def heard() -> tuple[set[str], set[str], str]:
        quiet = list[ev.Event]()
        async with Pipeline([("decode", Decode())], backend=Seen(), given=GIVEN) as pipe:
            await pipe.arun(scene(), emit=quiet.append)
            loud = [event async for event in pipe.stream(scene(), ask=Ask(seed=3, max_tokens=2))]
        last = loud[-1]
        assert isinstance(last, ev.RunFinished)
        assert last.scene.reply is not None
        assert (last.scene.reply.receipt.seed, last.scene.reply.usage.reply_tokens) == (3, 2)
        return {event.type for event in quiet}, {event.type for event in loud}, last.scene.reply.text

    quiet, loud, _ = asyncio.run(heard())
    assert quiet == {"stage_started", "token", "reply_finished", "stage_finished"}
    assert loud == quiet | {"run_started", "scene_updated", "run_finished"}


def test_ready_waits_for_the_engine() -> None:
    class Late(FakeBackend):
        async def open(self, model: Any, registers: Any) -> Any:
            await asyncio.sleep(0.02)
            return await super().open(model, registers)

    async def opened() -> bool:
        async with Pipeline([("decode", Decode())], backend=Late(), given=GIVEN) as pipe:
            await pipe.ready()
            return pipe.resources.backend._registers is not None  # type: ignore[union-attr]

    assert asyncio.run(opened())
