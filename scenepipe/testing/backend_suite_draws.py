"""What every backend must do with the settings that it claims, and with the probabilities that it tells."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from scenepipe.contracts import Backend, Request
from scenepipe.errors import BackendError
from scenepipe.sampling import Sampling
from scenepipe.testing.backend_requests import EN, GREEDY, RU, WARM, WIDE, collect, gather, say, text_of, tokens_of

SETTINGS: dict[str, Any] = {
    "temperature": 1.5,
    "top_p": 0.5,
    "top_k": 7,
    "min_p": 0.3,
    "repeat_penalty": 1.5,
    "presence_penalty": 1.0,
    "frequency_penalty": 1.0,
    "logit_bias": {5: -100.0},
    "beams": 2,
    "watermark": True,
    "reasoning_effort": "low",
}
"""A value of each setting that asks for something."""
_OFF = Sampling(temperature=1.0, top_p=1.0, top_k=0, min_p=0.0)
_TOKENS = 24


class DrawSuite:
    """Sampling settings and log-probabilities.

    Attributes:
        some_tokens: ids of some hundred tokens of the model's vocabulary, each with a text of its own.
        score_tolerance: how far a token's log-probability may lie from `score`'s: engines that round activations read
            a prompt at once with other digits than token by token.
    """

    some_tokens: ClassVar[Sequence[int]] = range(5000, 5300)
    score_tolerance: ClassVar[float] = 0.1

    async def token_ids(self, backend: Backend, text: str) -> Sequence[int] | None:
        """Ids of a text's tokens; None where the engine does not say."""
        return None

    # --- settings ----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("setting", SETTINGS)
    def test_a_setting_that_is_not_claimed_is_refused_by_name(
        self, backend: Backend, runner: asyncio.Runner, setting: str
    ) -> None:
        if setting in backend.capabilities.sampling:
            pytest.skip("it is claimed")
        sampling = _OFF.model_copy(update={setting: SETTINGS[setting]})
        with pytest.raises(BackendError, match=setting):
            runner.run(say(backend, prompt=RU, max_tokens=2, sampling=sampling))
        assert runner.run(say(backend, prompt=RU, max_tokens=2, sampling=GREEDY))

    def test_temperature_draws(self, backend: Backend, runner: asyncio.Runner) -> None:
        """Greedy says one thing; at a temperature it is several."""
        _claimed(backend, "temperature", "seed")
        greedy = {runner.run(say(backend, prompt=RU, max_tokens=8, sampling=GREEDY, seed=n)) for n in (1, 2)}
        drawn = {runner.run(say(backend, prompt=RU, max_tokens=8, sampling=WIDE, seed=n)) for n in (1, 2, 3)}
        assert len(greedy) == 1
        assert len(drawn) > 1

    @pytest.mark.parametrize(("setting", "value"), [("top_k", 1), ("top_p", 1e-6), ("min_p", 1.0)])
    def test_a_setting_that_leaves_one_token_is_greedy(
        self, backend: Backend, runner: asyncio.Runner, setting: str, value: float
    ) -> None:
        _claimed(backend, "temperature", setting)
        sampling = WIDE.model_copy(update={setting: value})
        narrow = {runner.run(say(backend, prompt=RU, max_tokens=8, sampling=sampling, seed=n)) for n in (1, 2)}
        assert narrow == {runner.run(say(backend, prompt=RU, max_tokens=8, sampling=GREEDY))}

    def test_repeat_penalty_changes_a_reply(self, backend: Backend, runner: asyncio.Runner) -> None:
        _claimed(backend, "repeat_penalty")
        penalised = GREEDY.model_copy(update={"repeat_penalty": 5.0})
        plain, other = (runner.run(say(backend, prompt=RU, max_tokens=16, sampling=s)) for s in (GREEDY, penalised))
        assert plain != other

    @pytest.mark.parametrize("setting", ["presence_penalty", "frequency_penalty"])
    def test_a_penalty_makes_a_reply_say_more_different_tokens(
        self, backend: Backend, runner: asyncio.Runner, setting: str
    ) -> None:
        """Among the tokens that a bias leaves, a greedy reply goes round in circles; with the penalty less so."""
        _claimed(backend, setting, "logit_bias", "logprobs")
        biased = GREEDY.model_copy(update={"logit_bias": dict.fromkeys(self.some_tokens, 100.0)})
        penalised = biased.model_copy(update={setting: 2.0})
        plain, other = (Counter(self._tokens(backend, runner, sampling)) for sampling in (biased, penalised))
        assert len(other) >= len(plain)
        assert other != plain
        if setting == "frequency_penalty":
            assert max(other.values()) <= max(plain.values())

    def test_logit_bias_decides_what_may_be_said(self, backend: Backend, runner: asyncio.Runner) -> None:
        _claimed(backend, "logit_bias", "logprobs")
        half = len(self.some_tokens) // 2
        said = []
        for chosen, others in ((slice(half), slice(half, None)), (slice(half, None), slice(half))):
            bias = dict.fromkeys(self.some_tokens[chosen], 100.0) | dict.fromkeys(self.some_tokens[others], -100.0)
            said.append(set(self._tokens(backend, runner, GREEDY.model_copy(update={"logit_bias": bias}))))
        assert all(said)
        assert not said[0] & said[1]

    def test_a_bias_of_minus_100_forbids_the_likeliest_token(self, backend: Backend, runner: asyncio.Runner) -> None:
        _claimed(backend, "logit_bias")
        first = runner.run(say(backend, prompt=EN, max_tokens=1, sampling=GREEDY))
        ids = runner.run(self.token_ids(backend, first))
        if ids is None:
            pytest.skip("the engine does not tell token ids")
        forbidding = GREEDY.model_copy(update={"logit_bias": {ids[0]: -100.0}})
        assert runner.run(say(backend, prompt=EN, max_tokens=1, sampling=forbidding)) != first

    def test_settings_are_each_requests_own(self, backend: Backend, runner: asyncio.Runner) -> None:
        """A bias of one request is not heard in its neighbour."""
        _claimed(backend, "logit_bias")
        bias = GREEDY.model_copy(update={"logit_bias": dict.fromkeys(self.some_tokens, 100.0)})
        requests = [{"prompt": EN, "max_tokens": 6, "sampling": sampling} for sampling in (GREEDY, bias)]
        alone = [runner.run(say(backend, **request)) for request in requests]
        assert alone[0] != alone[1]
        together = runner.run(gather(*(say(backend, **request) for request in requests)))
        if not getattr(self, "batch_tolerance", 0.0):
            assert together == alone
        assert together[0] != alone[1]

    def _tokens(self, backend: Backend, runner: asyncio.Runner, sampling: Sampling) -> list[str]:
        chunks = runner.run(collect(backend, prompt=EN, max_tokens=_TOKENS, sampling=sampling, logprobs=1))
        return [token.token for token in tokens_of(chunks)]

    # --- probabilities -----------------------------------------------------------------------------------------------

    def test_tokens_join_to_the_reply_and_come_with_their_text(self, backend: Backend, runner: asyncio.Runner) -> None:
        _claimed(backend, "logprobs")
        for prompt in (RU, EN):
            said = told = ""
            for chunk in runner.run(collect(backend, sampling=WARM, prompt=prompt, max_tokens=16, logprobs=1, seed=1)):
                said, told = said + chunk.text, told + "".join(token.token for token in chunk.logprobs)
                assert said.startswith(told)
            assert told == said

    def test_alternatives_are_sorted_and_the_greedy_token_is_the_first(
        self, backend: Backend, runner: asyncio.Runner
    ) -> None:
        _claimed(backend, "logprobs")
        most = min(8, backend.capabilities.logprobs)
        tokens = tokens_of(runner.run(collect(backend, prompt=RU, max_tokens=12, sampling=GREEDY, logprobs=most)))
        assert tokens
        for token in tokens:
            values = [each.logprob for each in token.top]
            assert 0 < len(values) <= most
            assert values == sorted(values, reverse=True)
            assert math.fsum(math.exp(value) for value in values) <= 1.001
            assert token.logprob == pytest.approx(values[0], abs=1e-4)
            assert token.token in {each.token for each in token.top if each.logprob >= values[0] - 1e-4}

    def test_as_many_alternatives_as_were_asked_for(self, backend: Backend, runner: asyncio.Runner) -> None:
        _claimed(backend, "logprobs")
        counts = {}
        for asked in (None, 0, 1, 2):
            tokens = tokens_of(runner.run(collect(backend, prompt=RU, max_tokens=4, sampling=GREEDY, logprobs=asked)))
            counts[asked] = {len(token.top) for token in tokens}
        assert counts == {None: set(), 0: {0}, 1: {1}, 2: {2}}

    def test_probabilities_are_those_before_any_setting(self, backend: Backend, runner: asyncio.Runner) -> None:
        _claimed(backend, "logprobs", "temperature", "top_k")
        hot = WIDE.model_copy(update={"top_k": 1})
        plain, other = (
            tokens_of(runner.run(collect(backend, prompt=RU, max_tokens=6, sampling=s, logprobs=1, seed=1)))
            for s in (GREEDY, hot)
        )
        assert [t.token for t in plain] == [t.token for t in other]
        assert [t.logprob for t in plain] == pytest.approx([t.logprob for t in other], abs=1e-2)

    def test_probabilities_are_those_of_score(self, backend: Backend, runner: asyncio.Runner) -> None:
        _claimed(backend, "logprobs", "score")
        chunks = runner.run(collect(backend, prompt=RU, max_tokens=12, sampling=GREEDY, logprobs=1))
        tokens = tokens_of(chunks)
        scores = runner.run(backend.score(Request(prompt=RU, sampling=GREEDY), text_of(chunks)))
        shared = 0
        for drawn, scored in zip(tokens, scores, strict=False):
            if drawn.token != scored.token:  # a text may have other tokens than those it was drawn in
                break
            assert drawn.logprob == pytest.approx(scored.logprob, abs=self.score_tolerance)
            shared += 1
        assert shared >= min(3, len(tokens)) > 0

    def test_a_stop_string_cuts_tokens_with_the_text(self, backend: Backend, runner: asyncio.Runner) -> None:
        _claimed(backend, "logprobs", "stop")
        whole = runner.run(say(backend, prompt=RU, max_tokens=16, sampling=GREEDY))
        middle = whole[len(whole) // 2 :]
        for stop in (middle[:3], middle[:2] + "\x07"):
            chunks = runner.run(collect(backend, prompt=RU, max_tokens=16, sampling=GREEDY, stop=(stop,), logprobs=1))
            said, told = text_of(chunks), "".join(token.token for token in tokens_of(chunks))
            assert said.startswith(told)
            if stop in whole:
                assert said == whole[: whole.index(stop)]
            else:
                assert told == said == whole

    def test_more_alternatives_than_are_told_are_refused(self, backend: Backend, runner: asyncio.Runner) -> None:
        if backend.capabilities.logprobs >= 100:
            pytest.skip("it tells all that can be asked for")
        with pytest.raises(BackendError, match="logprobs"):
            runner.run(say(backend, sampling=WARM, prompt=RU, max_tokens=1, logprobs=backend.capabilities.logprobs + 1))


def _claimed(backend: Backend, *what: str) -> None:
    """Skip a test that needs what the backend does not claim: settings by name, or capabilities."""
    for name in what:
        if not (name in backend.capabilities.sampling or getattr(backend.capabilities, name, False)):
            pytest.skip(f"no {name}")
