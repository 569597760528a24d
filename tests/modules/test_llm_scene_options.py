"""Each option of ``llm-scene``, its time and budget, and its adapter: none is without effect."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest

from scenepipe.analysis.lexicon import shipped_lexicon
from scenepipe.context import Budget, Resources
from scenepipe.errors import ConfigError, DeadlineError
from scenepipe.modules.llm_scene import LlmScene
from scenepipe.register import Register
from scenepipe.scene_prompt import EXAMPLES, SceneRequest
from scenepipe.testing.fake_backend import FakeBackend
from tests.modules.llm_scenes import RU, Scripted, answer, read, register, schema_of, tokens_of

# --- options ---------------------------------------------------------------------------------------------------------


def test_associations_bound_the_schema_the_examples_and_the_hyperscene() -> None:
    many = [w for _, told in EXAMPLES["ru"] for w in told.symbols][:12]
    for count in (3, 5, 12):
        seen = read(RU, Scripted(answer(symbols=many)), LlmScene(associations=count))
        assert len(seen.drawn) == count
        assert schema_of(seen)["symbols"]["maxItems"] == count
        first = json.loads((seen.asked[0].prompt or "").splitlines()[1].partition(": ")[2])
        assert len(first["symbols"]) == count
    for wrong, limit in ((2, "the least is 3"), (13, "the most is 12")):
        with pytest.raises(ConfigError, match=f"associations: {wrong} was given; {limit}"):
            LlmScene(associations=wrong)


def test_tries_bound_the_draws() -> None:
    for tries in (1, 3):
        assert len(read(RU, Scripted("{"), LlmScene(tries=tries)).asked) == tries
    for wrong, limit in ((0, "the least is 1"), (6, "the most is 5")):
        with pytest.raises(ConfigError, match=f"tries: {wrong} was given; {limit}"):
            LlmScene(tries=wrong)


def test_an_answer_cut_by_max_tokens_leaves_the_rules_and_says_what_to_raise() -> None:
    seen = read(RU, Scripted(answer()), LlmScene(max_tokens=64))
    assert seen.fell_back
    assert len(seen.asked) == 2
    assert seen.warnings[0].message.endswith("the answer was cut after max_tokens: 64; raise it")
    assert not read(RU, Scripted(answer()), LlmScene(max_tokens=len(tokens_of(answer())))).fell_back


def test_vocabulary_lexicon_gives_each_place_nouns_of_its_own_less_those_of_the_text() -> None:
    seen = read(RU, Scripted(answer()), LlmScene(vocabulary="lexicon"))
    places = [set(place["enum"]) for place in schema_of(seen)["symbols"]["prefixItems"]]
    assert len(places) == 5
    assert sum(map(len, places)) == len(set().union(*places))
    nouns = {entry.ru for entry in shipped_lexicon().symbols}
    assert set().union(*places) < nouns
    assert "шаг" in nouns
    assert "шаг" not in set().union(*places)
    assert schema_of(read(RU, Scripted(answer())))["symbols"]["items"]["pattern"] == "^[а-яё]{2,24}$"


def test_drawing_is_greedy_seeded_and_bounded_and_the_options_change_it() -> None:
    (plain,) = read(RU, Scripted(answer())).asked
    assert (plain.sampling.temperature, plain.seed, plain.max_tokens) == (0.0, 7, 320)
    (other,) = read(RU, Scripted(answer()), LlmScene(temperature=0.9, seed=3, max_tokens=100)).asked
    assert (other.sampling.temperature, other.seed, other.max_tokens) == (0.9, 3, 100)
    hot = read(RU, Scripted("{"), LlmScene(temperature=0.9))
    assert [r.sampling.temperature for r in hot.asked] == [0.9, 0.9], "a repair is never cooler than asked"


def test_the_same_text_is_read_the_same_way_twice() -> None:
    first, second = (read(RU, Scripted("{", answer())).scene for _ in range(2))
    assert first.with_(created=second.created) == second


# --- time and budget -------------------------------------------------------------------------------------------------


def test_a_slow_model_leaves_the_rules_after_timeout_s() -> None:
    seen = read(RU, Scripted(answer(), delay_s=0.05), LlmScene(timeout_s=0.2))
    assert seen.fell_back
    assert "deadline" in seen.warnings[0].message
    assert not read(RU, Scripted(answer(), delay_s=0.001), LlmScene(timeout_s=30)).fell_back


def test_the_pipelines_deadline_ends_the_scene() -> None:
    with pytest.raises(DeadlineError):
        read(RU, Scripted(answer(), delay_s=0.05), LlmScene(timeout_s=30), deadline=time.monotonic() + 0.2)


def test_the_sooner_of_both_moments_is_given_to_the_engine() -> None:
    far = time.monotonic() + 500
    (near,) = read(RU, Scripted(answer()), LlmScene(timeout_s=60), deadline=far).asked
    (alone,) = read(RU, Scripted(answer()), LlmScene(), deadline=far).asked
    assert near.deadline is not None
    assert near.deadline < time.monotonic() + 61
    assert alone.deadline == far


def test_the_budget_is_charged_for_what_was_drawn() -> None:
    budget = Budget(tokens=500, calls=1)
    assert not read(RU, Scripted(answer()), budget=budget).fell_back
    assert (budget.calls, budget.tokens) == (0, 500 - len(tokens_of(answer())))
    seen = read(RU, Scripted(answer()), budget=budget)
    assert seen.fell_back
    assert "budget has 0 calls left" in seen.warnings[0].message


# --- the adapter -----------------------------------------------------------------------------------------------------


def test_an_adapter_answers_at_weight_1_without_examples() -> None:
    registers = {"reader": register(), "poet": register("poet", "voice")}
    seen = read(RU, Scripted(answer()), LlmScene(adapter="reader"), registers=registers)
    (asked,) = seen.asked
    assert asked.plan.used.weights == {"reader": 1.0}
    assert asked.prompt == SceneRequest(RU, "ru", examples=False).render()
    assert f"register:reader@{'a' * 16}" in seen.analysers
    (plain,) = read(RU, Scripted(answer()), registers=registers).asked
    assert plain.plan.used.weights == {}


def test_an_adapter_that_cannot_be_proven_is_called_so() -> None:
    class Zero(Scripted):
        async def open(self, model: Any, registers: Any) -> Any:
            return [p.model_copy(update={"zero_effect": True}) for p in await super().open(model, registers)]

    seen = read(RU, Zero(answer()), LlmScene(adapter="reader"), registers={"reader": register()})
    assert "register:reader@unverified" in seen.analysers


@pytest.mark.parametrize(
    ("registers", "said"),
    [
        ({"poet": register("reader", "voice")}, "not among 'registers:' of kind scene"),
        ({"reader": register("reader", "voice")}, "'reader' is a voice; an adapter for scenes has 'kind: scene'"),
        ({"readers": register("readers")}, "did you mean 'readers'"),
    ],
)
def test_an_adapter_that_is_none_is_refused(registers: Mapping[str, Register], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        LlmScene(adapter="reader").open(Resources(backend=FakeBackend(), registers=registers))
