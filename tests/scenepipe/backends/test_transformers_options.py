"""Every option of the transformers backend does what it says, on a tiny model that Transformers saved; and what is
refused is refused by name."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import json
import weakref
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from pydantic import TypeAdapter, ValidationError  # noqa: E402

from scenepipe.backends import same_model, transformers_load  # noqa: E402
from scenepipe.backends import transformers as backend_module  # noqa: E402
from scenepipe.backends.quantization import Quantization, require  # noqa: E402
from scenepipe.backends.transformers import Transformers  # noqa: E402
from scenepipe.contracts import Backend, Message, Request  # noqa: E402
from scenepipe.errors import BackendError, ConfigError, MissingExtraError, RegisterError  # noqa: E402
from scenepipe.mixture import Plan, parse  # noqa: E402
from scenepipe.models.adapter import Adapter, LowRank  # noqa: E402
from scenepipe.models.catalogue import LocalModel  # noqa: E402
from scenepipe.registry import default_registry  # noqa: E402
from scenepipe.sampling import Sampling  # noqa: E402
from scenepipe.testing.backend_suite import collect, say  # noqa: E402
from scenepipe.testing.backend_suite_draws import DrawSuite  # noqa: E402
from scenepipe.testing.backend_suite_mixtures import MixtureSuite  # noqa: E402

GREEDY = Sampling(temperature=0.0)
WORDS = ["<pad>", "<s>", "</s>", *(f"w{n}" for n in range(157))]


def save(folder: Path, model: Any, **tokenizer: Any) -> Path:
    """A model and a tokenizer of 160 words as Transformers saves them."""
    import tokenizers

    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: n for n, w in enumerate(WORDS)}, unk_token="w0"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="<pad>", **tokenizer
    )
    model.save_pretrained(folder)
    wrapped.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tiny_of: Any, tmp_path: Path) -> Path:
    return save(tmp_path / "weights", tiny_of("llama").model)


@pytest.fixture
def adapter(tiny_of: Any, make_adapter: Any) -> Adapter:
    made: Adapter = make_adapter(tiny_of("llama"), rank=3, seed=1)
    return made


@pytest.fixture
def model(tiny_gguf: Callable[[list[str]], LocalModel]) -> LocalModel:
    """A model whose GGUF says what the tiny model is."""
    return tiny_gguf(WORDS)


Open = Callable[..., Any]


@pytest.fixture
def opened(
    model: LocalModel, folder: Path, adapter: Adapter, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Open]:
    """A function that opens a backend with options on the tiny model, with one register."""
    made: list[Transformers] = []
    monkeypatch.setattr(backend_module, "_adapters", lambda registers, model: {"poet": adapter} if registers else {})

    def open_(*, registers: bool = True, **options: Any) -> Transformers:
        backend = Transformers(**{"weights": str(folder), "dtype": "float32", "context": 64, **options})
        runner.run(backend.open(model, ["poet"] if registers else []))  # type: ignore[list-item]
        made.append(backend)
        return backend

    yield open_
    for backend in made:
        runner.run(backend.aclose())


def spoken(backend: Transformers, runner: asyncio.Runner, mixture: str = "poet@0.5", **more: Any) -> str:
    used = Plan(asked=parse(mixture), used=parse(mixture), mode="exact")
    return runner.run(
        say(backend, **{"prompt": "w5 w9 w30", "max_tokens": 8, "sampling": GREEDY, "plan": used, **more})
    )


def test_a_register_is_heard_and_proven(opened: Open, runner: asyncio.Runner) -> None:
    backend = opened()
    assert len({spoken(backend, runner, mixture) for mixture in ("base", "poet@0.5", "poet")}) == 3


def test_an_adapter_without_effect_is_found_out(
    opened: Open, adapter: Adapter, runner: asyncio.Runner, model: LocalModel, folder: Path, monkeypatch: Any
) -> None:
    nothing = {name: LowRank(pair.a, pair.b * 0) for name, pair in adapter.modules.items()}
    both = {"poet": adapter, "mute": Adapter(nothing, "1" * 64)}
    monkeypatch.setattr(backend_module, "_adapters", lambda registers, model: both)
    backend = Transformers(weights=str(folder), dtype="bfloat16")
    proofs = runner.run(backend.open(model, []))
    runner.run(backend.aclose())
    assert [(proof.register_name, proof.zero_effect) for proof in proofs] == [("poet", False), ("mute", True)]


def test_a_closed_engine_gives_the_models_memory_back(opened: Open, runner: asyncio.Runner) -> None:
    backend = opened()
    model = weakref.ref(backend._engine._base.model)
    runner.run(backend.aclose())
    gc.collect()
    assert model() is None


def test_an_engine_that_a_cancelled_open_left_ends_by_itself(model: LocalModel, folder: Path, adapter: Adapter) -> None:
    engine = Transformers(weights=str(folder), context=64)._start(model, {"poet": adapter})
    thread, base = engine._batcher._thread, weakref.ref(engine._base.model)
    del engine
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
    assert base() is None


class TestSettingsAndMixtures(DrawSuite, MixtureSuite):
    """These parts of the conformance suite need no model that speaks a language."""

    some_tokens = range(20, 120)

    @pytest.fixture
    def backend(self, opened: Open, tiny_of: Any, make_adapter: Any, monkeypatch: pytest.MonkeyPatch) -> Transformers:
        both = {name: make_adapter(tiny_of("llama"), rank=3, seed=seed) for seed, name in enumerate(self.registers, 1)}
        monkeypatch.setattr(backend_module, "_adapters", lambda registers, model: both)
        made: Transformers = opened(context=128)
        return made

    async def token_ids(self, backend: Backend, text: str) -> list[int]:
        assert isinstance(backend, Transformers)
        assert backend._engine is not None
        return backend._engine.prompts.tokens(text)


# --- each option ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dtype(dtype: str, opened: Open, runner: asyncio.Runner) -> None:
    backend = opened(dtype=dtype)
    engine = backend._engine
    assert engine is not None
    assert engine._base.model.dtype == engine._base.dtype == getattr(torch, dtype)
    assert spoken(backend, runner)


@pytest.mark.parametrize(("native", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_dtype_auto_is_bfloat16_where_the_cpu_has_it(
    native: bool, dtype: str, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformers_load, "_cpu_has_bfloat16", lambda: native)
    assert opened(dtype="auto", device="cpu")._engine._base.dtype == getattr(torch, dtype)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_attention(attention: str, opened: Open, runner: asyncio.Runner) -> None:
    backend = opened(attention=attention)
    assert backend._engine._base.model.config._attn_implementation == attention
    assert spoken(backend, runner) == spoken(opened(), runner)


def test_context(opened: Open, runner: asyncio.Runner) -> None:
    with pytest.raises(BackendError, match="101 tokens and 64 fit"):
        spoken(opened(), runner, prompt="w5 " * 99)
    assert spoken(opened(context=128), runner, prompt="w5 " * 99)
    with pytest.raises(BackendError, match="201 tokens and 128 fit"):  # the tiny model has 128 positions
        spoken(opened(context=4096), runner, prompt="w5 " * 199)


@pytest.mark.parametrize("parallel", [1, 3])
def test_parallel(parallel: int, opened: Open, runner: asyncio.Runner) -> None:
    backend, seen = opened(parallel=parallel), []
    passes = backend._engine._passes
    step = passes.step
    passes.step = lambda rows: seen.append(len(rows)) or step(rows)

    async def all_of_them() -> None:
        await asyncio.gather(*(say(backend, prompt="w5 w9", max_tokens=20, seed=n) for n in range(6)))

    runner.run(all_of_them())
    assert max(seen) == parallel == backend.capabilities.parallel


@pytest.mark.parametrize(("limit", "reads"), [(16, 3), (512, 1)])
def test_max_batch_tokens(limit: int, reads: int, opened: Open, runner: asyncio.Runner) -> None:
    backend, seen = opened(max_batch_tokens=limit, parallel=2), []
    passes = backend._engine._passes
    read = passes.read
    passes.read = lambda rows, first, at_most: seen.append(at_most) or read(rows, first, at_most)
    spoken(backend, runner, prompt="w5 " * 39)
    assert seen == [limit] * reads


def test_threads(opened: Open) -> None:
    def told() -> Generator[None, None, int]:
        yield
        return int(torch.get_num_threads())

    before = torch.get_num_threads()
    counts = [opened(threads=threads)._engine._batcher.call(told()).result(10) for threads in (1, 2)]
    torch.set_num_threads(before)
    assert counts == [1, 2]


def test_device(opened: Open) -> None:
    assert opened(device="cpu")._engine._base.model.device.type == "cpu"
    with pytest.raises(BackendError, match=r"device 'cuda:99' cannot be used: .*possible here: cpu"):
        opened(device="cuda:99")
    with pytest.raises(BackendError, match="device 'gpu' cannot be used"):
        opened(device="gpu")


def test_weights_offloaded_to_disk_say_the_same(opened: Open, runner: asyncio.Runner, tmp_path: Path) -> None:
    places = {"model.embed_tokens": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}
    places |= {"model.layers.0": "cpu", "model.layers.1": "disk"}
    backend = opened(device_map=places, offload_folder=str(tmp_path / "offload"))
    weights = dict(backend._engine._base.model.named_parameters())
    assert weights["model.layers.1.mlp.up_proj.weight"].device.type == "meta", "it lies on the disk"
    assert (tmp_path / "offload").is_dir()
    assert spoken(backend, runner) == spoken(opened(), runner)
    assert spoken(backend, runner, "base") == spoken(opened(), runner, "base")


def test_max_memory_reaches_accelerate(opened: Open, tmp_path: Path, runner: asyncio.Runner) -> None:
    backend = opened(device_map="auto", max_memory={"cpu": "60KB"}, offload_folder=str(tmp_path / "offload"))
    assert "disk" in set(backend._engine._base.model.hf_device_map.values())
    assert spoken(backend, runner) == spoken(opened(), runner)
    assert transformers_load._settings(
        SimpleNamespace(  # type: ignore[arg-type]
            attention="auto",
            quantization=None,
            device_map="auto",
            offload_folder=None,
            max_memory={"0": "1GiB", "cpu": "2GiB"},
        ),
        torch.device("cpu"),
        torch.float32,
    )["max_memory"] == {0: "1GiB", "cpu": "2GiB"}


@pytest.mark.parametrize("method", ["bitsandbytes-4bit", "bitsandbytes-8bit"])
def test_quantization(method: str, opened: Open, runner: asyncio.Runner, caplog: pytest.LogCaptureFixture) -> None:
    bnb = pytest.importorskip("bitsandbytes")
    backend = opened(quantization=quantization(method=method), device="cpu")
    layer = backend._engine._base.model.model.layers[0].mlp.up_proj
    assert isinstance(layer, bnb.nn.Linear4bit if method == "bitsandbytes-4bit" else bnb.nn.Linear8bitLt)
    assert len({spoken(backend, runner, mixture) for mixture in ("base", "poet")}) == 2
    assert sum("MatMul8bitLt" in message for message in caplog.messages) <= 1


def quantization(**keys: Any) -> Any:
    return TypeAdapter[Any](Quantization).validate_python(keys)


@pytest.mark.parametrize(
    ("keys", "field", "value"),
    [
        ({"method": "bitsandbytes-4bit"}, "bnb_4bit_quant_type", "nf4"),
        ({"method": "bitsandbytes-4bit", "quant_type": "fp4"}, "bnb_4bit_quant_type", "fp4"),
        ({"method": "bitsandbytes-4bit", "double_quant": True}, "bnb_4bit_use_double_quant", True),
        ({"method": "bitsandbytes-4bit"}, "bnb_4bit_compute_dtype", torch.bfloat16),
        ({"method": "bitsandbytes-8bit", "threshold": 4.0}, "llm_int8_threshold", 4.0),
        ({"method": "bitsandbytes-8bit", "cpu_offload": True}, "llm_int8_enable_fp32_cpu_offload", True),
        ({"method": "gptq", "bits": 8}, "bits", 8),
        ({"method": "gptq", "kernel": "torch"}, "backend", "torch"),
        ({"method": "awq", "kernel": "machete"}, "backend", "machete"),
        ({"method": "gguf", "dequantize": True}, "dequantize", True),
        ({"method": "gguf"}, "dequantize", False),
    ],
)
def test_each_key_of_a_quantization_reaches_transformers(keys: dict[str, Any], field: str, value: Any) -> None:
    assert getattr(quantization(**keys).config(torch.bfloat16), field) == value


@pytest.mark.parametrize(
    "keys", [{"method": "exl2"}, {"method": "gguf", "bits": 4}, {"method": "bitsandbytes-8bit", "quant_type": "nf4"}]
)
def test_keys_of_another_method_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        quantization(**keys)
    options = default_registry().options("backend", "transformers")
    with pytest.raises(ValidationError):
        options.model_validate({"quantization": keys})


def test_the_yaml_has_every_option() -> None:
    given = {"quantization": {"method": "bitsandbytes-4bit"}, "device_map": {"model": 0}, "max_memory": {"0": "8GiB"}}
    made = default_registry().options("backend", "transformers").model_validate(given)
    assert Transformers(**{name: getattr(made, name) for name in given}).device_map == {"model": 0}


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"method": "bitsandbytes-4bit"}, r"'bitsandbytes' and 'accelerate': pip install bitsandbytes accelerate"),
        ({"method": "gptq"}, r"'gptqmodel' and 'optimum': pip install gptqmodel optimum"),
        ({"method": "awq"}, r"'gptqmodel' and 'accelerate': pip install gptqmodel accelerate"),
        ({"method": "gguf"}, r'pip install "kernels>=0.18.2,<0.19"'),
    ],
)
def test_a_missing_package_is_named_with_its_command(
    keys: dict[str, Any], words: str, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match=words):
        opened(quantization=quantization(**keys))


def test_packages_that_are_there_are_not_asked_for() -> None:
    require("this", {"json": "json", "torch": "torch"})


def test_accelerate_is_needed_for_a_device_map_alone(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        transformers_load.importlib.util, "find_spec", lambda name, *a: None if name == "accelerate" else real(name, *a)
    )
    with pytest.raises(MissingExtraError, match=r'accelerate.*pip install "scenepipe\[transformers\]"'):
        opened(device_map="auto")


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_a_checkpoints_own_method_needs_the_checkpoint(
    method: str, model: LocalModel, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformers_load, "require", lambda *given: None)
    with pytest.raises(BackendError, match="name its folder with 'weights'"):
        runner.run(Transformers(quantization=quantization(method=method)).open(model, []))


def test_a_quantised_checkpoint_asks_for_its_packages(folder: Path, opened: Open) -> None:
    if importlib.util.find_spec("gptqmodel") is not None:
        pytest.skip("gptqmodel is installed")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BackendError, match=r"quantised with gptq.*pip install gptqmodel optimum"):
        opened()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"context": 3, "parallel": 0}, r"context: 3 was given; the least is 64(.|\n)*parallel: 0"),
        ({"max_batch_tokens": 1}, "max_batch_tokens"),
        ({"threads": 0}, "threads"),
        ({"max_memory": {"cpu": "1GiB"}}, "max_memory: it is for device_map"),
        ({"offload_folder": "x"}, "offload_folder: it is for device_map"),
    ],
)
def test_options_outside_their_range_are_all_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Transformers(**options)


def test_no_model_and_no_open_are_named(runner: asyncio.Runner) -> None:
    with pytest.raises(BackendError, match="needs a model"):
        runner.run(Transformers().open(None, []))
    with pytest.raises(BackendError, match="not open"):
        runner.run(say(Transformers(), prompt="a"))
    with pytest.raises(BackendError, match="not open"):
        runner.run(Transformers().count("a"))


def test_a_folder_that_is_no_model_is_named(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"weights: .*has no config\.json"):
        opened(weights=str(tmp_path))


def test_weights_of_another_base_are_named(opened: Open, tiny_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(same_model, "facts", lambda model: SimpleNamespace(blocks=18, embedding=64))
    with pytest.raises(BackendError, match="have 2 layers and 'tiny' has 18: another base model"):
        opened()


def test_an_adapter_of_another_base_is_named(
    opened: Open, adapter: Adapter, monkeypatch: pytest.MonkeyPatch, model: LocalModel
) -> None:
    other = {f"{name}x": pair for name, pair in adapter.modules.items()}
    monkeypatch.setattr(backend_module, "_adapters", lambda *given: {"poet": Adapter(other, "1" * 64)})
    with pytest.raises(RegisterError, match="'poet' is for layers that this model has not"):
        opened()


def test_files_without_all_weights_are_named(opened: Open, folder: Path) -> None:
    import safetensors.torch

    path = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    tensors.pop("model.layers.1.mlp.up_proj.weight")
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(BackendError, match=r"lack 1 of the model's weights, such as model\.layers\.1\.mlp\.up_proj"):
        opened()


def test_pickled_and_damaged_weights_are_not_read(opened: Open, folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(BackendError, match="loading .*weights"):
        opened()
    path.rename(folder / "pytorch_model.bin")
    with pytest.raises(BackendError, match="loading .*weights"):
        opened()


def test_layers_with_another_kind_of_state_are_named(opened: Open, folder: Path) -> None:
    config = transformers.Qwen3NextConfig(
        vocab_size=160, hidden_size=64, num_hidden_layers=2, layer_types=["linear_attention", "full_attention"]
    )
    config.save_pretrained(folder)
    with pytest.raises(BackendError, match="'qwen3_next' has layers of kind linear_attention.*another backend"):
        opened()


def test_positions_that_turn_for_a_whole_batch_are_refused(opened: Open, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"] = {
        "rope_type": "dynamic",
        "rope_theta": 10000.0,
        "factor": 4.0,
        "original_max_position_embeddings": 128,
    }
    config["max_position_embeddings"] = 512
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BackendError, match="beyond 128 tokens.*set context to at most 128"):
        opened(context=256)
    assert opened(context=128)


# --- messages ---------------------------------------------------------------------------------------------------------


def test_a_chat_template_is_used(tiny_of: Any, tmp_path: Path, opened: Open, runner: asyncio.Runner) -> None:
    template = (
        "{{ bos_token }}{% for m in messages %} w7 {{ m.content }}{% if m.role == 'system' %}"
        "{{ raise_exception('no system here') }}{% endif %}{% endfor %}{% if add_generation_prompt %} w8{% endif %}"
    )
    folder = save(tmp_path / "chat", tiny_of("llama").model, chat_template=template)
    backend = opened(weights=str(folder))
    assert backend.capabilities.chat
    chunks = runner.run(collect(backend, messages=(Message(role="user", content="w5 w9"),), max_tokens=4, seed=1))
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens == 5, "<s> w7 w5 w9 w8"
    engine = backend._engine
    assert engine is not None
    assert engine.prompts.of(Request(messages=(Message(role="user", content="w5"),))) == [1, 10, 8, 11]
    with pytest.raises(BackendError, match="template refused these messages: no system here"):
        runner.run(say(backend, messages=(Message(role="system", content="w5"),)))
