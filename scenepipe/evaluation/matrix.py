"""The perplexity matrix: every adapter, and the base without one, on every register's written test replies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scenepipe.evaluation.intervals import Figure, bootstrap, perplexity
from scenepipe.evaluation.losses import Case, Losses
from scenepipe.evaluation.perplexity import Loss

if TYPE_CHECKING:
    from scenepipe.register import Example

BASE = "base"


def matrix_figures(losses: Losses, tests: Mapping[str, Sequence[Example]], language: str) -> dict[str, Any]:
    """By register, its replies' perplexity under each adapter; and ``margin``: how far the next best is behind the own.

    A margin of 0.1 says that the next best perplexity is 10 % higher. The next best may be the base.
    """
    table: dict[str, dict[str, Figure]] = {}
    margin: dict[str, Figure] = {}
    for register, rows in tests.items():
        mine = [place for place, row in enumerate(rows) if row.language == language]
        if not mine:
            continue
        scored = {
            speaker: [losses[Case(case_id(speaker), register)][place] for place in mine] for speaker in (BASE, *tests)
        }
        groups = [rows[place].id for place in mine]
        table[register] = {
            speaker: perplexity([loss.nats for loss in each], [loss.tokens for loss in each], groups=groups)
            for speaker, each in scored.items()
        }
        following = min((s for s in scored if s != register), key=lambda s: table[register][s].value)
        margin[register] = _margin(scored[register], scored[following], groups)
    return {"perplexity": table, "margin": margin}


def case_id(speaker: str) -> str:
    """Mixture id of an adapter alone."""
    return speaker if speaker == BASE else f"{speaker}@1"


def _margin(own: Sequence[Loss], other: Sequence[Loss], groups: Sequence[str]) -> Figure:
    """Perplexity over the own one, less 1; both are resampled together."""
    import numpy as np

    rows = [(b.nats, a.nats, a.tokens) for a, b in zip(own, other, strict=True)]
    return bootstrap(rows, lambda t: np.exp((t[..., 0] - t[..., 1]) / t[..., 2]) - 1, groups=groups)
