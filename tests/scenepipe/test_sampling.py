"""Sampling settings: what is asked, what is told, and the refusal of what an engine would ignore."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from scenepipe.errors import BackendError
from scenepipe.sampling import _OFF, COMMON, Sampling, check_sampling

OFF = Sampling(temperature=1.0, top_p=1.0, top_k=0, min_p=0.0)
ON = {
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 3,
    "min_p": 0.1,
    "repeat_penalty": 1.1,
    "presence_penalty": 0.5,
    "frequency_penalty": -0.5,
    "logit_bias": {7: -100.0},
    "beams": 4,
    "watermark": True,
    "reasoning_effort": "low",
}


def test_every_setting_has_a_value_that_switches_it_off() -> None:
    assert set(_OFF) == set(Sampling.model_fields) == set(ON)
    assert OFF.asked() == ()


@pytest.mark.parametrize("name", ON)
def test_what_an_engine_lacks_is_refused_by_name(name: str) -> None:
    asked = OFF.model_copy(update={name: ON[name]})
    assert asked.asked() == (name,)
    check_sampling(asked, tuple(ON), "toy")
    with pytest.raises(BackendError, match=f"toy has no {name}: .*; it has .*Switch off what it lacks \\({name}: "):
        check_sampling(asked, tuple(n for n in ON if n != name), "toy")


@given(st.sets(st.sampled_from(sorted(ON)), min_size=1), st.sets(st.sampled_from(sorted(ON))))
def test_exactly_what_is_missing_is_named(asked: set[str], honoured: set[str]) -> None:
    sampling = Sampling.model_validate({**OFF.model_dump(), **{name: ON[name] for name in asked}})
    if asked <= honoured:
        check_sampling(sampling, tuple(honoured), "toy")
        return
    with pytest.raises(BackendError) as caught:
        check_sampling(sampling, tuple(honoured), "toy")
    told = str(caught.value).split("; it has")[0]
    assert {name for name in ON if f"{name}: " in told} == asked - honoured


def test_a_receipt_tells_the_five_and_whatever_else_was_asked_for() -> None:
    assert tuple(Sampling().told()) == COMMON
    assert tuple(Sampling(beams=2).told()) == (*COMMON, "beams")


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": -1},
        {"top_p": 0},
        {"beams": 0},
        {"presence_penalty": 3},
        {"logit_bias": {-1: 0}},
        {"reasoning_effort": "max"},
        {"tmperature": 1},
    ],
)
def test_values_out_of_range_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Sampling.model_validate(bad)
