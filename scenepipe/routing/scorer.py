"""One register's fit for a scene, learned from its own labelled inputs in closed form.

    fit = PRIOR + level + sum_i c_i k(vector, vector_i) + sum_j b_j feature_j

is a Gaussian process with explicit basis functions (Rasmussen and Williams, 2006, section 2.7): kernel ridge regression
on the centred vectors, ridge regression on the features, and a level that is drawn towards `PRIOR`, so that a register
whose thirty rows all say 0.9 does not claim every text. The kernel

    k(a, b) = (exp(cosine / W) - 1) exp(-1 / W),  W = 0.64

is the Gaussian kernel of unit vectors less its constant: texts that have nothing in common, and texts without a
vector, are 0. How smooth and how much of the features is chosen for each register by leave-one-out cross-validation,
which for ridge regression is exact without training again (Allen's PRESS, 1974).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from scenepipe.analysis.signed_bytes import Bytes

    Numbers = npt.NDArray[np.float64]

PRIOR = 0.6
"""Fit of a text that resembles nothing a register was trained on; the mean of the shipped labels is 0.68."""
WIDTH = 0.64
LEVEL_VARIANCE = 0.03
RIDGES = (0.1, 0.3, 1.0, 3.0)
FEATURE_VARIANCES = (0.0004, 0.002, 0.008)
"""Of widths 0.45, 0.64 and 1 and levels 0.003 to 0.1 those of the least squared error by leave-one-out on the shipped train
rows, but for a level of 0.1: it gains 0.2 %, and a small register that knows its own kind alone would claim every text."""
FEWEST = 8
"""Rows under which nothing is chosen: the middle of each list is taken."""


@dataclass(frozen=True)
class Scorer:
    """What one register has learned.

    Args:
        level: beside `PRIOR`.
        coefficients: float64 [n], by training row.
        slopes: float64 [features].
        ridge, feature_variance: chosen by cross-validation.
        left_out: float64 [n], the fit of each training row by the others alone.
    """

    level: float
    coefficients: Numbers
    slopes: Numbers
    ridge: float
    feature_variance: float
    left_out: Numbers


def similarity(left: Bytes, right: Bytes) -> Numbers:
    """Kernel [n, m] of rows of centred vectors; the same for a row alone and in a batch."""
    from scenepipe.analysis.signed_bytes import cosines

    return kernel(cosines(left, right))


def kernel(cosines: npt.NDArray[np.float32]) -> Numbers:
    """Of cosines: 0 at 0, 0.79 at 1."""
    import numpy as np

    found: Numbers = np.expm1(cosines.astype(np.float64) / WIDTH) * np.exp(-1.0 / WIDTH)
    return found


def train(kernels: Numbers, features: Numbers, fits: Numbers) -> list[Scorer]:
    """A scorer for each column of fits.

    Args:
        kernels: [n, n], `similarity` of the rows with each other.
        features: [n, features], standardised.
        fits: [n, registers], 0..1, of the same rows.
    """
    import numpy as np

    if not len(kernels):
        return [_untaught(features.shape[1]) for _ in range(fits.shape[1])]
    basis = np.concatenate([np.ones((len(features), 1)), features], axis=1)
    tried = [(r, v, *_solve(s, basis, v, fits - PRIOR)) for r, s in _solvers(kernels) for v in FEATURE_VARIANCES]
    return [_best([_scorer(r, v, c[:, k], e[:, k], basis, fits[:, k]) for r, v, c, e in tried], fits[:, k])
            for k in range(fits.shape[1])]  # fmt: skip


def _solvers(kernels: Numbers) -> list[tuple[float, Numbers]]:
    """(K + ridge I)^-1 for every ridge."""
    import numpy as np

    return [(ridge, np.asarray(np.linalg.inv(kernels + ridge * np.eye(len(kernels))), np.float64)) for ridge in RIDGES]


def _solve(inverse: Numbers, basis: Numbers, variance: float, targets: Numbers) -> tuple[Numbers, Numbers]:
    """Coefficients [n, r] and leave-one-out errors [n, r] of K + ridge I + B V B', by Woodbury's identity."""
    import numpy as np

    precision = np.diag([1.0 / LEVEL_VARIANCE] + [1.0 / variance] * (basis.shape[1] - 1))
    spread = inverse @ basis
    inner = np.linalg.inv(precision + basis.T @ spread)
    coefficients = inverse @ targets - spread @ (inner @ (spread.T @ targets))
    diagonal = np.diag(inverse) - ((spread @ inner) * spread).sum(axis=1)
    return coefficients, coefficients / diagonal[:, None]


def _scorer(ridge: float, variance: float, c: Numbers, errors: Numbers, basis: Numbers, fits: Numbers) -> Scorer:
    along = basis.T @ c
    return Scorer(LEVEL_VARIANCE * float(along[0]), c, variance * along[1:], ridge, variance, fits - errors)


def _best(tried: list[Scorer], fits: Numbers) -> Scorer:
    """The least squared error of rows left out; the middle setting where there are too few rows to tell."""
    if len(fits) < FEWEST:
        wanted = (RIDGES[1], FEATURE_VARIANCES[1])
        return next(scorer for scorer in tried if (scorer.ridge, scorer.feature_variance) == wanted)
    return min(tried, key=lambda scorer: float(((scorer.left_out - fits) ** 2).sum()))


def _untaught(features: int) -> Scorer:
    import numpy as np

    none = np.zeros(0)
    return Scorer(0.0, none, np.zeros(features), RIDGES[1], FEATURE_VARIANCES[1], none)
