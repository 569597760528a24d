"""The canary: does a server apply an adapter at all? Some accept any name and speak as the base.

A fixed prompt is answered by the base, again by the base, and with each adapter. The difference between the two answers of
the base is the server's own noise (a cached prefix is computed in another order); an adapter has to differ by more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from scenepipe.mixture import Mixture, of

CANARY_PROMPT = "Scene: a step in the silence\nСцепка: шаг·тишина\nОтвет:"
CANARY_TOKENS = 24
_TOLERANCE = 1e-5
_TIMES_NOISE = 4.0


@dataclass(frozen=True)
class Told:
    """An answer to the canary's prompt: its greedy text, and the first token's likeliest alternatives, if told."""

    text: str
    logprobs: Mapping[str, float]


Ask = Callable[[Mixture], Awaitable[Told]]


async def without_effect(ask: Ask, samples: Mapping[str, Sequence[Mixture]]) -> list[str]:
    """Registers whose adapter changes nothing that can be seen in one of their mixtures.

    Args:
        ask: answers the canary's prompt with a mixture.
        samples: mixtures by register.
    """
    if not any(samples.values()):
        return []
    base, again = await ask(of({})), await ask(of({}))
    changed = {}
    for mixture in {each.id: each for group in samples.values() for each in group}.values():
        changed[mixture.id] = _differs(await ask(mixture), base, again)
    return [name for name, group in samples.items() if not all(changed[mixture.id] for mixture in group)]


def _differs(told: Told, base: Told, again: Told) -> bool:
    if base.logprobs:
        return _distance(told, base) > max(_TOLERANCE, _TIMES_NOISE * _distance(again, base))
    return base.text == again.text != told.text


def _distance(one: Told, other: Told) -> float:
    """Largest difference of a logarithm; of alternatives that both name, or endless where there are none."""
    both = one.logprobs.keys() & other.logprobs.keys()
    if not both:
        return float("inf")
    return max(abs(one.logprobs[token] - other.logprobs[token]) for token in both)
