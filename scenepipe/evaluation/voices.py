"""Is a register heard? The judge's verdict on replies, and its log-odds along a mixture curve."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from scenepipe.evaluation.intervals import mean
from scenepipe.evaluation.judge import Judge
from scenepipe.evaluation.replies import Drawn

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Said(NamedTuple):
    """A reply, the register it is of, and its input with its language."""

    register: str
    input_id: str
    language: str
    input: str
    text: str


def judge_figures(judge: Judge, replies: Sequence[Said]) -> dict[str, Any]:
    """Accuracy over all, by language and by register; and how often each register was taken for each."""
    named = judge.named([reply.text for reply in replies])
    right = [float(name == reply.register) for name, reply in zip(named, replies, strict=True)]

    def share(key: str, value: str) -> Any:
        mine = [place for place, reply in enumerate(replies) if getattr(reply, key) == value]
        return mean([right[place] for place in mine], groups=[replies[place].input_id for place in mine])

    languages = sorted({reply.language for reply in replies}, reverse=True)
    return {
        "accuracy": mean(right, groups=[reply.input_id for reply in replies]),
        "by_language": {language: share("language", language) for language in languages},
        "by_register": {name: share("register", name) for name in sorted({reply.register for reply in replies})},
        "confusion": confusion([reply.register for reply in replies], named, judge.names),
    }


def confusion(true: Sequence[str], named: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, int]]:
    """By true register, how many replies were taken for each."""
    counts = Counter(zip(true, named, strict=True))
    return {one: {other: counts[one, other] for other in names} for one in sorted(set(true))}


def log_odds(
    judge: Judge, pair: tuple[str, str], steps: Sequence[Mapping[str, Drawn]], input_ids: Sequence[str]
) -> npt.NDArray[np.float64]:
    """Judge's log-odds of the pair's first register against its second, nats, [inputs, steps].

    Args:
        steps: by input id, the reply at each step.
    """
    import numpy as np

    first, second = (judge.names.index(name) for name in pair)
    columns = []
    for replies in steps:
        told = judge.log_probabilities([replies[id].text for id in input_ids])
        columns.append(told[:, first] - told[:, second])
    return np.stack(columns, axis=1)
