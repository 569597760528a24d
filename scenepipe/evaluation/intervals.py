"""Figures with bootstrap intervals (Efron 1979; percentile intervals, Efron and Tibshirani 1993, chapter 13).

What is resampled are groups of cases that depend on each other: the four registers' replies to one input are one
group. Every statistic here is a function of column totals over groups (a mean is a sum over a count, a perplexity
exp of a sum over a count), so all resamples together are one matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Statistic = Callable[[Floats], Floats]

RESAMPLES = 2000
LEVEL = 0.95
SEED = 7


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % interval.

    Args:
        value: the statistic of the cases themselves.
        low, high: 2.5 and 97.5 percentiles over the resamples.
        n: number of cases.
    """

    value: float
    low: float
    high: float
    n: int

    def as_json(self) -> dict[str, Any]:
        return {"value": _plain(self.value), "low": _plain(self.low), "high": _plain(self.high), "n": self.n}

    def show(self, digits: int = 2) -> str:
        """``0.93 [0.90, 0.96]``."""
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def _plain(value: float) -> float | None:
    """Rounded to 5 digits; None where there is no such number, since JSON has no NaN."""
    return round(value, 5) if math.isfinite(value) else None


def bootstrap(columns: Any, statistic: Statistic, *, groups: Sequence[Hashable] | None = None) -> Figure:
    """A statistic of column totals, with its interval.

    Args:
        columns: float [n cases, k].
        statistic: totals [..., k] to values [...].
        groups: which cases are resampled together; each case alone without it.

    Raises:
        ValueError: there is no case.
    """
    import numpy as np

    cases = np.asarray(columns, np.float64)
    sums = _grouped(cases, groups)
    draws = np.random.default_rng(SEED).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=RESAMPLES)
    return _figure(sums.sum(axis=0), draws @ sums, statistic, len(cases))


def bootstrap_two(
    first: Any,
    second: Any,
    statistic: Callable[[Floats, Floats], Floats],
    *,
    groups: tuple[Sequence[Hashable], Sequence[Hashable]] | None = None,
) -> Figure:
    """A statistic of the column totals of two independent samples; ``n`` is the first one's."""
    import numpy as np

    rng = np.random.default_rng(SEED)
    sums = [_grouped(np.asarray(s, np.float64), groups[i] if groups else None) for i, s in enumerate((first, second))]
    draws = [rng.multinomial(len(s), np.full(len(s), 1 / len(s)), size=RESAMPLES) @ s for s in sums]
    both = np.concatenate(draws, axis=1)
    width = sums[0].shape[1]
    value = np.concatenate([s.sum(axis=0) for s in sums])
    return _figure(value, both, lambda t: statistic(t[..., :width], t[..., width:]), len(first))


def mean(values: Sequence[float], *, groups: Sequence[Hashable] | None = None) -> Figure:
    """Mean of a value per case; a share, where the values are 0 and 1."""
    return ratio(values, [1.0] * len(values), groups=groups)


def ratio(above: Sequence[float], below: Sequence[float], *, groups: Sequence[Hashable] | None = None) -> Figure:
    """Sum over sum: unknown words of all words."""
    return bootstrap(list(zip(above, below, strict=True)), lambda t: t[..., 0] / t[..., 1], groups=groups)


def perplexity(losses: Sequence[float], tokens: Sequence[float], *, groups: Sequence[Hashable] | None = None) -> Figure:
    """exp of the mean loss per token; ``losses`` are summed nats per row."""
    import numpy as np

    return bootstrap(list(zip(losses, tokens, strict=True)), lambda t: np.exp(t[..., 0] / t[..., 1]), groups=groups)


def _grouped(cases: Floats, groups: Sequence[Hashable] | None) -> Floats:
    """Column totals of each group, [n groups, k]."""
    import numpy as np

    if not len(cases):
        raise ValueError("a figure needs at least one case")
    if groups is None:
        return cases
    place = {group: index for index, group in enumerate(dict.fromkeys(groups))}
    sums = np.zeros((len(place), cases.shape[1]))
    np.add.at(sums, [place[group] for group in groups], cases)
    return sums


def _figure(totals: Floats, drawn: Floats, statistic: Statistic, n: int) -> Figure:
    """Resamples in which the statistic is not defined (no word at all) are left out."""
    import numpy as np

    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        value = float(statistic(totals))
        values = statistic(drawn)
    values = values[np.isfinite(values)]
    edges = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    low, high = (float(edge) for edge in np.quantile(values, edges)) if len(values) else (math.nan, math.nan)
    return Figure(value, low, high, n)


def spearman(first: Any, second: Any) -> Any:
    """Rank correlation (Spearman 1904) along the last axis, ties at their mean rank; 0 where one side is constant.

    Args:
        first, second: float [..., n], broadcast against each other.
    """
    import numpy as np

    a, b = (_centred_ranks(np.asarray(each, np.float64)) for each in (first, second))
    scale = np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    return np.divide((a * b).sum(-1), scale, out=np.zeros(np.broadcast(scale).shape), where=scale > 0)


def _centred_ranks(values: Floats) -> Floats:
    """Ranks less their mean; a tie's rank is the mean of the places it takes."""
    below = (values[..., None, :] < values[..., :, None]).sum(-1)
    same = (values[..., None, :] == values[..., :, None]).sum(-1)
    ranks: Floats = below + (same - 1) / 2
    centred: Floats = ranks - ranks.mean(-1, keepdims=True)
    return centred
