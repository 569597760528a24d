"""The arithmetic of the parity benchmark, on distributions made by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.conftest import load

BENCH = load("engine_parity")
SHARES = st.lists(st.floats(0.01, 1.0), min_size=3, max_size=12)


def logs(shares: list[float], *, left: float = 0.1) -> dict[str, float]:
    """Log-probabilities of tokens a, b, c … that leave this much to all others."""
    total = math.fsum(shares) / (1.0 - left)
    return {chr(97 + n): math.log(share / total) for n, share in enumerate(shares)}


@given(SHARES)
def test_a_distribution_does_not_diverge_from_itself(shares: list[float]) -> None:
    pair = BENCH.compare(logs(shares), logs(shares))
    assert pair.kl == pytest.approx(0.0, abs=1e-9)
    assert pair.same
    assert pair.lost == 0.0


@given(SHARES, st.data())
def test_the_divergence_is_never_negative(shares: list[float], data: st.DataObject) -> None:
    other = data.draw(st.lists(st.floats(0.01, 1.0), min_size=len(shares), max_size=len(shares)))
    assert BENCH.compare(logs(shares), logs(other, left=0.3)).kl >= -1e-9


def test_a_case_worked_out_by_hand() -> None:
    pair = BENCH.compare(logs([0.5, 0.3], left=0.2), logs([0.2, 0.6], left=0.2))
    assert pair.kl == pytest.approx(0.5 * math.log(0.5 / 0.2) + 0.3 * math.log(0.3 / 0.6))
    assert pair.margin == pytest.approx(math.log(0.5 / 0.3))
    assert not pair.same


def test_what_an_engine_does_not_tell_counts_with_all_others() -> None:
    reference, other = logs([0.5, 0.3], left=0.2), {"a": math.log(0.6)}
    pair = BENCH.compare(reference, other)
    assert pair.kl == pytest.approx(0.5 * math.log(0.5 / 0.6) + 0.5 * math.log(0.5 / 0.4))
    assert pair.lost == pytest.approx(0.3)


def test_tokens_of_one_text_are_added_up() -> None:
    assert BENCH._summed([("a", math.log(0.25)), ("a", math.log(0.25))]) == {"a": pytest.approx(math.log(0.5))}


def test_replies_that_ended_at_once_are_left_out() -> None:
    reference = {"base": {"p": logs([1, 2]), "q": None}}
    assert len(BENCH.pairs_of(reference, {"base": {"p": logs([1, 2]), "q": logs([1, 2])}}, "base")) == 1
