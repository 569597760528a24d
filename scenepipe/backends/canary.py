"""The canary: is an adapter applied at all? Some servers accept any name and speak as the base.

A fixed prompt is answered by the base and with each adapter. At a server the base answers twice: the difference is the
server's own noise (a cached prefix is computed in another order), and an adapter has to differ by more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from scenepipe.contracts import AdapterProof
from scenepipe.mixture import Mixture, of
from scenepipe.sampling import Sampling

CANARY_PROMPT = "Scene: a step in the silence\nСцепка: шаг·тишина\nОтвет:"
CANARY_TOKENS = 24
LIKELIEST = 16
"""Alternatives of the next token that are compared."""
TOLERANCE = 1e-5
"""Difference of a logarithm that is rounding."""
GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, min_p=0.0)
_TIMES_NOISE = 4.0


@dataclass(frozen=True)
class Told:
    """An answer to the canary's prompt: its greedy text, and the first token's likeliest alternatives, if told."""

    text: str
    logprobs: Mapping[str, float]


Ask = Callable[[Mixture], Awaitable[Told]]


async def proofs_by_likeliest(
    ask: Callable[[str | None], Awaitable[Mapping[int, float]]], hashes: Mapping[str, str]
) -> list[AdapterProof]:
    """Compare the likeliest next tokens with each register at 1 and with none, at an engine without noise.

    Args:
        ask: logarithm by token after the canary's prompt, with one register or none.
        hashes: SHA-256 of the adapter by register.
    """
    base, proofs = await ask(None), []
    for name, sha256 in hashes.items():
        told = await ask(name)
        same = told.keys() == base.keys() and all(abs(told[token] - base[token]) < TOLERANCE for token in base)
        proofs.append(AdapterProof(register_name=name, sha256=sha256, zero_effect=same))
    return proofs


def proofs_of(registers: Sequence[str], hashes: Mapping[str, str], dead: Sequence[str]) -> list[AdapterProof]:
    """Proofs of the registers whose adapter's file is known.

    Args:
        dead: those that `without_effect` has found.
    """
    return [
        AdapterProof(register_name=name, sha256=hashes[name], zero_effect=name in dead)
        for name in registers
        if name in hashes
    ]


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
        return _distance(told, base) > max(TOLERANCE, _TIMES_NOISE * _distance(again, base))
    return base.text == again.text != told.text


def _distance(one: Told, other: Told) -> float:
    """Largest difference of a logarithm; of alternatives that both name, or endless where there are none."""
    both = one.logprobs.keys() & other.logprobs.keys()
    if not both:
        return float("inf")
    return max(abs(one.logprobs[token] - other.logprobs[token]) for token in both)
