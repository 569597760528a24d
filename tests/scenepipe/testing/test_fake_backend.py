"""The fake backend: conformance, determinism, its options, and its speed."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenepipe.contracts import Backend, Request
from scenepipe.errors import BackendError, DeadlineError, MixtureError
from scenepipe.mixture import parse
from scenepipe.prompt import ScenePrompt
from scenepipe.register import Register
from scenepipe.testing.backend_suite import EN, GREEDY, RU, BackendSuite, collect, plan, say, text_of
from scenepipe.testing.fake_backend import FakeBackend, minimal_instance
from scenepipe.testing.fake_model import PLACES, VERBS, token_id


def register(name: str, adapters: dict[str, Path] | None = None) -> Register:
    return Register(name, Path(), {}, {}, "●", "🙂", "CC0-1.0", adapters or {})


REGISTERS = [register("poet"), register("philosopher")]


def opened(**options: Any) -> FakeBackend:
    backend = FakeBackend(**options)
    asyncio.run(backend.open(None, REGISTERS))
    return backend


def spoken(backend: FakeBackend, **request: Any) -> str:
    return asyncio.run(say(backend, **request))


class FakeSuite(BackendSuite):
    some_tokens: ClassVar[Sequence[int]] = [token_id(f" {word}") for word in (*VERBS["en"], *PLACES["en"])]

    async def token_ids(self, backend: Backend, text: str) -> list[int]:
        return [token_id(text)]


class TestConformance(FakeSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, runner: asyncio.Runner) -> Iterator[FakeBackend]:
        backend = FakeBackend()
        runner.run(backend.open(None, REGISTERS))
        yield backend
        runner.run(backend.aclose())


class TestConformancePremerged(FakeSuite):
    """An engine of composed adapters, that tells no probabilities and knows temperature alone."""

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, runner: asyncio.Runner) -> Iterator[FakeBackend]:
        lacking = {"mixtures": ("premerged",), "sampling": ("temperature",), "logprobs": 0, "score": False}
        backend = FakeBackend(capabilities=lacking)
        runner.run(backend.open(None, REGISTERS))
        yield backend
        runner.run(backend.aclose())


class TestConformanceWithDelayAndChat(FakeSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, runner: asyncio.Runner) -> Iterator[FakeBackend]:
        tools = {"tools": True, "tool_wishes": ("required", "named", "parallel")}
        backend = FakeBackend(delay_s=0.002, capabilities={"chat": True, **tools}, parallel=2)
        runner.run(backend.open(None, REGISTERS))
        yield backend
        runner.run(backend.aclose())


def test_weaves_the_linkage_in_the_language_of_the_prompt() -> None:
    backend = opened()
    russian, english = spoken(backend, prompt=RU), spoken(backend, prompt=EN)
    assert all(word in russian.lower() for word in ("дрожь", "тишина", "вход"))
    assert all(word in english.lower() for word in ("trembling", "silence", "entrance"))
    assert not any("а" <= c <= "я" for c in english)


def test_without_a_linkage_the_words_of_the_scene_are_used() -> None:
    prompt = ScenePrompt("Silence at the gate", "en").render()
    assert "silence" in spoken(opened(), prompt=prompt).lower()


def test_prompt_mixture_and_seed_each_change_the_reply() -> None:
    backend = opened()
    base = spoken(backend, prompt=RU, seed=1)
    assert spoken(backend, prompt=RU, seed=1) == base
    assert spoken(backend, prompt=RU, seed=2) != base
    assert spoken(backend, prompt=RU, seed=1, plan=plan("poet@0.5")) != base
    assert spoken(backend, prompt=RU.replace("шаг", "вход"), seed=1) != base


def test_greedy_takes_no_notice_of_the_seed() -> None:
    backend = opened()
    assert spoken(backend, prompt=RU, seed=1, sampling=GREEDY) == spoken(backend, prompt=RU, seed=2, sampling=GREEDY)


def test_fail_on_fails_those_prompts_alone() -> None:
    backend = opened(fail_on="шаг")
    with pytest.raises(BackendError, match="шаг"):
        spoken(backend, prompt=RU)
    assert spoken(backend, prompt=EN)


def test_delay_is_paid_for_each_word() -> None:
    backend = opened(delay_s=0.02)
    started = time.monotonic()
    chunks = asyncio.run(collect(backend, prompt=RU))
    assert time.monotonic() - started >= 0.02 * (len(chunks) - 1)


def test_a_deadline_cuts_a_slow_reply() -> None:
    backend = opened(delay_s=0.05)
    started = time.monotonic()
    with pytest.raises(DeadlineError):
        spoken(backend, prompt=RU, deadline=started + 0.12)
    assert time.monotonic() - started < 1.0


def test_parallel_bounds_what_runs_at_once() -> None:
    async def seconds(parallel: int) -> float:
        backend = FakeBackend(delay_s=0.01, parallel=parallel)
        await backend.open(None, [])
        started = time.monotonic()
        await asyncio.gather(*(say(backend, prompt=RU, max_tokens=4) for _ in range(4)))
        return time.monotonic() - started

    assert asyncio.run(seconds(1)) >= 4 * 4 * 0.01
    assert asyncio.run(seconds(4)) < 4 * 4 * 0.01


@pytest.mark.parametrize(
    ("capability", "request_of"),
    [
        ("json_schema", {"prompt": "a", "json_schema": {"type": "object"}}),
        ("mixtures", {"prompt": "a", "plan": plan("poet")}),
    ],
)
def test_what_is_switched_off_is_refused(capability: str, request_of: dict[str, Any]) -> None:
    backend = opened(capabilities={capability: () if capability == "mixtures" else False})
    with pytest.raises((BackendError, MixtureError)):
        spoken(backend, **request_of)
    assert spoken(opened(), **request_of)


def test_score_that_is_switched_off_is_refused() -> None:
    backend = opened(capabilities={"score": False})
    with pytest.raises(BackendError, match="score"):
        asyncio.run(backend.score(Request(prompt=RU), "Да."))


def test_an_unknown_capability_is_refused() -> None:
    with pytest.raises(ValueError, match="telepathy"):
        FakeBackend(capabilities={"telepathy": True})


def test_score_depends_on_the_mixture_and_the_words_before() -> None:
    backend = opened()

    def score(reply: str, mixture: str) -> list[float]:
        request = Request(prompt=RU, plan=plan(mixture))
        return [s.logprob for s in asyncio.run(backend.score(request, reply))]

    assert score("а б в", "poet") == score("а б в", "poet")
    assert score("а б в", "poet") != score("а б в", "base")
    assert score("а б", "poet") == score("а б в", "poet")[:2]
    assert score("б а в", "poet")[2] != score("а б в", "poet")[2]


def test_proofs_are_the_hashes_of_adapter_files_and_nothing_without_one(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    backend = FakeBackend()
    proofs = asyncio.run(backend.open(None, [register("poet", {"gemma": tmp_path}), register("body")]))
    assert [(p.register_name, p.sha256) for p in proofs] == [("poet", hashlib.sha256(b"weights").hexdigest())]


@given(st.text(max_size=200), st.sampled_from(["base", "poet", "poet@0.3+philosopher@0.7"]), st.integers(1, 20))
def test_any_prompt_gets_at_most_the_tokens_asked_for(prompt: str, mixture: str, most: int) -> None:
    chunks = asyncio.run(collect(opened(), prompt=prompt, plan=plan(mixture), max_tokens=most))
    usage = chunks[-1].usage
    assert usage is not None
    assert 1 <= usage.reply_tokens <= most
    assert text_of(chunks).strip()


@given(st.text(alphabet="аб вг.", min_size=1, max_size=3))
def test_no_stop_string_leaks(stop: str) -> None:
    whole = spoken(opened(), prompt=RU)
    assert spoken(opened(), prompt=RU, stop=(stop,)) == whole.partition(stop)[0]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (
            {"type": "object", "properties": {"a": {"type": "string", "minLength": 2}, "b": {}}, "required": ["a"]},
            {"a": "xx"},
        ),
        ({"type": "array", "items": {"type": "integer", "minimum": 3}, "minItems": 2}, [3, 3]),
        ({"enum": ["да", "нет"]}, "да"),
        ({"const": 7}, 7),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, False),
        ({"allOf": [{"type": "integer"}, {"maximum": -2}]}, -2),
        ({"type": ["null", "string"]}, None),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5}, 0.25),
        ({"type": "integer", "exclusiveMinimum": 0, "maximum": 1.5}, 1),
        ({"$ref": "#/$defs/word", "$defs": {"word": {"type": "string", "minLength": 1}}}, "x"),
    ],
)
def test_minimal_instance_is_valid(schema: dict[str, Any], value: Any) -> None:
    assert minimal_instance(schema) == value


def test_a_schema_without_end_or_without_a_number_is_refused() -> None:
    with pytest.raises(BackendError, match="nests"):
        minimal_instance({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]})
    with pytest.raises(BackendError, match="no number"):
        minimal_instance({"type": "integer", "minimum": 3, "maximum": 2})


def test_overhead_is_small_enough_to_measure_a_runner_with() -> None:
    backend, request = opened(), Request(prompt=RU, seed=1, plan=plan(parse("poet@0.5").id))

    async def microseconds(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            async for _ in backend.generate(request):
                pass
        return (time.perf_counter() - started) / count * 1e6

    # 24 µs on two cores of an EPYC 7R13; the bound leaves room for a busy machine.
    assert min(asyncio.run(microseconds(200)) for _ in range(10)) < 100
