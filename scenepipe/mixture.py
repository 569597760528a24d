"""Register mixtures: validate, name, snap to a grid, plan for a backend.

A mixture is weights over registers, each at least 0, summing to at most 1; what is left is the base's own
voice. How an engine honours one is a *mode*:

    exact      the engine adds w1*dW1 + w2*dW2 + ... for this very request
    premerged  one composed adapter stands for the sum
    top1       only the heaviest register speaks; less than asked, so only when asked for
    refuse     mixtures of several registers are refused, a single register at any weight is not
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from scenepipe.errors import MixtureError, did_you_mean

MixtureMode = Literal["exact", "premerged", "top1", "refuse"]
ReceiptMode = Literal["exact", "premerged", "top1", "unverified"]

REGISTER_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
SUM_TOLERANCE = 1e-6


class Reason(BaseModel):
    """Why a register has its weight: one named cause and its share of the raw score."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cause: str
    amount: float


class Mixture(BaseModel):
    """Weights over registers, in 0..1, summing to at most 1; reasons by register."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: dict[str, Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]] = {}
    reasons: dict[str, tuple[Reason, ...]] = {}

    @model_validator(mode="after")
    def _sums_to_one(self) -> Mixture:
        total = math.fsum(self.weights.values())
        if total > 1.0 + SUM_TOLERANCE:
            raise ValueError(f"register weights sum to {total:.3f}; the sum must be at most 1, the base has the rest")
        for name in self.weights:
            if not REGISTER_NAME.fullmatch(name):
                raise ValueError(f"register name {name!r} must match {REGISTER_NAME.pattern}")
        return self

    @property
    def base(self) -> float:
        """Weight left to the base's own voice."""
        return max(0.0, 1.0 - math.fsum(self.weights.values()))

    @property
    def id(self) -> str:
        """Canonical name: heaviest first, ties by name, zeros left out; ``base`` for the empty mixture."""
        ordered = sorted(((w, n) for n, w in self.weights.items() if w > 0), key=lambda x: (-x[0], x[1]))
        return "+".join(f"{n}@{w:g}" for w, n in ordered) or "base"

    def snapped(self, step: float) -> Mixture:
        """The same mixture on a grid of ``step``, so that equal mixtures recur and can be grouped.

        Rounds each weight to the nearest multiple; while rounding up has pushed the sum over 1, takes one step
        from the register that rounding favoured most.
        """
        if step <= 0:
            return self
        units = {n: math.floor(w / step + 0.5) for n, w in self.weights.items()}
        limit = math.floor(1.0 / step + SUM_TOLERANCE)
        while sum(units.values()) > limit:
            favoured = max(units, key=lambda n: (units[n] * step - self.weights[n], n))
            units[favoured] -= 1
        weights = {n: round(u * step, 6) for n, u in units.items() if u > 0}
        return Mixture(weights=weights, reasons={n: r for n, r in self.reasons.items() if n in weights})


class Plan(BaseModel):
    """What was asked and what the engine will be given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    asked: Mixture
    used: Mixture
    mode: MixtureMode


def parse(text: str) -> Mixture:
    """Read ``poet@0.6+logician@0.4`` (or ``base``), the inverse of `Mixture.id`.

    Raises:
        MixtureError: the text is not a mixture, or its weights do not fit.
    """
    if text == "base":
        return Mixture()
    weights: dict[str, float] = {}
    for part in text.split("+"):
        name, at, weight = part.partition("@")
        try:
            value = float(weight) if at else 1.0
        except ValueError:
            raise MixtureError(f"{part!r} is not NAME@WEIGHT, for example poet@0.6") from None
        if name in weights:
            raise MixtureError(f"register '{name}' appears twice in {text!r}; give it once")
        weights[name] = value
    return of(weights)


def of(weights: Mapping[str, float]) -> Mixture:
    """A mixture from plain weights.

    Raises:
        MixtureError: a weight is negative or not finite, or the sum exceeds 1.
    """
    try:
        return Mixture(weights=dict(weights))
    except ValueError as error:
        raise MixtureError(f"{dict(weights)} is not a mixture: {_first_message(error)}") from None


def plan(
    asked: Mixture, *, mode: MixtureMode, step: float, registers: Iterable[str], can: Iterable[MixtureMode]
) -> Plan:
    """Decide what an engine is given for a mixture. Never silently less than asked.

    Args:
        registers: names that the backend has open.
        can: modes the backend has.

    Raises:
        MixtureError: an unknown register, or a mode that the backend cannot honour.
    """
    known, modes = set(registers), set(can)
    for name in asked.weights:
        if name not in known:
            raise MixtureError(f"unknown register '{name}'; {did_you_mean(name, known)}")
    used = asked.snapped(step)
    several = sum(w > 0 for w in used.weights.values()) > 1
    if mode == "refuse" and several:
        raise MixtureError(f"mixture {used.id} has several registers and 'mixture: refuse' allows one")
    if mode == "top1":
        heaviest = max(used.weights, key=lambda n: (used.weights[n], n), default="")
        used = of({heaviest: used.weights[heaviest]}) if heaviest else Mixture()
    elif used.weights and mode != "refuse" and mode not in modes:
        raise MixtureError(
            f"this backend cannot honour 'mixture: {mode}'; {did_you_mean(mode, modes | {'top1', 'refuse'})}"
        )
    return Plan(asked=asked, used=used, mode=mode)


def check_plan(plan: Plan, registers: Collection[str], modes: Iterable[MixtureMode], engine: str) -> None:
    """Refuse a plan that an open engine cannot honour; the base alone needs nothing.

    Args:
        registers: names that it has open.
        modes: beside ``top1`` and ``refuse``, which any engine can.

    Raises:
        MixtureError: a register that is not open, or a mode that the engine has not.
    """
    speaking = [name for name, weight in plan.used.weights.items() if weight > 0]
    possible = (*modes, "top1", "refuse")
    if speaking and plan.mode not in possible:
        raise MixtureError(f"{engine} cannot honour 'mixture: {plan.mode}'; possible: {', '.join(possible)}")
    for name in speaking:
        if name not in registers:
            raise MixtureError(f"register '{name}' is not open; {did_you_mean(name, registers)}")


def _first_message(error: ValueError) -> str:
    errors = getattr(error, "errors", None)
    return str(errors()[0]["msg"]) if errors else str(error)
