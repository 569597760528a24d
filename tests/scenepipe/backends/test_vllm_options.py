"""The vllm backend without vLLM: its options and what they become, what is refused, and what its outputs become."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("tokenizers")

import tokenizers

from scenepipe.backends.canary import proofs_by_likeliest
from scenepipe.backends.vllm import Vllm
from scenepipe.backends.vllm_engine import VllmEngine
from scenepipe.backends.vllm_options import engine_arguments, fitting_rank, platform_faults, unknown
from scenepipe.backends.vllm_reply import SAMPLING, VllmReply, sampling_arguments, scores
from scenepipe.contracts import Request
from scenepipe.errors import BackendError, ConfigError, MissingExtraError, MixtureError
from scenepipe.models.catalogue import LocalModel
from scenepipe.registry import default_registry
from scenepipe.sampling import Sampling
from scenepipe.testing.backend_requests import plan

WORDS = ["<s>", "</s>", "one", "two", "three", "four"]


def arguments(ranks: tuple[int, ...] = (16, 16), **options: Any) -> dict[str, Any]:
    return engine_arguments(Vllm(**options).options, "/weights", ranks)


def test_schemas_leave_no_room_for_blank_lines_unless_asked_otherwise() -> None:
    assert arguments()["structured_outputs_config"]["disable_any_whitespace"] is True
    own = {"backend": "auto"}
    assert arguments(engine={"structured_outputs_config": own})["structured_outputs_config"] == own


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "key", "value"),
    [
        ({"dtype": "float16"}, "dtype", "float16"),
        ({"context": 512}, "max_model_len", 512),
        ({"parallel": 7}, "max_num_seqs", 7),
        ({"max_loras": 3}, "max_loras", 3),
        ({"max_loras": 3}, "max_cpu_loras", 6),
        ({"max_cpu_loras": 20}, "max_cpu_loras", 20),
        ({"max_lora_rank": 256}, "max_lora_rank", 256),
        ({}, "max_lora_rank", 32),
        ({}, "enable_lora", True),
        ({}, "load_format", "safetensors"),
        ({}, "max_logprobs", 100),
        ({"engine": {"tensor_parallel_size": 2}}, "tensor_parallel_size", 2),
        ({"engine": {"max_logprobs": 5}}, "max_logprobs", 5),
        ({"engine": {"load_format": "sharded_state"}}, "load_format", "sharded_state"),
        ({"engine": {"compilation_config": {"mode": 0}}}, "compilation_config", {"mode": 0}),
        ({"engine": {"distributed_executor_backend": "mp"}}, "distributed_executor_backend", "mp"),
    ],
)
def test_each_option_reaches_the_engine(options: dict[str, Any], key: str, value: Any) -> None:
    assert arguments(**options)[key] == value


def test_weights_are_the_model_and_without_registers_there_is_no_lora() -> None:
    made = arguments(())
    assert made["model"] == "/weights"
    assert not [key for key in made if "lora" in key]


@pytest.mark.parametrize(("rank", "fits"), [(1, 8), (16, 16), (17, 32), (48, 64), (257, 320), (400, 512), (900, 512)])
def test_all_registers_together_fit_the_rank(rank: int, fits: int) -> None:
    assert fitting_rank(rank) == fits


def test_numbers_out_of_range_are_named_together() -> None:
    with pytest.raises(
        ConfigError, match=r"(?s)context.*parallel.*max_loras.*composed.*max_lora_rank.*8, 16, 32"
    ) as told:
        Vllm(context=8, parallel=0, max_loras=0, composed=0, max_lora_rank=20)  # type: ignore[arg-type]
    assert len(told.value.faults) == 5
    with pytest.raises(ConfigError, match="4 is less than max_loras, 8"):
        Vllm(max_cpu_loras=4)


@pytest.mark.parametrize(
    ("engine", "why"),
    [
        ({"model": "x"}, "engine.model: it is the option 'weights'"),
        ({"max_model_len": 9}, "engine.max_model_len: it is the option 'context'"),
        ({"enable_lora": False}, "engine.enable_lora: it cannot be set"),
        ({"logprobs_mode": "processed_logits"}, "before any sampling setting"),
        ({"load_format": "pt"}, "pickled"),
        ({"load_format": "auto"}, "pickled"),
        ({"trust_remote_code": True}, "names code to run"),
        ({"worker_cls": "a.B"}, "names code to run"),
        ({"scheduler_cls": "a.B"}, "names code to run"),
        ({"logits_processors": ["a:B"]}, "names code to run"),
        ({"io_processor_plugin": "x"}, "names code to run"),
        ({"hf_overrides": {"auto_map": {}}}, "names code to run"),
        ({"kv_transfer_config": {"kv_connector_module_path": "a"}}, "kv_transfer_config.kv_connector_module_path"),
        (
            {"compilation_config": {"backend": "a.b.c"}},
            "engine.compilation_config.backend: 'a.b.c' looks like an import",
        ),
        ({"compilation_config": {"inductor_passes": {"p": "a.b"}}}, "names code to run"),
        ({"speculative_config": [{"model": {"trust_remote_code": 1}}]}, "names code to run"),
        ({"distributed_executor_backend": "a.b.Executor"}, "looks like an import path"),
        ({"kv_transfer_config": {"kv_connector_extra_config": {"x": ["a.b.C"]}}}, "looks like an import path"),
    ],
)
def test_engine_arguments_that_would_break_a_promise_are_refused(engine: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError) as told:
        Vllm(engine=engine)
    assert why in str(told.value)


def test_engine_arguments_that_are_nested_too_deep_are_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(50):
        deep = {"x": deep}
    with pytest.raises(ConfigError, match="levels deep"):
        Vllm(engine={"compilation_config": deep})


def test_on_a_cpu_each_prompt_is_read_whole() -> None:
    options = Vllm().options
    assert engine_arguments(options, "w", (), cpu=True)["enable_chunked_prefill"] is False
    assert "enable_chunked_prefill" not in engine_arguments(options, "w", ())
    asked = Vllm(engine={"enable_chunked_prefill": True}).options
    assert not platform_faults(asked, cpu=False)
    (fault,) = platform_faults(asked, cpu=True)
    assert fault.where == "engine.enable_chunked_prefill"


def test_off_is_off() -> None:
    assert arguments(engine={"trust_remote_code": False, "worker_extension_cls": ""})["trust_remote_code"] is False


def test_unknown_engine_arguments_are_refused_with_the_nearest() -> None:
    known = ["tensor_parallel_size", "model", "enable_lora", "_api_process_count"]
    found = unknown(Vllm(engine={"tensor_paralel_size": 2, "zzz": 1, "_api_process_count": 1}).options, known)
    assert [fault.where for fault in found] == ["engine.tensor_paralel_size", "engine.zzz", "engine._api_process_count"]
    assert "did you mean 'tensor_parallel_size'?" in found[0].message
    assert "vllm serve --help" in found[1].message


def test_capabilities_say_what_it_can() -> None:
    told = Vllm(parallel=5, engine={"max_logprobs": 20}).capabilities
    assert told.mixtures == ("premerged",)
    assert (told.parallel, told.logprobs) == (5, 20)
    assert "watermark" not in told.sampling
    assert "watermark" in Vllm(engine={"watermark_config": {"key": 1}}).capabilities.sampling


def test_without_vllm_the_pip_command_is_told() -> None:
    assert Vllm.requires == {"vllm": "vllm"}
    if importlib.util.find_spec("vllm") is not None:
        pytest.skip("vLLM is installed")
    (told,) = default_registry().missing_messages("backend", "vllm")
    assert 'pip install "scenepipe[vllm]"' in told
    model = LocalModel("tiny", Path("tiny.gguf"), "0" * 64, None, "0" * 64)
    with pytest.raises(MissingExtraError, match=r'pip install "scenepipe\[vllm\]"'):
        asyncio.run(Vllm().open(model, []))


# --- the backend's own ------------------------------------------------------------------------------------------------


class FakeEngine:
    """What the backend asks of `VllmEngine`, so far as it goes without vLLM."""

    layers, hidden, vocabulary, max_lora_rank, base_needs_adapter = 2, 64, 6, 32, False

    def __init__(self, options: Any = None, weights: str = "", ranks: Any = ()) -> None:
        self.closed = False
        self.loaded: list[Any] = []

        self.prompts = SimpleNamespace(of=lambda request: [0, 2])

    def names(self, count: int) -> list[str]:
        return WORDS[:count]

    async def load(self, adapter: Any) -> Any:
        self.loaded.append(adapter)
        return adapter

    async def reply(self, request: Request, prompt: list[int], handle: Any) -> Any:
        raise BackendError("reached the engine")
        yield

    async def next_logprobs(self, prompt: str, most: int, handle: Any) -> dict[int, float]:
        return {1: -1.0}

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Vllm:
    backend = Vllm()
    backend._engine = FakeEngine()  # type: ignore[assignment]
    backend._folders = {"poet": tmp_path}
    backend._composed = SimpleNamespace(of=lambda mixture, folders: mixture.id, base=lambda folders: "zeros")  # type: ignore[assignment]
    return backend


def run(backend: Vllm, **request: Any) -> None:
    async def drain() -> None:
        async for _ in backend.generate(Request(prompt="one", **request)):
            pass

    asyncio.run(drain())


@pytest.mark.parametrize("mode", ["premerged", "top1", "refuse"])
def test_a_mixture_reaches_the_engine_as_its_composed_adapter(opened: Vllm, mode: str) -> None:
    with pytest.raises(BackendError, match="reached the engine"):
        run(opened, plan=plan("poet@0.5", mode))
    assert opened._engine.loaded == ["poet@0.5"]  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", ["exact", "premerged"])
@pytest.mark.parametrize(("needs", "adapter"), [(False, None), (True, "zeros")])
def test_the_base_has_no_adapter_or_zeros_where_vllm_needs_one(
    opened: Vllm, needs: bool, adapter: Any, mode: str
) -> None:
    opened._engine.base_needs_adapter = needs  # type: ignore[union-attr]
    with pytest.raises(BackendError, match="reached the engine"):
        run(opened, plan=plan("base", mode))
    assert opened._engine.loaded == [adapter]  # type: ignore[union-attr]


def test_what_it_cannot_honour_never_reaches_the_engine(opened: Vllm) -> None:
    with pytest.raises(MixtureError, match=r"'pot' is not open; did you mean 'poet'"):
        run(opened, plan=plan("pot", "premerged"))
    with pytest.raises(MixtureError, match="cannot honour 'mixture: exact'; possible: premerged"):
        run(opened, plan=plan("poet", "exact"))
    for setting in ({"beams": 2}, {"watermark": True}, {"reasoning_effort": "low"}):
        with pytest.raises(BackendError, match=next(iter(setting))):
            run(opened, sampling=Sampling(**setting))
    with pytest.raises(BackendError, match="this model's tokens are 0 to 5"):
        run(opened, sampling=Sampling(logit_bias={6: 1.0}))
    assert not opened._engine.loaded  # type: ignore[union-attr]


def test_it_needs_a_model_and_is_opened_once() -> None:
    backend = Vllm()
    with pytest.raises(BackendError, match="needs a model"):
        asyncio.run(backend.open(None, []))
    with pytest.raises(BackendError, match="is not open"):
        run(backend)
    backend._engine = FakeEngine()  # type: ignore[assignment]
    with pytest.raises(BackendError, match="open already"):
        asyncio.run(backend.open(None, []))
    asyncio.run(backend.aclose())
    asyncio.run(backend.aclose())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"layers": 3}, "3 layers"),
        ({"hidden": 8}, "8 values a token"),
        ({"names": lambda self, n: ["x"] * n}, "6 of 6"),
    ],
)
def test_weights_of_another_model_are_refused_and_the_engine_ends(
    change: dict[str, Any],
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    tiny_gguf: Callable[[list[str]], LocalModel],
) -> None:
    from scenepipe.backends import vllm_engine

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    made: list[FakeEngine] = []
    changed = type("Changed", (FakeEngine,), change)
    monkeypatch.setattr(vllm_engine, "VllmEngine", lambda *given: made.append(changed(*given)) or made[0])
    with pytest.raises(BackendError, match=why):
        asyncio.run(Vllm(weights="elsewhere").open(tiny_gguf(WORDS), []))
    assert made[0].closed


@pytest.fixture
def ended(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Engines have a fake of vLLM's from here on; here is told how long each was given to end."""
    from scenepipe.backends import vllm_engine

    told: list[float] = []
    config = SimpleNamespace(
        max_model_len=64, hf_text_config=SimpleNamespace(num_hidden_layers=2, hidden_size=8), get_vocab_size=lambda: 6
    )
    wrapped = SimpleNamespace(backend_tokenizer=tokenizer, eos_token_id=1)
    llm = SimpleNamespace(
        model_config=config, get_tokenizer=lambda: wrapped, shutdown=lambda *, timeout: told.append(timeout)
    )
    monkeypatch.setattr(vllm_engine, "_start", lambda options, arguments: llm)
    monkeypatch.setattr(vllm_engine, "_on_cpu", lambda: False)
    monkeypatch.setattr(vllm_engine.os, "environ", {})
    return told


def test_an_engine_that_nobody_holds_ends_its_processes(ended: list[float]) -> None:
    engine = VllmEngine(Vllm().options, "w", ())
    del engine
    gc.collect()
    assert ended == [30.0]
    closed = VllmEngine(Vllm().options, "w", ())
    closed.close()
    closed.close()
    assert ended == [30.0, 30.0]
    assert closed._end.peek() is None, "nothing holds the engine any more"


def test_an_adapter_that_is_loaded_waits_for_no_other(ended: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    engine, added = VllmEngine(Vllm().options, "w", (16,)), []

    async def scenario() -> None:
        go_on = asyncio.Event()

        async def add(adapter: Any) -> str:
            added.append(adapter.name)
            if adapter.name == "slow":
                await go_on.wait()
            return f"handle of {adapter.name}"

        monkeypatch.setattr(engine, "_add", add)
        quick, slow = SimpleNamespace(name="quick"), SimpleNamespace(name="slow")
        assert await engine.load(quick) == "handle of quick"  # type: ignore[arg-type]
        both = [asyncio.ensure_future(engine.load(slow)) for _ in range(2)]  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert await asyncio.wait_for(engine.load(quick), 5) == "handle of quick"  # type: ignore[arg-type]
        go_on.set()
        assert await asyncio.gather(*both) == ["handle of slow"] * 2

    asyncio.run(scenario())
    assert added == ["quick", "slow"]


def test_the_canary_sees_a_register_without_effect(opened: Vllm) -> None:
    proofs = asyncio.run(proofs_by_likeliest(opened._canary, {"poet": "f" * 64}))
    assert proofs[0].zero_effect
    assert opened._engine.loaded == [None, "poet@1"]  # type: ignore[union-attr]


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "key", "value"),
    [
        ({"sampling": {"temperature": 0.3}}, "temperature", 0.3),
        ({"sampling": {"top_p": 0.4}}, "top_p", 0.4),
        ({"sampling": {"top_k": 7}}, "top_k", 7),
        ({"sampling": {"top_k": 0}}, "top_k", -1),
        ({"sampling": {"min_p": 0.2}}, "min_p", 0.2),
        ({"sampling": {"repeat_penalty": 1.3}}, "repetition_penalty", 1.3),
        ({"sampling": {"presence_penalty": 0.5}}, "presence_penalty", 0.5),
        ({"sampling": {"frequency_penalty": 0.5}}, "frequency_penalty", 0.5),
        ({"sampling": {"logit_bias": {3: 2.0}}}, "logit_bias", {3: 2.0}),
        ({}, "logit_bias", None),
        ({"seed": 5}, "seed", 5),
        ({"seed": 2**64 + 5}, "seed", 5),
        ({"seed": -1}, "seed", 2**63 - 1),
        ({}, "seed", None),
        ({"max_tokens": 9}, "max_tokens", 9),
        ({"logprobs": 0}, "logprobs", 0),
        ({}, "logprobs", None),
    ],
)
def test_each_setting_has_its_name_in_vllm(request_: dict[str, Any], key: str, value: Any) -> None:
    assert sampling_arguments(Request(prompt="one", **request_))[key] == value


def test_every_setting_that_is_claimed_changes_the_arguments() -> None:
    other = {"temperature": 0.1, "top_p": 0.1, "top_k": 1, "min_p": 0.9, "repeat_penalty": 2.0, "logit_bias": {1: 1.0}}
    other |= {"presence_penalty": 1.0, "frequency_penalty": 1.0}
    plain = sampling_arguments(Request(prompt="one"))
    for name in SAMPLING:
        assert sampling_arguments(Request(prompt="one", sampling=Sampling(**{name: other[name]}))) != plain


def test_an_engine_with_a_watermark_is_told_each_time() -> None:
    assert "watermarking" not in sampling_arguments(Request(prompt="one"))
    assert sampling_arguments(Request(prompt="one"), watermark=True)["watermarking"] is False
    marked = Request(prompt="one", sampling=Sampling(watermark=True))
    assert sampling_arguments(marked, watermark=True)["watermarking"] is True


# --- replies ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def tokenizer() -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: n for n, w in enumerate(WORDS)}, unk_token="one"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens(["<s>", "</s>"])
    return made


def output(*tokens: int, reason: str | None = None, told: bool = False) -> SimpleNamespace:
    """vLLM's `CompletionOutput`; each token has logprob -1, the next one -2, and the one after it -inf."""
    rows = [{(t + k) % 6: SimpleNamespace(logprob=[-1.0, -2.0, -math.inf][k]) for k in range(3)} for t in tokens]
    return SimpleNamespace(token_ids=tokens, logprobs=rows if told else None, finish_reason=reason)


def test_deltas_become_pieces_and_the_last_has_reason_and_usage(tokenizer: Any) -> None:
    reply = VllmReply(Request(prompt="x"), tokenizer, [0, 2])
    first, last = reply.chunk(output(2, 3)), reply.chunk(output(4, reason="length"))
    assert first is not None
    assert last is not None
    assert (first.text + last.text).split() == ["one", "two", "three"]
    assert (first.finish_reason, last.finish_reason) == (None, "length")
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.reply_tokens) == (2, 3)
    assert reply.done


def test_the_token_that_ends_a_reply_is_no_part_of_it(tokenizer: Any) -> None:
    reply = VllmReply(Request(prompt="x", logprobs=1), tokenizer, [0])
    last = reply.chunk(output(2, 5, reason="stop", told=True))
    assert last is not None
    assert last.text.split() == ["one"]
    assert [one.token.strip() for one in last.logprobs] == ["one"]
    assert last.usage is not None
    assert last.usage.reply_tokens == 2


def test_a_stop_string_ends_the_reply_before_vllm_does(tokenizer: Any) -> None:
    reply = VllmReply(Request(prompt="x", stop=("two",), logprobs=0), tokenizer, [0])
    last = reply.chunk(output(2, 3, 4, told=True))
    assert last is not None
    assert (last.text.split(), last.finish_reason, reply.done) == (["one"], "stop", True)
    assert last.usage is not None
    assert last.usage.reply_tokens == 2
    assert [one.token.strip() for one in last.logprobs] == ["one"]


def test_alternatives_are_as_many_as_asked_and_finite(tokenizer: Any) -> None:
    reply = VllmReply(Request(prompt="x", logprobs=3), tokenizer, [0])
    last = reply.chunk(output(2, reason="length", told=True))
    assert last is not None
    (one,) = last.logprobs
    assert one.logprob == -1.0
    assert [each.logprob for each in one.top] == [-1.0, -2.0, pytest.approx(math.log(2.0**-149))]
    assert [each.token.strip() for each in one.top] == ["one", "two", "three"]


@pytest.mark.parametrize("reason", ["abort", "error", "something new"])
def test_a_reply_that_vllm_breaks_off_is_an_error(tokenizer: Any, reason: str) -> None:
    with pytest.raises(BackendError, match=reason):
        VllmReply(Request(prompt="x"), tokenizer, [0]).chunk(output(2, reason=reason))


def test_scores_are_of_every_token_or_an_error() -> None:
    rows = [{3: SimpleNamespace(logprob=-0.5)}, {4: SimpleNamespace(logprob=-math.inf)}]
    told = scores(["a", "b"], [3, 4], rows)
    assert [(one.token, one.logprob) for one in told] == [("a", -0.5), ("b", pytest.approx(math.log(2.0**-149)))]
    for broken in (rows[:1], [rows[0], None], [rows[0], {5: rows[0][3]}]):
        with pytest.raises(BackendError, match="every token"):
            scores(["a", "b"], [3, 4], broken)
