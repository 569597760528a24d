"""How tokens are drawn: one validated set of settings for every engine, and which of them an engine honours.

A setting that stands at its default asks for nothing. One that does not, and that the engine lacks, is refused by name:
an engine that ignores a penalty or a bias silently gives another distribution than the one that was asked for.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from scenepipe.errors import BackendError

Temperature = Annotated[float, Field(ge=0.0, le=5.0)]
TopP = Annotated[float, Field(gt=0.0, le=1.0)]
TopK = Annotated[int, Field(ge=0)]
MinP = Annotated[float, Field(ge=0.0, le=1.0)]
RepeatPenalty = Annotated[float, Field(gt=0.0, le=5.0)]
Penalty = Annotated[float, Field(ge=-2.0, le=2.0)]
LogitBias = dict[Annotated[int, Field(ge=0)], Annotated[float, Field(ge=-100.0, le=100.0)]]
Beams = Annotated[int, Field(ge=1, le=16)]
Effort = Literal["none", "minimal", "low", "medium", "high"]

COMMON = ("temperature", "top_p", "top_k", "min_p", "repeat_penalty")


class Sampling(BaseModel):
    """How tokens are drawn. ``temperature`` 0 is greedy.

    Args:
        top_p: nucleus sampling; 1 switches it off.
        top_k: 0 switches it off.
        min_p: tokens less likely than this share of the likeliest are left out.
        repeat_penalty: divides the logits of recent tokens (Keskar et al. 2019, arXiv 1909.05858); 1 switches it off.
        presence_penalty: subtracted from the logit of every token that the reply has.
        frequency_penalty: subtracted from a token's logit once for each time that the reply has it.
        logit_bias: added to the logits of these token ids; -100 forbids one.
        beams: width of a beam search; 1 draws instead.
        watermark: mark the reply (Kirchenbauer et al. 2023, arXiv 2301.10226).
        reasoning_effort: of models that reason before they reply; None leaves the engine's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: Temperature = 0.7
    top_p: TopP = 0.95
    top_k: TopK = 40
    min_p: MinP = 0.05
    repeat_penalty: RepeatPenalty = 1.0
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0
    logit_bias: LogitBias = {}
    beams: Beams = 1
    watermark: bool = False
    reasoning_effort: Effort | None = None

    def told(self) -> dict[str, Any]:
        """The five that every reply is drawn by, and whatever else was asked for: for receipts."""
        return {name: value for name, value in self if name in COMMON or name in self.asked()}

    def asked(self) -> tuple[str, ...]:
        """Names of the settings that are not off: what an engine must have to honour this."""
        return tuple(name for name, off in _OFF.items() if getattr(self, name) != off)


_OFF: dict[str, Any] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repeat_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "logit_bias": {},
    "beams": 1,
    "watermark": False,
    "reasoning_effort": None,
}
"""The value at which each setting changes nothing."""


def check_sampling(sampling: Sampling, honoured: tuple[str, ...], engine: str) -> None:
    """Refuse what an engine would ignore.

    Raises:
        BackendError: settings that were asked for and that the engine lacks, all of them by name.
    """
    missing = [name for name in sampling.asked() if name not in honoured]
    if missing:
        told = ", ".join(f"{name}: {getattr(sampling, name)}" for name in missing)
        off = ", ".join(f"{name}: {_OFF[name]}" for name in missing)
        raise BackendError(
            f"{engine} has no {told}; it has {', '.join(honoured) or 'no settings'}. "
            f"Switch off what it lacks ({off}), or choose another backend"
        )
