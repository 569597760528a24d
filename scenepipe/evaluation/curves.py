"""Mixture curves: from one register to another in five steps, what the judge hears and what the losses say.

The replies of a curve share inputs and seeds over its steps. Spearman's correlation is that of the weight with the
judge's mean log-odds of each step; beside it stands the mean of the correlations of each input's five replies, which
the judge's own noise keeps well below 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scenepipe.evaluation.intervals import Figure, bootstrap, mean, perplexity, spearman
from scenepipe.mixture import Mixture, of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from scenepipe.evaluation.perplexity import Loss

STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Weights of a pair's first register; the second has the rest."""


@dataclass(frozen=True)
class Curve:
    """One pair in one language.

    Args:
        pair: the register whose weight rises, and the one whose falls.
        log_odds: judge's mean log-odds of the first against the second, nats, at each step.
        spearman: of weight and mean log-odds; ``spearman_replies`` of single inputs, their mean.
        perplexity: by register, of its test replies at each step.
        excess: by register, the worst perplexity between the ends over the worse end's; above 1, mixing costs.
    """

    pair: tuple[str, str]
    language: str
    log_odds: tuple[Figure, ...]
    spearman: Figure
    spearman_replies: Figure
    perplexity: Mapping[str, tuple[Figure, ...]]
    excess: Mapping[str, Figure]


def mixtures(pair: Sequence[str]) -> list[Mixture]:
    """The mixtures of a curve, by rising weight of the first register; zeros are left out, so ends are shared."""
    first, second = pair
    return [of({n: w for n, w in ((first, step), (second, 1 - step)) if w > 0}) for step in STEPS]


def curve(
    pair: tuple[str, str],
    language: str,
    log_odds: npt.NDArray[np.float64],
    losses: Mapping[str, Sequence[Sequence[Loss]]],
) -> Curve:
    """Both halves of a curve.

    Args:
        log_odds: [inputs, steps], first against second.
        losses: by register of the pair, each step's losses of its test replies.
    """
    steps = {name: _by_row(each) for name, each in losses.items()}
    return Curve(
        pair,
        language,
        tuple(mean(list(column)) for column in log_odds.T),
        bootstrap(log_odds, lambda totals: spearman(totals, list(STEPS))),
        mean_spearman(log_odds),
        {
            name: tuple(perplexity(list(table[:, step]), list(table[:, -1])) for step in range(len(STEPS)))
            for name, table in steps.items()
        },
        {name: bootstrap(table, _excess) for name, table in steps.items()},
    )


def mean_spearman(log_odds: npt.NDArray[np.float64]) -> Figure:
    """Mean over inputs of the correlation of weight and the log-odds of that input's replies."""
    return mean([float(value) for value in spearman(log_odds, list(STEPS))])


def _by_row(steps: Sequence[Sequence[Loss]]) -> npt.NDArray[np.float64]:
    """[rows, steps + 1]: nats at each step, then the tokens."""
    import numpy as np

    return np.array([[*(loss.nats for loss in row), row[0].tokens] for row in zip(*steps, strict=True)])


def _excess(totals: Any) -> Any:
    import numpy as np

    values = np.exp(totals[..., :-1] / totals[..., -1:])
    return values[..., 1:-1].max(-1) / np.maximum(values[..., 0], values[..., -1])
