"""Reasons: parts that add up, the nearest first, every cause in both languages."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scenepipe.cli.labels import said
from scenepipe.routing.explain import LONGEST, NAMED, example, nearest, reasons
from scenepipe.routing.features import FEATURES
from scenepipe.routing.scorer import PRIOR


def row(**named: float) -> np.ndarray:
    return np.array([named.get(feature.name, 0.0) for feature in FEATURES])


def test_nearest_are_the_most_alike_first_of_equals_first() -> None:
    cosines = np.array([0.2, 0.5, 0.5, 0.8], dtype=np.float32)
    assert nearest(cosines) == [3, 1]
    assert nearest(cosines[:1]) == [0]
    assert nearest(cosines[:0]) == []
    assert cosines[3] == np.float32(0.8), "what was given stays as it is"


def test_parts_add_up_and_the_rest_is_summed() -> None:
    moved = row(question=0.03, length=-0.05, nouns=0.01, verbs=-0.002)
    found = reasons(0.05, [("near one", 0.1), ("near two", -0.02)], 0.2, moved, 0.818)
    amounts = {reason.cause: reason.amount for reason in found}
    assert amounts == {
        "near one": 0.1,
        "near two": -0.02,
        "other examples": 0.12,
        "length": -0.05,
        "question": 0.03,
        "other features": 0.008,
        "usual fit": PRIOR + 0.05,
        "fit": 0.818,
    }
    assert math.fsum(list(amounts.values())[:-1]) == pytest.approx(PRIOR + 0.05 + 0.2 + moved.sum())
    assert sum(reason.cause in {f.name for f in FEATURES} for reason in found) == NAMED


def test_features_that_hardly_moved_it_are_not_named() -> None:
    causes = [reason.cause for reason in reasons(0.0, [], 0.0, row(question=0.004), 0.6)]
    assert causes == ["other examples", "other features", "usual fit", "fit"]


def test_an_example_is_named_with_its_fit() -> None:
    assert example("en-1", "a boat", 0.812, 0.9) == "near en-1 «a boat» (cosine 0.81), whose fit is 0.90"
    assert f"«{'x' * (LONGEST - 1)}…»" in example("en-1", "x" * 500, 0.8, 0.9)


def test_every_cause_has_its_russian() -> None:
    causes = [reason.cause for reason in reasons(0.0, [(example("en-1", "a\nboat", 0.8, 0.9), 0.1)], 0.2, row(), 0.6)]
    for cause in (
        *causes,
        *(feature.name for feature in FEATURES),
        "no vector to compare with",
        "fixed in the pipeline",
    ):
        assert said(cause, "ru") != cause
        assert said(cause, "en") == cause.replace("\n", said("\n", "en"))
