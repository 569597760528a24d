"""What every backend must do with one request: its pieces, its end, its shape, its score."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from typing import ClassVar

import pytest

from scenepipe.contracts import Backend, Message, Request
from scenepipe.errors import BackendError
from scenepipe.scene import TokenScore
from scenepipe.testing.backend_requests import ANSWER_SCHEMA, EN, GREEDY, RU, WARM, collect, plan, say, text_of


class ReplySuite:
    """Streaming, stop strings, seeds, JSON Schema, score and count."""

    registers: ClassVar[tuple[str, ...]] = ("poet", "philosopher")

    @pytest.mark.parametrize("prompt", [RU, EN], ids=["ru", "en"])
    def test_the_last_chunk_and_only_it_has_reason_and_usage(
        self, backend: Backend, runner: asyncio.Runner, prompt: str
    ) -> None:
        chunks = runner.run(collect(backend, sampling=WARM, prompt=prompt, max_tokens=12))
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
        chunks = runner.run(collect(backend, sampling=WARM, prompt=RU, max_tokens=12))
        assert sum(bool(chunk.text) for chunk in chunks) > 1
        assert "\ufffd" not in text_of(chunks)
        assert all(chunk.text or chunk.reasoning for chunk in chunks[:-1])

    def test_max_tokens_ends_a_reply_with_length(self, backend: Backend, runner: asyncio.Runner) -> None:
        chunks = runner.run(collect(backend, sampling=WARM, prompt=RU, max_tokens=2))
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

    def test_of_many_stop_strings_the_last_ends_the_reply_too(self, backend: Backend, runner: asyncio.Runner) -> None:
        """Some servers take four at most; a pipeline has more, the names of who speaks among them."""
        if not backend.capabilities.stop:
            pytest.skip("no stop strings")
        whole = runner.run(say(backend, prompt=RU, max_tokens=16, sampling=GREEDY, seed=1))
        stop = whole[len(whole) // 2 :][:3]
        many = (*(f"<{number}>" for number in range(10)), stop)
        chunks = runner.run(collect(backend, prompt=RU, max_tokens=16, sampling=GREEDY, seed=1, stop=many))
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
        first = [runner.run(say(backend, sampling=WARM, prompt=RU, max_tokens=12, seed=seed)) for seed in (1, 2, 3, 4)]
        again = [runner.run(say(backend, sampling=WARM, prompt=RU, max_tokens=12, seed=seed)) for seed in (1, 2, 3, 4)]
        assert first == again
        assert len(set(first)) > 1

    def test_json_schema_is_kept(self, backend: Backend, runner: asyncio.Runner) -> None:
        if not backend.capabilities.json_schema:
            pytest.skip("no JSON Schema")
        prompt = "A JSON object with a word and a count:"
        value = json.loads(
            runner.run(say(backend, sampling=WARM, prompt=prompt, max_tokens=80, json_schema=ANSWER_SCHEMA, seed=1))
        )
        assert set(value) == {"word", "count"}
        assert isinstance(value["word"], str)
        assert len(value["word"]) <= 12
        assert isinstance(value["count"], int)
        assert 3 <= value["count"] <= 9

    def test_messages_need_the_chat_capability(self, backend: Backend, runner: asyncio.Runner) -> None:
        messages = (Message(role="user", content="Why is it silent?"),)
        if backend.capabilities.chat:
            assert runner.run(say(backend, sampling=WARM, messages=messages, max_tokens=8))
        else:
            with pytest.raises(BackendError):
                runner.run(say(backend, sampling=WARM, messages=messages, max_tokens=8))

    async def _score(self, backend: Backend, register: str | None, reply: str) -> Sequence[TokenScore]:
        mode = next(iter(backend.capabilities.mixtures), None)
        spoken = plan(register, mode) if register is not None and mode is not None else plan("base")
        return await backend.score(Request(prompt=RU, plan=spoken), reply)

    def test_score_covers_the_whole_reply(self, backend: Backend, runner: asyncio.Runner) -> None:
        if not backend.capabilities.score:
            pytest.skip("no score")
        reply = " Тишина — это вход 🙂."
        scores = runner.run(self._score(backend, None, reply))
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
