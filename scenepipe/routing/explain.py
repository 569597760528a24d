"""The reasons of a fit: parts that add up to it, the nearest examples and the strongest features named."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum
from typing import TYPE_CHECKING

from scenepipe.mixture import Reason
from scenepipe.routing.features import FEATURES
from scenepipe.routing.scorer import PRIOR

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]

NAMED = 2
"""Examples and features that are named; the others are summed."""
LEAST = 0.005
LONGEST = 80
_DIGITS = 4


def nearest(cosines: npt.NDArray[np.float32]) -> list[int]:
    """Places of the greatest, best first; of equal ones the first."""
    left, found = cosines.copy(), []
    for _ in range(min(NAMED, len(left))):
        found.append(int(left.argmax()))
        left[found[-1]] = -2.0
    return found


def example(name: str, text: str, cosine: float, fit: float) -> str:
    """``near en-0001 «text» (cosine 0.81), whose fit is 0.90``."""
    short = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return f"near {name} «{short}» (cosine {cosine:.2f}), whose fit is {fit:.2f}"


def reasons(
    level: float, examples: Sequence[tuple[str, float]], all_examples: float, features: Numbers, fit: float
) -> tuple[Reason, ...]:
    """All parts of one register's fit; but for the last they add up to it, before it is cut to 0..1.

    Args:
        level: of the register, beside the prior.
        examples: cause and amount of each named example.
        all_examples: what all examples add, the named ones included.
        features: what each feature adds, [features].
        fit: the result.
    """
    amounts = features.tolist()
    ranked = sorted(range(len(amounts)), key=lambda j: -abs(amounts[j]))
    strongest = [j for j in ranked[:NAMED] if abs(amounts[j]) >= LEAST]
    parts = [
        *examples,
        ("other examples", all_examples - sum(amount for _, amount in examples)),
        *((FEATURES[j].name, amounts[j]) for j in strongest),
        ("other features", fsum(amounts) - fsum(amounts[j] for j in strongest)),
        ("usual fit", PRIOR + level),
        ("fit", fit),
    ]
    return tuple(Reason(cause=cause, amount=round(amount, _DIGITS)) for cause, amount in parts)
