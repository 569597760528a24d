"""Fits to weights: legal for any fits, in their order, and as sharp as dev rows say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scenepipe.mixture import of
from scenepipe.routing.calibration import (
    FARTHEST_LIFT,
    FEWEST,
    TEMPERATURES,
    WORTH,
    Calibration,
    best,
    brier,
    calibrate,
    shares,
    weigh,
)

FITS = arrays(np.float64, st.integers(1, 12), elements=st.floats(0.0, 1.0))


@settings(deadline=None)
@given(FITS, st.floats(0.001, 10.0), st.floats(-0.2, 0.2), st.none() | st.floats(0.0, 1.0))
def test_weights_are_a_mixture_in_the_order_of_the_fits(
    fits: np.ndarray, temperature: float, lift: float, base: float | None
) -> None:
    weights = weigh(fits, Calibration(temperature, lift), smallest=0.05, base=base)
    mixture = of({f"r{k}": float(weight) for k, weight in enumerate(weights)})
    room = 1.0 - base if base is not None else min(1.0, max(0.0, fits.max() + lift))
    assert mixture.base == pytest.approx(1.0 - room, abs=0.001 * len(fits) + 1e-6)
    order = np.argsort(-fits, kind="stable")
    assert (np.diff(weights[order]) <= 1e-9).all()


@settings(deadline=None)
@given(FITS)
def test_the_best_register_always_stays(fits: np.ndarray) -> None:
    assume(fits.max() > 0.1)
    weights = weigh(fits, Calibration(temperature=10.0, lift=0.0), smallest=0.9, base=None)
    assert weights[fits.argmax()] > 0.0


def test_where_nothing_fits_the_base_gets_most() -> None:
    weights = weigh(np.array([0.1, 0.2, 0.15]), Calibration(), smallest=0.05, base=None)
    assert weights.sum() < 0.3
    weights = weigh(np.array([0.1, 0.95, 0.15]), Calibration(), smallest=0.05, base=None)
    assert weights.sum() > 0.95


def test_a_small_share_is_left_out_and_its_weight_goes_to_the_others() -> None:
    fits, calibration = np.array([0.9, 0.5]), Calibration(temperature=0.2, lift=0.0)
    both = weigh(fits, calibration, smallest=0.05, base=None)
    one = weigh(fits, calibration, smallest=0.2, base=None)
    assert both[1] > 0.0
    assert one.tolist() == [0.9, 0.0]


def test_shares() -> None:
    rows = shares(np.array([[0.9, 0.9, 0.1], [0.5, np.nan, 0.5]]), 0.05)
    assert rows.sum(axis=1) == pytest.approx(1.0)
    assert rows[0, 0] == rows[0, 1] > 100 * rows[0, 2]
    assert rows[1].tolist() == [0.5, 0.0, 0.5]


def test_brier_with_ties() -> None:
    fits = np.array([[0.8, 0.8, 0.1], [0.2, 0.9, 0.1]])
    assert best(fits).tolist() == [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]]
    assert brier(np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]), fits).tolist() == [0.0, 2.0]
    assert brier(np.array([[1.0, 0.0, 0.0]]), fits[:1])[0] == pytest.approx(0.5)


def dev(n: int, noise: float, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    predicted = draw.uniform(0.3, 0.8, size=(n, 4))
    return predicted, predicted + draw.normal(scale=noise, size=(n, 4))


def test_sure_predictions_make_sharp_weights_and_unsure_ones_even_weights() -> None:
    sharp, even = (calibrate(*dev(400, noise)).temperature for noise in (0.01, 0.5))
    assert sharp < Calibration().temperature < even


def test_lift_is_what_the_best_label_lies_above_the_best_prediction() -> None:
    predicted, fits = dev(WORTH, 0.0)
    assert calibrate(predicted, fits + 0.1).lift == pytest.approx(0.5 * 0.1 + 0.5 * Calibration().lift, abs=1e-3)
    assert calibrate(predicted, fits + 9.0).lift <= FARTHEST_LIFT


def test_the_more_rows_the_less_the_shipped_numbers_count() -> None:
    few, many = (calibrate(*dev(n, 0.01)).temperature for n in (40, 4000))
    assert TEMPERATURES[0] <= many < few < Calibration().temperature


def test_too_few_rows_leave_the_shipped_numbers() -> None:
    assert calibrate(*dev(FEWEST - 1, 0.5)) == Calibration()
    assert calibrate(*dev(FEWEST, 0.5)).rows == FEWEST
    assert calibrate(np.zeros((0, 2)), np.zeros((0, 2))) == Calibration()


def test_rows_that_one_register_alone_has_labelled_count_for_nothing() -> None:
    predicted, fits = dev(60, 0.3)
    fits[30:, 1:] = np.nan
    found = calibrate(predicted, fits)
    assert found == calibrate(predicted[:30], fits[:30])
    fits[:30, 3] = np.nan
    assert calibrate(predicted, fits).rows == 30
