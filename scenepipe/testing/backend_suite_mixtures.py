"""What a mixture must mean on every backend, and that no row hears its neighbour's registers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from scenepipe.contracts import Backend, Chunk, Request
from scenepipe.errors import MixtureError
from scenepipe.mixture import Mixture, MixtureMode
from scenepipe.testing.backend_requests import EN, GREEDY, RU, WARM, collect, gather, plan, say, text_of, tokens_of

_REPLY = " Тишина — это вход."
_ALTERNATIVES = 20
_NEAR = 0.02
_ROUNDING = 1e-2


class MixtureSuite:
    """Weights, their meaning, and requests of different mixtures side by side, in whichever mode the engine has.

    Attributes:
        registers: names of at least two registers that the fixture's backend has open.
        batch_tolerance: how far natural-log probabilities of one request may move with its neighbours. 0: not at all
            that a greedy reply changes. An engine that computes in bfloat16 sums in another order in another batch.
    """

    registers: ClassVar[tuple[str, ...]] = ("poet", "philosopher")
    batch_tolerance: ClassVar[float] = 0.0

    def mode(self, backend: Backend) -> MixtureMode:
        """The mode of mixtures that this backend has; a test that needs one is skipped without."""
        for mode in backend.capabilities.mixtures:
            if mode in ("exact", "premerged"):
                return mode
        pytest.skip("no mixtures")

    def mixtures(self) -> tuple[str, ...]:
        """Base, half a register, two registers, and the half of each."""
        first, second = self.registers[:2]
        return ("base", f"{first}@0.5", first, second, f"{first}@0.5+{second}@0.5")

    async def told(self, backend: Backend, mixture: str | Mixture, prompt: str = RU) -> dict[str, float]:
        """What can be seen of the distribution after a prompt: alternatives, or scores, or else the reply."""
        asked = plan(mixture, self.mode(backend))
        if most := min(_ALTERNATIVES, backend.capabilities.logprobs):
            first = tokens_of(
                await collect(backend, prompt=prompt, max_tokens=1, logprobs=most, sampling=GREEDY, plan=asked)
            )
            if first:  # a reply may end with its first token
                return {each.token: each.logprob for each in first[0].top}
        if backend.capabilities.score:
            scores = await backend.score(Request(prompt=prompt, plan=asked), _REPLY)
            return {f"{number} {score.token}": score.logprob for number, score in enumerate(scores)}
        return {await say(backend, prompt=prompt, max_tokens=24, sampling=GREEDY, plan=asked): 0.0}

    # --- what is refused ---------------------------------------------------------------------------------------------

    def test_an_unknown_register_is_refused(self, backend: Backend, runner: asyncio.Runner) -> None:
        mode: MixtureMode = next(iter(backend.capabilities.mixtures), "top1")
        with pytest.raises(MixtureError, match="nobody"):
            runner.run(say(backend, sampling=WARM, prompt=RU, max_tokens=4, plan=plan("nobody@0.5", mode)))

    def test_a_mode_that_the_engine_has_not_is_refused(self, backend: Backend, runner: asyncio.Runner) -> None:
        modes: tuple[MixtureMode, ...] = ("exact", "premerged")
        missing = [mode for mode in modes if mode not in backend.capabilities.mixtures]
        for mode in missing:
            with pytest.raises(MixtureError, match=mode):
                runner.run(say(backend, sampling=WARM, prompt=RU, max_tokens=4, plan=plan(self.registers[0], mode)))

    # --- what a mixture means ----------------------------------------------------------------------------------------

    def test_every_mixture_has_a_distribution_of_its_own(self, backend: Backend, runner: asyncio.Runner) -> None:
        told = [runner.run(self.told(backend, mixture)) for mixture in self.mixtures()]
        for number, one in enumerate(told):
            for other in told[:number]:
                assert not _same(one, other, _ROUNDING)

    def test_a_mixture_of_two_changes_what_is_said(self, backend: Backend, runner: asyncio.Runner) -> None:
        mode = self.mode(backend)
        told = [
            runner.run(say(backend, prompt=RU, max_tokens=24, sampling=GREEDY, plan=plan(mixture, mode)))
            for mixture in self.mixtures()
        ]
        assert len(set(told)) > 2

    def test_a_weight_of_zero_is_the_base(self, backend: Backend, runner: asyncio.Runner) -> None:
        zero = Mixture(weights=dict.fromkeys(self.registers[:2], 0.0))
        base, told = (runner.run(self.told(backend, mixture)) for mixture in ("base", zero))
        assert _same(base, told, _NEAR)

    def test_the_order_of_registers_means_nothing(self, backend: Backend, runner: asyncio.Runner) -> None:
        first, second = self.registers[:2]
        one, other = ({first: 0.5, second: 0.3}, {second: 0.3, first: 0.5})
        told = [runner.run(self.told(backend, Mixture(weights=weights))) for weights in (one, other)]
        assert _same(told[0], told[1], _NEAR)

    def test_the_base_is_the_base_after_a_register_has_spoken(self, backend: Backend, runner: asyncio.Runner) -> None:
        before = runner.run(self.told(backend, "base"))
        for mixture in self.mixtures():
            runner.run(self.told(backend, mixture))
        assert _same(before, runner.run(self.told(backend, "base")), _NEAR)

    # --- side by side ------------------------------------------------------------------------------------------------

    def test_mixtures_side_by_side_say_what_they_say_alone(self, backend: Backend, runner: asyncio.Runner) -> None:
        requests = self._requests(backend)
        alone = [runner.run(collect(backend, **request)) for request in requests]
        together = runner.run(gather(*(collect(backend, **request) for request in requests)))
        again = [runner.run(collect(backend, **request)) for request in requests]
        assert len({text_of(chunks) for chunks in alone}) == len(alone)
        for one, among, after in zip(alone, together, again, strict=True):
            self._agree(one, among)
            self._agree(one, after)

    def test_a_newcomer_says_among_others_what_it_says_alone(self, backend: Backend, runner: asyncio.Runner) -> None:
        """Its neighbours, of other mixtures, have begun before it comes, and end when they will."""
        *others, newcomer = self._requests(backend)
        alone = runner.run(collect(backend, **newcomer))

        async def among() -> list[Chunk]:
            begun = asyncio.Event()
            tasks = [asyncio.create_task(_begin(backend, begun, {**each, "max_tokens": 24})) for each in others]
            await begun.wait()
            told = await collect(backend, **newcomer)
            await asyncio.gather(*tasks)
            return told

        self._agree(alone, runner.run(among()))

    def _requests(self, backend: Backend) -> list[dict[str, Any]]:
        mode, logprobs = self.mode(backend), min(_ALTERNATIVES, backend.capabilities.logprobs) or None
        common = {"max_tokens": 10, "sampling": GREEDY, "logprobs": logprobs}
        speakers = ((RU, self.registers[0]), (EN, self.registers[1]), (RU, "base"))
        return [{"prompt": prompt, "plan": plan(mixture, mode), **common} for prompt, mixture in speakers]

    def _agree(self, one: Sequence[Chunk], other: Sequence[Chunk]) -> None:
        """The same reply; or, where that is too much to ask, the same distribution of its first token."""
        if not self.batch_tolerance:
            assert text_of(one) == text_of(other)
            return
        first, second = ({t.token: t.logprob for t in tokens_of(chunks)[0].top} for chunks in (one, other))
        assert _same(first, second, self.batch_tolerance)


async def _begin(backend: Backend, begun: asyncio.Event, request: dict[str, Any]) -> None:
    async for _ in backend.generate(Request(**request)):
        begun.set()


def _same(one: dict[str, float], other: dict[str, float], near: float) -> bool:
    """Whether two distributions agree on what both tell; the last alternatives of one may be missing in the other."""
    shared = one.keys() & other.keys()
    return len(shared) >= 0.8 * len(one) and all(abs(one[token] - other[token]) <= near for token in shared)
