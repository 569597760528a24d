"""The plug-in in a stock ``vllm serve``: mixtures by model name, and nothing else by it."""

from __future__ import annotations

import math
import os
from typing import Any

import httpx
import pytest

from scenepipe.testing.backend_suite import EN, RU

pytestmark = [pytest.mark.model, pytest.mark.slow]

TIMEOUT = httpx.Timeout(300.0)


def complete(model: str, prompt: str = RU, **more: Any) -> httpx.Response:
    body = {"model": model, "prompt": prompt, "max_tokens": 8, "temperature": 0.0, **more}
    return httpx.post(os.environ["SCENEPIPE_VLLM_URL"] + "/v1/completions", json=body, timeout=TIMEOUT)


def scored(model: str) -> list[float]:
    """Log-probabilities of the prompt's own tokens."""
    told = complete(model, max_tokens=1, prompt_logprobs=0).raise_for_status().json()["choices"][0]["prompt_logprobs"]
    return [next(iter(row.values()))["logprob"] for row in told[1:]]


def test_a_mixture_answers_by_its_name_and_is_not_its_parts() -> None:
    names = ("mix:poet@0.6+philosopher@0.4", "mix:poet", "mix:philosopher", "mix:poet@0.5", "mix:base")
    told = [tuple(round(value, 3) for value in scored(name)) for name in names]
    assert len(set(told)) == len(names)


def test_a_mixture_is_between_its_parts_and_the_order_means_nothing() -> None:
    one, other = scored("mix:poet@0.6+philosopher@0.4"), scored("mix:philosopher@0.4+poet@0.6")
    assert one == pytest.approx(other, abs=0.05)
    poet, philosopher = scored("mix:poet"), scored("mix:philosopher")
    assert max(math.dist(one, poet), math.dist(one, philosopher)) < 0.9 * math.dist(poet, philosopher)


def test_the_answer_is_spoken_by_that_model() -> None:
    answer = complete("mix:poet@0.6+philosopher@0.4", EN).raise_for_status().json()
    assert answer["model"] == "mix:poet@0.6+philosopher@0.4"
    assert answer["choices"][0]["text"].strip()
    models = httpx.get(os.environ["SCENEPIPE_VLLM_URL"] + "/v1/models", timeout=TIMEOUT).json()["data"]
    assert "mix:poet@0.6+philosopher@0.4" in [model["id"] for model in models]


def test_the_base_by_name_is_the_base_after_others_have_spoken() -> None:
    first = scored("mix:base")
    for weight in (1, 2, 3, 4, 5, 6):
        complete(f"mix:philosopher@0.{weight}", max_tokens=1).raise_for_status()
    assert scored("mix:base") == pytest.approx(first, abs=0.05)


@pytest.mark.parametrize(
    "name",
    [
        "mix:../poet",
        "mix:nobody",
        "mix:poet@2",
        "mix:/etc",
        "mix:poet/adapters/gemma-3-270m",
        "mix:",
        "../poet",
        "poet",
    ],
)
def test_another_name_is_no_model(name: str) -> None:
    answer = complete(name)
    assert answer.status_code == 404
    assert "does not exist" in answer.json()["error"]["message"]


def test_after_refusals_the_server_goes_on() -> None:
    assert complete("mix:poet@0.3").raise_for_status().json()["choices"][0]["text"]
