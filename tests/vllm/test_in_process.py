"""The vllm backend in process, on the default model with the shipped registers; one engine for all of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from scenepipe.backends.vllm import Vllm
from scenepipe.contracts import AdapterProof, Request
from scenepipe.errors import BackendError, ConfigError, MixtureError
from scenepipe.mixture import of
from scenepipe.models.catalogue import LocalModel
from scenepipe.register import Register, adapter_of
from scenepipe.testing.backend_suite import EN, GREEDY, RU, BackendSuite, collect, gather, plan, say, text_of
from tests.vllm.conftest import UNI

pytestmark = [pytest.mark.model, pytest.mark.slow]

NAMES = ("poet", "philosopher")
ENGINE: dict[str, Any] = {
    "enforce_eager": True,
    "kv_cache_memory_bytes": 1 << 29,
    "max_num_batched_tokens": 640,
    "distributed_executor_backend": UNI,
}
MIXTURES = ("poet", "poet@0.6+philosopher@0.4", "base", "philosopher@0.7")


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def opened(
    local_model: LocalModel, registers: list[Register], loop: asyncio.Runner
) -> Iterator[tuple[Vllm, list[AdapterProof]]]:
    """In float32, where another batch size does not move a token. Fewer places than mixtures, so that they change."""
    backend = Vllm(dtype="float32", context=640, parallel=4, max_loras=2, max_cpu_loras=3, composed=4, engine=ENGINE)
    proofs = loop.run(backend.open(local_model, registers))
    yield backend, list(proofs)
    loop.run(backend.aclose())


@pytest.fixture(scope="module")
def engine(opened: tuple[Vllm, list[AdapterProof]]) -> Vllm:
    return opened[0]


def score(backend: Vllm, loop: asyncio.Runner, mixture: str, reply: str = " Тишина — это вход.") -> list[float]:
    scored = loop.run(backend.score(Request(prompt=RU, plan=plan(mixture, "premerged")), reply))
    return [one.logprob for one in scored]


def test_it_proves_each_register(
    opened: tuple[Vllm, list[AdapterProof]], registers: list[Register], local_model: LocalModel
) -> None:
    assert [proof.register_name for proof in opened[1]] == list(NAMES)
    assert [proof.sha256 for proof in opened[1]] == [adapter_of(r, local_model).sha256 for r in registers]
    assert not any(proof.zero_effect for proof in opened[1])


def test_more_mixtures_than_places_each_say_what_they_say_alone(engine: Vllm, loop: asyncio.Runner) -> None:
    asked = [
        {"prompt": prompt, "max_tokens": 8, "sampling": GREEDY, "plan": plan(mixture, "premerged")}
        for mixture in MIXTURES
        for prompt in (RU, EN)
    ]
    alone = [loop.run(say(engine, **request)) for request in asked]
    assert loop.run(gather(*(say(engine, **request) for request in asked))) == alone
    assert len(set(alone)) >= len(MIXTURES)


def test_mixtures_share_no_attention_cache(engine: Vllm, loop: asyncio.Runner) -> None:
    """The prompt of 146 tokens is long enough for a whole cached block, 128; each mixture reads it twice, in turns."""
    prompt = RU * 5
    request = {"prompt": prompt, "max_tokens": 4, "sampling": GREEDY, "logprobs": 0}
    told: dict[str, list[list[float]]] = {}
    for mixture in (*MIXTURES, *MIXTURES):
        chunks = loop.run(collect(engine, plan=plan(mixture, "premerged"), **request))
        told.setdefault(mixture, []).append([one.logprob for chunk in chunks for one in chunk.logprobs])
    for first, again in told.values():
        assert first == pytest.approx(again, abs=2e-3)
    assert len({round(first[0], 3) for first, _ in told.values()}) == len(MIXTURES)


def test_a_mixture_is_the_sum_of_its_parts(
    engine: Vllm, loop: asyncio.Runner, local_model: LocalModel, registers: list[Register]
) -> None:
    """Against Transformers in float32 with the same registers in its bank."""
    from scenepipe.backends.transformers import Transformers

    reference = Transformers(dtype="float32", parallel=2, context=1024)
    loop.run(reference.open(local_model, registers))
    try:
        for mixture in ("base", "poet", "poet@0.6+philosopher@0.4", "poet@0.2+philosopher@0.2"):
            wanted = loop.run(reference.score(Request(prompt=RU, plan=plan(mixture)), " Тишина — это вход."))
            assert score(engine, loop, mixture) == pytest.approx([one.logprob for one in wanted], abs=5e-3)
    finally:
        loop.run(reference.aclose())


def test_composed_adapters_are_few_and_of_the_name_of_their_mixture(engine: Vllm, loop: asyncio.Runner) -> None:
    composed = engine._composed
    assert composed is not None
    for step in range(1, 8):
        score(engine, loop, f"poet@0.{step}", " Да.")
    entries = {entry.name for entry in composed.folder.iterdir() if entry.is_dir()}
    assert len(entries) <= 4
    assert composed.of(of({"poet": 0.7}), engine._folders).name in entries


def test_a_seed_holds_among_other_mixtures(engine: Vllm, loop: asyncio.Runner) -> None:
    request = {"prompt": RU, "max_tokens": 12, "seed": 5, "plan": plan("poet@0.6+philosopher@0.4", "premerged")}
    alone = loop.run(say(engine, **request))
    others = [say(engine, prompt=EN, max_tokens=12, seed=n, plan=plan("philosopher", "premerged")) for n in range(3)]
    assert loop.run(gather(say(engine, **request), *others))[0] == alone


def test_long_prompts_with_seeds_at_once_leave_the_engine_alive(engine: Vllm, loop: asyncio.Runner) -> None:
    """More prompt tokens than the 640 that one step takes: 699."""
    asked = [say(engine, prompt=RU * 8, max_tokens=2, seed=n) for n in range(3)]
    assert all(loop.run(gather(*asked)))


def test_a_weight_matters_and_top1_and_refuse_are_served(engine: Vllm, loop: asyncio.Runner) -> None:
    half, whole = score(engine, loop, "poet@0.5"), score(engine, loop, "poet")
    assert max(abs(a - b) for a, b in zip(half, whole, strict=True)) > 0.01
    for mode in ("top1", "refuse"):
        told = loop.run(engine.score(Request(prompt=RU, plan=plan("poet", mode)), " Тишина — это вход."))
        assert [one.logprob for one in told] == pytest.approx(whole, abs=1e-3)


def test_what_vllm_refuses_is_said_and_the_engine_goes_on(engine: Vllm, loop: asyncio.Runner) -> None:
    with pytest.raises(BackendError, match="raise backend.context"):
        loop.run(say(engine, prompt="a " * 3000, max_tokens=2))
    with pytest.raises(BackendError, match="vLLM, the request: "):
        loop.run(say(engine, prompt=EN, max_tokens=2, json_schema={"type": "no such type"}))
    with pytest.raises(BackendError, match="no watermark: True"):
        loop.run(say(engine, prompt=EN, max_tokens=2, sampling=GREEDY.model_copy(update={"watermark": True})))
    with pytest.raises(MixtureError, match="not open"):
        loop.run(say(engine, prompt=EN, max_tokens=2, plan=plan("pot", "premerged")))
    assert loop.run(say(engine, prompt=EN, max_tokens=4))


def test_an_unknown_engine_argument_is_refused_before_the_start(
    local_model: LocalModel, registers: list[Register], loop: asyncio.Runner
) -> None:
    backend = Vllm(engine={"tensor_paralel_size": 2, "kv_offloading_sise": 1})
    with pytest.raises(ConfigError) as told:
        loop.run(backend.open(local_model, registers))
    assert "engine.tensor_paralel_size: vLLM has no such argument; did you mean 'tensor_parallel_size'?" in str(
        told.value
    )
    assert "did you mean 'kv_offloading_size'?" in str(told.value)


def test_reading_prompts_in_parts_is_refused_on_a_cpu(
    local_model: LocalModel, registers: list[Register], loop: asyncio.Runner
) -> None:
    with pytest.raises(ConfigError, match="enable_chunked_prefill: on a CPU"):
        loop.run(Vllm(engine={"enable_chunked_prefill": True}).open(local_model, registers))


def test_a_wrong_value_is_refused_by_vllm_itself(
    local_model: LocalModel, registers: list[Register], loop: asyncio.Runner
) -> None:
    backend = Vllm(engine={"pipeline_parallel_size": 0})
    with pytest.raises(BackendError, match=r"vLLM, starting with .*pipeline_parallel_size"):
        loop.run(backend.open(local_model, registers))


def test_probabilities_of_a_reply_are_finite_and_sorted(engine: Vllm, loop: asyncio.Runner) -> None:
    chunks = loop.run(collect(engine, prompt=RU, max_tokens=6, logprobs=100, sampling=GREEDY))
    told = [one for chunk in chunks for one in chunk.logprobs]
    assert "".join(one.token for one in told) == text_of(chunks)
    for one in told:
        values = [each.logprob for each in one.top]
        assert len(values) == 100
        assert values == sorted(values, reverse=True)
        assert all(math.isfinite(value) for value in values)
        assert one.logprob == pytest.approx(values[0])


class TestConformance(BackendSuite):
    """Last: its last test closes the engine."""

    registers = NAMES

    async def token_ids(self, backend: Vllm, text: str) -> Sequence[int] | None:  # type: ignore[override]
        return backend._opened().prompts.tokens(text)

    @pytest.fixture(scope="class")
    def runner(self, loop: asyncio.Runner) -> asyncio.Runner:
        return loop

    @pytest.fixture(scope="class")
    def backend(self, engine: Vllm) -> Vllm:
        return engine
