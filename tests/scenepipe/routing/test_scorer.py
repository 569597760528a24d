"""A scorer is the ridge regression it says it is, and small or odd registers do it no harm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenepipe.routing import scorer as module
from scenepipe.routing.scorer import (
    FEATURE_VARIANCES,
    FEWEST,
    LEVEL_VARIANCE,
    PRIOR,
    RIDGES,
    Scorer,
    kernel,
    similarity,
    train,
)


def unit_rows(n: int, dim: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, dim))
    return np.asarray(np.rint(127 * rows / np.linalg.norm(rows, axis=1, keepdims=True)), dtype=np.int8)


def problem(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors, features and two columns of fits that follow them, with noise."""
    vectors, draw = unit_rows(n, 16, seed), np.random.default_rng(seed + 1)
    features = draw.normal(size=(n, 3))
    fits = 0.6 + 0.15 * np.tanh(vectors[:, :2] / 40.0) + 0.04 * features[:, :2] + draw.normal(scale=0.05, size=(n, 2))
    return vectors, features, np.clip(fits, 0.0, 1.0)


def said(scorer: Scorer, near: np.ndarray, features: np.ndarray) -> np.ndarray:
    return np.asarray(PRIOR + scorer.level + near @ scorer.coefficients + features @ scorer.slopes)


def test_it_solves_the_whole_system() -> None:
    vectors, features, fits = problem(40)
    near = similarity(vectors, vectors)
    for column, found in enumerate(train(near, features, fits)):
        whole = near + LEVEL_VARIANCE + found.feature_variance * features @ features.T
        wanted = np.linalg.solve(whole + found.ridge * np.eye(40), fits[:, column] - PRIOR)
        assert found.coefficients == pytest.approx(wanted, abs=1e-9)
        assert said(found, near, features) == pytest.approx(PRIOR + whole @ wanted, abs=1e-9)


def test_left_out_is_what_training_without_the_row_says(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, features, fits = problem(25)
    near = similarity(vectors, vectors)
    found = train(near, features, fits)[0]
    monkeypatch.setattr(module, "RIDGES", (found.ridge,))
    monkeypatch.setattr(module, "FEATURE_VARIANCES", (found.feature_variance,))
    for row in (0, 7, 24):
        rest = np.delete(np.arange(25), row)
        without = train(near[np.ix_(rest, rest)], features[rest], fits[rest])[0]
        assert said(without, near[row, rest], features[row]) == pytest.approx(found.left_out[row], abs=1e-9)


def test_the_settings_with_the_least_error_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, features, fits = problem(60)
    near = similarity(vectors, vectors)
    found = train(near, features, fits)[1]
    errors = {}
    for ridge in RIDGES:
        for variance in FEATURE_VARIANCES:
            monkeypatch.setattr(module, "RIDGES", (ridge,))
            monkeypatch.setattr(module, "FEATURE_VARIANCES", (variance,))
            errors[ridge, variance] = ((train(near, features, fits)[1].left_out - fits[:, 1]) ** 2).sum()
    assert (found.ridge, found.feature_variance) == min(errors, key=lambda key: errors[key])
    assert len(set(errors.values())) == len(errors)


def test_noise_is_smoothed_more_than_signal() -> None:
    vectors, features, fits = problem(120)
    noise = np.random.default_rng(9).uniform(0.4, 0.8, size=(120, 1))
    clear, noisy = train(similarity(vectors, vectors), 0 * features, np.concatenate([fits[:, :1], noise], axis=1))
    assert noisy.ridge > clear.ridge


def test_it_learns() -> None:
    vectors, features, fits = problem(200)
    learn, new = np.arange(150), np.arange(150, 200)
    near = similarity(vectors[learn], vectors[learn])
    for column, found in enumerate(train(near, features[learn], fits[learn])):
        guess = said(found, similarity(vectors[new], vectors[learn]), features[new])
        wanted = fits[new, column]
        assert np.corrcoef(guess, wanted)[0, 1] > 0.7
        assert np.abs(guess - wanted).mean() < 0.6 * np.abs(fits[learn, column].mean() - wanted).mean()


def test_the_kernel_is_zero_where_nothing_is_shared_and_grows() -> None:
    values = kernel(np.array([-0.5, 0.0, 0.5, 1.0], dtype=np.float32))
    assert values[1] == 0.0
    assert (np.diff(values) > 0).all()
    assert values[3] == pytest.approx(0.79, abs=0.005)


def test_far_from_its_rows_a_uniform_register_is_less_sure() -> None:
    """Thirty rows that all say 0.9 do not claim what resembles none of them."""
    near = kernel(np.full((30, 30), 0.4, dtype=np.float32)) + 0.5 * np.eye(30)
    found = train(near, np.zeros((30, 3)), np.full((30, 1), 0.9))[0]
    far = said(found, np.zeros((1, 30)), np.zeros((1, 3)))[0]
    own = said(found, kernel(np.full((1, 30), 0.4, dtype=np.float32)), np.zeros((1, 3)))[0]
    assert PRIOR < far < own - 0.05
    assert own > 0.85


def test_without_rows_the_prior_speaks() -> None:
    found = train(np.zeros((0, 0)), np.zeros((0, 3)), np.zeros((0, 2)))
    assert len(found) == 2
    assert said(found[0], np.zeros((1, 0)), np.ones((1, 3)))[0] == PRIOR


def test_too_few_rows_choose_nothing() -> None:
    vectors, features, fits = problem(FEWEST - 1)
    found = train(similarity(vectors, vectors), features, fits)
    assert {(each.ridge, each.feature_variance) for each in found} == {(RIDGES[1], FEATURE_VARIANCES[1])}


@settings(deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12), st.booleans(), st.integers(0, 5))
def test_any_labels_give_finite_scorers(fits: list[float], same: bool, seed: int) -> None:
    vectors = np.repeat(unit_rows(1, 8, seed), len(fits), axis=0) if same else unit_rows(len(fits), 8, seed)
    near = similarity(vectors, vectors)
    found = train(near, np.zeros((len(fits), 3)), np.array([fits]).T)[0]
    assert np.isfinite(found.coefficients).all()
    assert np.isfinite(found.left_out).all()
    guess = said(found, near, np.zeros((len(fits), 3)))
    assert min(*fits, PRIOR) - 0.05 <= guess.min() <= guess.max() <= max(*fits, PRIOR) + 0.05


def test_columns_are_trained_together_as_alone() -> None:
    vectors, features, fits = problem(30)
    near = similarity(vectors, vectors)
    for column, found in enumerate(train(near, features, fits)):
        alone = train(near, features, fits[:, column : column + 1])[0]
        assert (found.ridge, found.feature_variance) == (alone.ridge, alone.feature_variance)
        assert found.coefficients == pytest.approx(alone.coefficients, abs=1e-12)
