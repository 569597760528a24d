"""How well weights over registers find the one that fits best: measures with intervals, and tables of them.

* macro-F1: of the register with the highest predicted fit, mean over registers. Of inputs whose best label is shared by
  several registers, each of these is right; where none was predicted, the first of them was missed.
* Brier: squared error of the weights over registers, normalised to 1, against the best-fitting one; registers that
  tie share the 1. From 0 to 2.
* error and Spearman: predicted against labelled fit, mean over registers.

Intervals are 95 % by bootstrap over inputs, 1000 draws; differences are of the same draws.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from scenepipe.routing.calibration import best, brier

DRAWS = 1000
SEED = 20260301
Numbers = Any


class Answer(NamedTuple):
    """What one way says: fits [n, voices], weights over voices [n, voices], the voice it would choose [n]."""

    fits: Numbers
    weights: Numbers
    choice: Numbers


def macro_f1(choice: Numbers, fits: Numbers) -> float:
    right = best(fits) > 0
    gold = np.where(right[np.arange(len(fits)), choice], choice, right.argmax(axis=1))
    scores = []
    for voice in range(fits.shape[1]):
        hit = ((choice == voice) & (gold == voice)).sum()
        scores.append(2 * hit / max(1, (choice == voice).sum() + (gold == voice).sum()))
    return float(np.mean(scores))


def spearman(left: Numbers, right: Numbers) -> float:
    """Mean over voices; 0 where one side is constant."""
    found = []
    for voice in range(left.shape[1]):
        one, other = _ranks(left[:, voice]), _ranks(right[:, voice])
        flat = one.std() == 0 or other.std() == 0
        found.append(0.0 if flat else float(np.corrcoef(one, other)[0, 1]))
    return float(np.mean(found))


def _ranks(values: Numbers) -> Numbers:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


MEASURES: dict[str, Callable[[Answer, Numbers], float]] = {
    "macro-F1": lambda answer, fits: macro_f1(answer.choice, fits),
    "Brier": lambda answer, fits: float(brier(answer.weights, fits).mean()),
    "error": lambda answer, fits: float(np.abs(answer.fits - fits).mean()),
    "Spearman": lambda answer, fits: spearman(answer.fits, fits),
}


def measured(answer: Answer, fits: Numbers, chosen: Numbers) -> dict[str, Numbers]:
    """Every measure: its value first, then one for each draw."""
    places = [np.arange(len(fits)), *chosen]
    return {
        name: np.array([of(Answer(*(part[rows] for part in answer)), fits[rows]) for rows in places])
        for name, of in MEASURES.items()
    }


def said(values: Numbers, *, sign: bool = False) -> str:
    low, high = np.percentile(values[1:], [2.5, 97.5])
    form = "+.3f" if sign else ".3f"
    return f"{values[0]:{form}} [{low:{form}}, {high:{form}}]"


def table(answers: Mapping[str, Answer], baselines: Collection[str], ours: str, fits: Numbers, title: str) -> None:
    """Print one table and the differences of ours from the best baseline."""
    chosen = np.random.default_rng(SEED).integers(len(fits), size=(DRAWS, len(fits)))
    found = {name: measured(answer, fits, chosen) for name, answer in answers.items()}
    print(f"\n{title}, n = {len(fits)}")
    print(f"  {'':26}" + "".join(f"{name:24}" for name in MEASURES))
    for name, values in found.items():
        print(f"  {name:26}" + "".join(f"{said(values[of]):24}" for of in MEASURES))
    for of, side in (("macro-F1", 1), ("Brier", -1)):
        rival = max(sorted(baselines), key=lambda name: side * found[name][of][0])
        print(f"  {of}: {ours} less the best baseline ({rival}) {said(found[ours][of] - found[rival][of], sign=True)}")


def tables(
    answers: Mapping[str, Answer], baselines: Collection[str], ours: str, languages: Numbers, fits: Numbers
) -> None:
    """Both languages together, then each."""
    table(answers, baselines, ours, fits, "both languages")
    for code in ("ru", "en"):
        own = languages == code
        part = {name: Answer(*(x[own] for x in answer)) for name, answer in answers.items()}
        table(part, baselines, ours, fits[own], code)
