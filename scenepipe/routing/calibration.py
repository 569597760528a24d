"""From fits to weights: how sharply the best register is preferred, and what is left to the base.

Registers share by softmax over fits / temperature; together they get the expected fit of the best one: its predicted
fit plus ``lift``, because the best of several labels lies above the best of several cautious predictions. The base has
the rest, most of it where nothing fits. Both numbers are chosen on the dev rows of the registers in use and drawn towards
the shipped ones, which count for `WORTH` rows: a hundred rows alone tell a temperature of 0.06 from one of 0.12 badly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]

TEMPERATURES = (0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1, 0.12, 0.15, 0.2, 0.3)
FARTHEST_LIFT = 0.2
FEWEST = 30
"""Dev rows under which the shipped numbers stay."""
WORTH = 100
"""Rows that the shipped numbers count for; they are the best of cross-validation on the 665 shipped train rows."""
TIE = 1e-9


@dataclass(frozen=True)
class Calibration:
    """How fits become weights.

    Args:
        temperature: of the softmax; small: the best takes all.
        lift: added to the best predicted fit.
        rows: dev rows both were chosen on; 0 for the shipped numbers.
    """

    temperature: float = 0.08
    lift: float = 0.08
    rows: int = 0


def shares(fits: Numbers, temperature: float) -> Numbers:
    """Softmax over registers: rows [n, registers] that sum to 1; nan takes no part."""
    import numpy as np

    powers = np.exp((fits - np.fmax.reduce(fits, axis=-1, keepdims=True)) / temperature)
    powers[np.isnan(powers)] = 0.0
    found: Numbers = powers / powers.sum(axis=-1, keepdims=True)
    return found


def best(fits: Numbers) -> Numbers:
    """Which register fits best, one-hot [n, registers]; registers that tie share the one."""
    import numpy as np

    leading = (fits >= np.nanmax(fits, axis=1, keepdims=True) - TIE).astype(np.float64)
    found: Numbers = leading / leading.sum(axis=1, keepdims=True)
    return found


def brier(weights: Numbers, fits: Numbers) -> Numbers:
    """Squared error [n] of weights that sum to 1 against which register fits best (Brier, 1950): 0 to 2."""
    import numpy as np

    return np.asarray(((weights - best(fits)) ** 2).sum(axis=1))


def calibrate(predicted: Numbers, fits: Numbers) -> Calibration:
    """The temperature of the least Brier score, and the mean distance of the best label from the best prediction.

    Args:
        predicted: [n, registers], by scorers that have not seen these rows.
        fits: [n, registers]; nan where a register has no label for a row. Rows with one label or none are left out.
    """
    import numpy as np

    labelled = (~np.isnan(fits)).sum(axis=1) > 1
    if int(labelled.sum()) < FEWEST:
        return Calibration()
    fits = fits[labelled]
    predicted = np.where(np.isnan(fits), np.nan, predicted[labelled])
    temperature = min(TEMPERATURES, key=lambda t: float(brier(shares(predicted, t), fits).mean()))
    lift = float((np.nanmax(fits, axis=1) - np.nanmax(predicted, axis=1)).mean())
    return _drawn_in(Calibration(temperature, float(np.clip(lift, -FARTHEST_LIFT, FARTHEST_LIFT)), len(fits)))


def _drawn_in(found: Calibration) -> Calibration:
    """The mean with the shipped numbers, by rows: of logarithms for the temperature."""
    from math import exp, log

    shipped, own = Calibration(), found.rows / (found.rows + WORTH)
    temperature = exp(own * log(found.temperature) + (1.0 - own) * log(shipped.temperature))
    return Calibration(round(temperature, 4), round(own * found.lift + (1.0 - own) * shipped.lift, 4), found.rows)


def weigh(fits: Numbers, calibration: Calibration, *, smallest: float, base: float | None) -> Numbers:
    """Weights [registers] of one scene, each a multiple of 0.001, summing to at most 1.

    Args:
        smallest: share of the registers' part under which a register is left out; the best one always stays.
        base: weight of the base; None: what the best register's expected fit leaves.
    """
    import numpy as np

    part = shares(fits, calibration.temperature)
    part = np.where((part >= smallest) | (part == part.max()), part, 0.0)
    room = 1.0 - base if base is not None else min(1.0, max(0.0, float(fits.max()) + calibration.lift))
    weights: Numbers = np.floor(1000.0 * room * part / part.sum() + 1e-6) / 1000.0
    return weights
