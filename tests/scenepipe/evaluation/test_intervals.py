from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenepipe.evaluation.intervals import Figure, bootstrap, bootstrap_two, mean, perplexity, ratio, spearman

values = st.lists(st.floats(-1e3, 1e3, allow_nan=False), min_size=1, max_size=30)


@given(values)
def test_a_mean_lies_in_its_interval_and_counts_its_cases(xs: list[float]) -> None:
    figure = mean(xs)
    assert figure.value == pytest.approx(float(np.mean(xs)), abs=1e-6)
    assert figure.low <= figure.value + 1e-6
    assert figure.value <= figure.high + 1e-6
    assert figure.n == len(xs)


def test_the_interval_of_a_share_is_the_normal_one() -> None:
    figure = mean([1.0] * 60 + [0.0] * 40)
    spread = 1.96 * math.sqrt(0.6 * 0.4 / 100)
    assert figure.low == pytest.approx(0.6 - spread, abs=0.015)
    assert figure.high == pytest.approx(0.6 + spread, abs=0.015)


def test_cases_that_are_resampled_together_count_as_one() -> None:
    alone = mean([0.0, 1.0] * 10)
    doubled = mean([0.0] * 40 + [1.0] * 40, groups=[f"{v}-{i % 10}" for v in (0, 1) for i in range(40)])
    apart = mean([0.0] * 40 + [1.0] * 40)
    assert doubled.high - doubled.low == pytest.approx(alone.high - alone.low, abs=0.06)
    assert apart.high - apart.low < 0.7 * (doubled.high - doubled.low)
    assert doubled.n == 80


def test_a_ratio_is_of_sums_and_a_perplexity_its_exponential() -> None:
    assert ratio([1, 0, 2], [10, 2, 3]).value == pytest.approx(3 / 15)
    assert perplexity([10.0, 20.0], [5, 5]).value == pytest.approx(math.exp(3.0))


def test_resamples_without_a_word_are_left_out() -> None:
    figure = ratio([0.0, 1.0], [0.0, 4.0])
    assert (figure.value, figure.low, figure.high) == (0.25, 0.25, 0.25)


def test_two_samples_are_resampled_apart() -> None:
    a, b = [[1.0, 1.0]] * 50, [[1.0, 1.0]] * 25 + [[0.0, 1.0]] * 25
    figure = bootstrap_two(a, b, lambda x, y: (x[..., 0] / x[..., 1]) - (y[..., 0] / y[..., 1]))
    assert figure.value == 0.5
    assert 0.3 < figure.low < 0.42
    assert 0.58 < figure.high < 0.7
    assert figure.n == 50


def test_nothing_has_no_figure() -> None:
    with pytest.raises(ValueError, match="at least one"):
        mean([])


def test_json_has_no_nan_and_a_figure_shows_its_interval() -> None:
    assert Figure(math.nan, 0.123456789, math.inf, 3).as_json() == {"value": None, "low": 0.12346, "high": None, "n": 3}
    assert Figure(0.5, 0.25, 0.75, 3).show(2) == "0.50 [0.25, 0.75]"


@pytest.mark.parametrize(
    ("xs", "rho"),
    [([1, 2, 3, 4, 5], 1.0), ([5, 4, 3, 2, 1], -1.0), ([1, 3, 2, 4, 5], 0.9), ([2, 2, 2, 2, 2], 0.0),
     ([1, 1, 2, 2, 3], 0.9486833)],
)  # fmt: skip
def test_spearman(xs: list[float], rho: float) -> None:
    """The tied value by hand: ranks 1.5, 1.5, 3.5, 3.5, 5 against 1 to 5 give 9 / sqrt(9 * 10)."""
    assert float(spearman(xs, [1, 2, 3, 4, 5])) == pytest.approx(rho)


def test_spearman_runs_along_the_last_axis() -> None:
    assert spearman(np.array([[1, 2, 3], [3, 2, 1]]), [0, 0.5, 1]).tolist() == pytest.approx([1, -1])


def test_a_statistic_of_totals_sees_all_columns() -> None:
    figure = bootstrap([[1, 2, 3]] * 4, lambda t: spearman(t, [0, 1, 2]))
    assert (figure.value, figure.low, figure.high) == (1, 1, 1)
