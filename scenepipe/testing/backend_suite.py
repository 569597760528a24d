"""The conformance suite of backends: subclass it in a test file and give it one fixture.

    class TestMyEngine(BackendSuite):
        registers = ("poet", "logician")

        @pytest.fixture(scope="class")
        @classmethod
        def backend(cls, runner):
            engine = MyEngine()
            runner.run(engine.open(model, registers))
            yield engine
            runner.run(engine.aclose())

What the backend's ``capabilities`` do not claim is skipped. The suite needs pytest, so only tests import this module.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Iterator, Sequence
from typing import Any, ClassVar, TypeVar, cast

import pytest

from scenepipe.contracts import Backend, Chunk, Message, Request
from scenepipe.errors import BackendError, DeadlineError, MixtureError
from scenepipe.mixture import MixtureMode, Plan, parse
from scenepipe.prompt import ScenePrompt
from scenepipe.sampling import Sampling
from scenepipe.scene import TokenScore

T = TypeVar("T")

RU = ScenePrompt("Почему я не чувствую шаг в себе?", "ru", linkage=("дрожь", "тишина", "вход")).render()
EN = ScenePrompt("Why can I not feel the step in me?", "en", linkage=("trembling", "silence", "entrance")).render()
GREEDY = Sampling(temperature=0.0)
ANSWER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "word": {"type": "string", "maxLength": 12},
        "count": {"type": "integer", "minimum": 3, "maximum": 9},
    },
    "required": ["word", "count"],
    "additionalProperties": False,
}


def plan(mixture: str, mode: MixtureMode = "exact") -> Plan:
    """The plan of a mixture that needs no change, such as ``poet@0.6+logician@0.4``."""
    return Plan(asked=parse(mixture), used=parse(mixture), mode=mode)


def text_of(chunks: Sequence[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


async def collect(backend: Backend, **request: Any) -> list[Chunk]:
    """All chunks of one reply."""
    return [chunk async for chunk in backend.generate(Request(**request))]


async def say(backend: Backend, **request: Any) -> str:
    """The text of one reply."""
    return text_of(await collect(backend, **request))


class BackendSuite:
    """What every backend must do.

    Attributes:
        registers: names of at least two registers that the fixture's backend has open.
        slow_s: seconds in which the backend must answer a short request after others were cancelled; a slot that
            falls free within a second leaves the rest to the answer itself.
    """

    registers: ClassVar[tuple[str, ...]] = ("poet", "philosopher")
    slow_s: ClassVar[float] = 10.0

    @pytest.fixture(scope="class")
    @classmethod
    def runner(cls) -> Iterator[asyncio.Runner]:
        """One event loop for all tests of the class: an open backend belongs to the loop that opened it."""
        with asyncio.Runner() as runner:
            yield runner

    # --- the reply ---------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("prompt", [RU, EN], ids=["ru", "en"])
    def test_the_last_chunk_and_only_it_has_reason_and_usage(
        self, backend: Backend, runner: asyncio.Runner, prompt: str
    ) -> None:
        chunks = runner.run(collect(backend, prompt=prompt, max_tokens=12))
        assert text_of(chunks).strip()
        assert [chunk.finish_reason is None for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
        assert [chunk.usage is None for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
        usage = chunks[-1].usage
        assert usage is not None
        assert 0 < usage.reply_tokens <= 12
        assert usage.prompt_tokens > 0

    def test_a_reply_streams_in_pieces_of_whole_characters(self, backend: Backend, runner: asyncio.Runner) -> None:
        if not backend.capabilities.streaming:
            pytest.skip("no streaming")
        chunks = runner.run(collect(backend, prompt=RU, max_tokens=12))
        assert sum(bool(chunk.text) for chunk in chunks) > 1
        assert "\ufffd" not in text_of(chunks)

    def test_max_tokens_ends_a_reply_with_length(self, backend: Backend, runner: asyncio.Runner) -> None:
        chunks = runner.run(collect(backend, prompt=RU, max_tokens=2))
        assert chunks[-1].finish_reason == "length"
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.reply_tokens == 2

    def test_a_longer_reply_begins_with_the_shorter(self, backend: Backend, runner: asyncio.Runner) -> None:
        long, short = (runner.run(say(backend, prompt=RU, max_tokens=n, sampling=GREEDY, seed=1)) for n in (10, 4))
        assert short
        assert long.startswith(short)

    def test_a_stop_string_ends_the_reply_and_is_left_out(self, backend: Backend, runner: asyncio.Runner) -> None:
        if not backend.capabilities.stop:
            pytest.skip("no stop strings")
        whole = runner.run(say(backend, prompt=RU, max_tokens=16, sampling=GREEDY, seed=1))
        stop = whole[len(whole) // 2 :][:3]
        chunks = runner.run(collect(backend, prompt=RU, max_tokens=16, sampling=GREEDY, seed=1, stop=(stop,)))
        assert text_of(chunks) == whole[: whole.index(stop)]
        assert chunks[-1].finish_reason == "stop"

    def test_a_part_of_a_stop_string_is_not_lost(self, backend: Backend, runner: asyncio.Runner) -> None:
        if not backend.capabilities.stop:
            pytest.skip("no stop strings")
        whole = runner.run(say(backend, prompt=RU, max_tokens=16, sampling=GREEDY, seed=1))
        near_miss = whole[len(whole) // 2 :][:2] + "\x07"
        held = runner.run(say(backend, prompt=RU, max_tokens=16, sampling=GREEDY, seed=1, stop=(near_miss,)))
        assert held == whole

    def test_a_seed_fixes_the_reply(self, backend: Backend, runner: asyncio.Runner) -> None:
        if not backend.capabilities.seed:
            pytest.skip("no seeds")
        first = [runner.run(say(backend, prompt=RU, max_tokens=12, seed=seed)) for seed in (1, 2, 3, 4)]
        again = [runner.run(say(backend, prompt=RU, max_tokens=12, seed=seed)) for seed in (1, 2, 3, 4)]
        assert first == again
        assert len(set(first)) > 1

    def test_json_schema_is_kept(self, backend: Backend, runner: asyncio.Runner) -> None:
        if not backend.capabilities.json_schema:
            pytest.skip("no JSON Schema")
        prompt = "A JSON object with a word and a count:"
        value = json.loads(runner.run(say(backend, prompt=prompt, max_tokens=80, json_schema=ANSWER_SCHEMA, seed=1)))
        assert set(value) == {"word", "count"}
        assert isinstance(value["word"], str)
        assert len(value["word"]) <= 12
        assert isinstance(value["count"], int)
        assert 3 <= value["count"] <= 9

    def test_messages_need_the_chat_capability(self, backend: Backend, runner: asyncio.Runner) -> None:
        messages = (Message(role="user", content="Why is it silent?"),)
        if backend.capabilities.chat:
            assert runner.run(say(backend, messages=messages, max_tokens=8))
        else:
            with pytest.raises(BackendError):
                runner.run(say(backend, messages=messages, max_tokens=8))

    # --- mixtures ----------------------------------------------------------------------------------------------------

    def test_an_unknown_register_is_refused(self, backend: Backend, runner: asyncio.Runner) -> None:
        with pytest.raises(MixtureError, match="nobody"):
            runner.run(say(backend, prompt=RU, max_tokens=4, plan=plan("nobody@0.5")))

    def test_a_mode_that_the_engine_has_not_is_refused(self, backend: Backend, runner: asyncio.Runner) -> None:
        modes: tuple[MixtureMode, ...] = ("exact", "premerged")
        missing = [mode for mode in modes if mode not in backend.capabilities.mixtures]
        for mode in missing:
            with pytest.raises(MixtureError, match=mode):
                runner.run(say(backend, prompt=RU, max_tokens=4, plan=plan(self.registers[0], mode)))

    def test_a_weight_between_differs_from_base_and_whole(self, backend: Backend, runner: asyncio.Runner) -> None:
        if "exact" not in backend.capabilities.mixtures:
            pytest.skip("no exact mixtures")
        first, second = self.registers[:2]
        mixtures = ("base", f"{first}@0.5", first, second, f"{first}@0.5+{second}@0.5")
        if backend.capabilities.score:
            told = [
                tuple(round(s.logprob, 4) for s in runner.run(self._score(backend, mixture))) for mixture in mixtures
            ]
        else:
            told = [
                (hash(runner.run(say(backend, prompt=RU, max_tokens=24, sampling=GREEDY, plan=plan(m)))),)
                for m in mixtures
            ]
        assert len(set(told)) == len(mixtures)

    def test_mixtures_side_by_side_say_what_they_say_alone(self, backend: Backend, runner: asyncio.Runner) -> None:
        if "exact" not in backend.capabilities.mixtures:
            pytest.skip("no exact mixtures")
        requests = [
            {"prompt": prompt, "max_tokens": 10, "sampling": GREEDY, "plan": plan(mixture)}
            for prompt, mixture in ((RU, self.registers[0]), (EN, self.registers[1]), (RU, "base"))
        ]
        alone = [runner.run(say(backend, **request)) for request in requests]
        together = runner.run(_gather(*(say(backend, **request) for request in requests)))
        again = [runner.run(say(backend, **request)) for request in requests]
        assert together == alone
        assert again == alone
        assert len(set(alone)) == len(alone)

    # --- score and count ---------------------------------------------------------------------------------------------

    async def _score(self, backend: Backend, mixture: str, reply: str = " Тишина — это вход.") -> Sequence[TokenScore]:
        return await backend.score(Request(prompt=RU, plan=plan(mixture)), reply)

    def test_score_covers_the_whole_reply(self, backend: Backend, runner: asyncio.Runner) -> None:
        if not backend.capabilities.score:
            pytest.skip("no score")
        reply = " Тишина — это вход 🙂."
        scores = runner.run(self._score(backend, "base", reply))
        assert "".join(score.token for score in scores) == reply
        assert all(score.logprob <= 0 and math.isfinite(score.logprob) for score in scores)
        assert len(scores) == runner.run(backend.count(reply))

    def test_score_of_a_beginning_is_the_beginning_of_the_score(self, backend: Backend, runner: asyncio.Runner) -> None:
        if not backend.capabilities.score:
            pytest.skip("no score")
        whole = runner.run(self._score(backend, self.registers[0], " Тишина — это вход."))
        start = runner.run(self._score(backend, self.registers[0], " Тишина —"))
        assert start
        for one, other in zip(start, whole, strict=False):
            assert one.token == other.token
            assert one.logprob == pytest.approx(other.logprob, abs=0.05)

    def test_count_adds_up(self, backend: Backend, runner: asyncio.Runner) -> None:
        one, two = runner.run(backend.count("тишина")), runner.run(backend.count("тишина and silence"))
        assert 0 < one < two
        assert runner.run(backend.count("")) == 0

    # --- time and trouble --------------------------------------------------------------------------------------------

    def test_dropped_replies_free_their_slots(self, backend: Backend, runner: asyncio.Runner) -> None:
        async def scenario() -> float:
            await asyncio.gather(*(_drop(backend) for _ in range(backend.capabilities.parallel)))
            started = time.monotonic()
            assert await say(backend, prompt=RU, max_tokens=2)
            return time.monotonic() - started

        assert runner.run(scenario()) < self.slow_s

    def test_a_cancelled_task_frees_its_slot(self, backend: Backend, runner: asyncio.Runner) -> None:
        async def scenario() -> float:
            tasks = [
                asyncio.create_task(say(backend, prompt=RU * 8, max_tokens=400, seed=n))
                for n in range(2 * backend.capabilities.parallel)
            ]
            await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            started = time.monotonic()
            assert await say(backend, prompt=RU, max_tokens=2)
            return time.monotonic() - started

        assert runner.run(scenario()) < self.slow_s

    def test_a_deadline_in_the_past_fails_and_the_backend_goes_on(
        self, backend: Backend, runner: asyncio.Runner
    ) -> None:
        async def scenario() -> str:
            with pytest.raises(DeadlineError):
                await say(backend, prompt=RU, max_tokens=400, deadline=time.monotonic() - 1)
            return await say(backend, prompt=RU, max_tokens=2, deadline=time.monotonic() + 60)

        assert runner.run(scenario())

    def test_prompt_and_messages_are_either_or(self, backend: Backend, runner: asyncio.Runner) -> None:
        for request in (Request(), Request(prompt="a", messages=(Message(role="user", content="a"),))):
            with pytest.raises(BackendError):
                runner.run(_finish(backend, request))

    def test_zz_closing_twice_is_closing_once(self, backend: Backend, runner: asyncio.Runner) -> None:
        runner.run(backend.aclose())
        runner.run(backend.aclose())
        with pytest.raises(BackendError):
            runner.run(say(backend, prompt=RU, max_tokens=2))


async def _gather(*awaitables: Awaitable[T]) -> list[T]:
    return list(await asyncio.gather(*awaitables))


async def _finish(backend: Backend, request: Request) -> None:
    async for _ in backend.generate(request):
        pass


async def _drop(backend: Backend) -> None:
    """Take the first piece of a long reply and leave."""
    chunks = cast("AsyncGenerator[Chunk, None]", backend.generate(Request(prompt=RU, max_tokens=400)))
    await anext(chunks)
    await chunks.aclose()


__all__ = ["ANSWER_SCHEMA", "EN", "GREEDY", "RU", "BackendSuite", "collect", "plan", "say", "text_of"]
