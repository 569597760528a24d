"""The semantic field: weights over the axes of axes@1, a simplex.

Raw weight of an axis = what the text's lexicon symbols give it (score x share) + half of what associated symbols
give + the softmax of the text's cosines to the axis glosses. A text of which nothing is known has no weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import fsum
from typing import TYPE_CHECKING

from scenepipe.analysis.lexicon import AXES, Axis, SymbolEntry
from scenepipe.scene import Span, Symbol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

AXES_VERSION = "axes@1"
ASSOCIATED = 0.5
TEMPERATURE = 0.1
DIGITS = 4

Weights = dict[Axis, float]


def axis_weights(
    symbols: Sequence[Symbol],
    entries: Mapping[str, SymbolEntry],
    cosines: npt.NDArray[np.float32] | None,
    associated: Sequence[Symbol] = (),
) -> Weights:
    """Weights that sum to 1, or nothing.

    Args:
        symbols: symbols of the text.
        entries: lexicon entries by id.
        cosines: of the text to the axis glosses [8]; None without an encoder.
        associated: symbols associated with the text.
    """
    raw = dict.fromkeys(AXES, 0.0)
    for group, share in ((symbols, 1.0), (associated, ASSOCIATED)):
        for symbol in group:
            entry = entries.get(symbol.concept or "")
            for axis, weight in entry.axes.items() if entry else ():
                raw[axis] += share * symbol.score * weight
    if cosines is not None:
        for axis, weight in zip(AXES, _softmax(cosines), strict=True):
            raw[axis] += weight
    return _simplex(raw)


def axis_evidence(symbols: Sequence[Symbol], entries: Mapping[str, SymbolEntry]) -> dict[str, tuple[Span, ...]]:
    """Spans of the symbols that gave each axis weight."""
    spans: dict[str, set[Span]] = {}
    for symbol in symbols:
        entry = entries.get(symbol.concept or "")
        for axis in entry.axes if entry else ():
            spans.setdefault(axis, set()).update(symbol.evidence)
    return {axis: tuple(sorted(spans[axis])) for axis in AXES if axis in spans}


def _softmax(cosines: npt.NDArray[np.float32]) -> list[float]:
    import numpy as np

    powers = np.exp((cosines.astype(np.float64) - float(cosines.max())) / TEMPERATURE)
    return [float(x) for x in powers / powers.sum()]


def _simplex(raw: Mapping[Axis, float]) -> Weights:
    """Rounded weights whose sum is 1: the heaviest takes the rounding."""
    total = fsum(raw.values())
    if total <= 0.0:
        return {}
    weights = {axis: round(value / total, DIGITS) for axis, value in raw.items()}
    heaviest = max(AXES, key=lambda axis: (weights[axis], -AXES.index(axis)))
    weights[heaviest] = round(weights[heaviest] + 1.0 - fsum(weights.values()), DIGITS)
    return weights
