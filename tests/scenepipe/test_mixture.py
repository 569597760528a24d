"""Mixtures: validity, names, the grid, plans."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from scenepipe.errors import MixtureError
from scenepipe.mixture import Mixture, of, parse, plan

NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)


@st.composite
def mixtures(draw: st.DrawFn) -> Mixture:
    raw = draw(st.dictionaries(NAMES, st.floats(0.0, 1.0), max_size=5))
    total = math.fsum(raw.values())
    scale = draw(st.floats(0.0, 1.0)) / total if total > 0 else 0.0
    return of({name: min(1.0, weight * scale) for name, weight in raw.items()})


@given(mixtures(), st.sampled_from([0.05, 0.1, 0.2, 0.25, 0.5, 1.0]))
def test_snapping_stays_a_mixture_on_the_grid(mixture: Mixture, step: float) -> None:
    snapped = mixture.snapped(step)
    assert math.fsum(snapped.weights.values()) <= 1.0 + 1e-9
    for name, weight in snapped.weights.items():
        assert abs(weight / step - round(weight / step)) < 1e-6
        assert abs(weight - mixture.weights[name]) <= step * (1 + 1e-9)
    assert snapped.snapped(step) == snapped


@given(mixtures())
def test_the_name_of_a_snapped_mixture_reads_back(mixture: Mixture) -> None:
    snapped = mixture.snapped(0.05)
    assert parse(snapped.id).weights == pytest.approx(snapped.weights)


def test_id_is_heaviest_first_and_base_when_empty() -> None:
    assert of({"poet": 0.3, "body": 0.5, "logician": 0.0}).id == "body@0.5+poet@0.3"
    assert Mixture().id == "base"
    assert parse("base") == Mixture()
    assert Mixture().base == 1.0


@pytest.mark.parametrize(
    "weights", [{"poet": -0.1}, {"poet": 1.1}, {"a": 0.6, "b": 0.6}, {"poet": math.nan}, {"A b": 0.1}]
)
def test_impossible_weights_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(MixtureError, match="not a mixture"):
        of(weights)
    with pytest.raises(ValidationError):
        Mixture(weights=weights)


@pytest.mark.parametrize("text", ["poet@x", "poet@0.5+poet@0.1", "poet@2", "@0.5"])
def test_unreadable_mixtures_are_refused(text: str) -> None:
    with pytest.raises(MixtureError):
        parse(text)


def test_plan_keeps_what_was_asked_beside_what_is_used() -> None:
    got = plan(of({"poet": 0.54, "body": 0.29}), mode="exact", step=0.1, registers=["poet", "body"], can=["exact"])
    assert got.asked.weights == {"poet": 0.54, "body": 0.29}
    assert got.used.weights == {"poet": 0.5, "body": 0.3}


def test_unknown_register_names_the_nearest() -> None:
    with pytest.raises(MixtureError, match="did you mean 'poet'"):
        plan(of({"poer": 0.5}), mode="exact", step=0.1, registers=["poet"], can=["exact"])


def test_a_mode_the_engine_lacks_is_refused_never_degraded() -> None:
    with pytest.raises(MixtureError, match="cannot honour 'mixture: exact'"):
        plan(of({"poet": 0.5, "body": 0.5}), mode="exact", step=0.1, registers=["poet", "body"], can=["premerged"])


def test_refuse_allows_one_register_only() -> None:
    one = plan(of({"poet": 0.5}), mode="refuse", step=0.1, registers=["poet", "body"], can=["exact"])
    assert one.used.weights == {"poet": 0.5}
    with pytest.raises(MixtureError, match="refuse"):
        plan(of({"poet": 0.5, "body": 0.5}), mode="refuse", step=0.1, registers=["poet", "body"], can=["exact"])


def test_top1_keeps_the_heaviest() -> None:
    got = plan(of({"poet": 0.3, "body": 0.6}), mode="top1", step=0.1, registers=["poet", "body"], can=[])
    assert got.used.weights == {"body": 0.6}
