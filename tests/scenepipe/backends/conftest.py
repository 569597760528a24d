"""Tiny random models of the families that users bring, with random registers beside them; seconds to make, no file."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from scenepipe.models.adapter import Adapter, LowRank
from scenepipe.models.catalogue import LocalModel
from scenepipe.register import Register, find_registers
from tests.scenepipe.backends.servers.vocabulary import NAMES

REGISTERS = Path(__file__).parents[3] / "registers"
VOCABULARY = 160
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
_MLP = ("gate_proj", "up_proj", "down_proj")
FAMILIES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "llama": ("Llama", {}, (*_ATTENTION, *_MLP)),
    "mistral": ("Mistral", {"sliding_window": 7}, (*_ATTENTION, *_MLP)),
    "qwen2": ("Qwen2", {}, (*_ATTENTION, *_MLP)),
    "qwen3": ("Qwen3", {"head_dim": 16}, (*_ATTENTION, *_MLP)),
    "gemma3": (
        "Gemma3",
        {"head_dim": 16, "sliding_window": 7, "layer_types": ["sliding_attention", "full_attention"]},
        (*_ATTENTION, *_MLP),
    ),
    "phi": ("Phi", {}, ("q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2")),
    "phi3": ("Phi3", {}, ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")),
    "gpt-oss": (
        "GptOss",
        {
            "head_dim": 16,
            "sliding_window": 7,
            "layer_types": ["sliding_attention", "full_attention"],
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
        },
        _ATTENTION,
    ),
}


@dataclass(frozen=True)
class Tiny:
    """A model in float32 and the names of its layers that registers are for."""

    model: Any
    targets: tuple[str, ...]

    def copy(self) -> Any:
        return copy.deepcopy(self.model)


def _make(family: str) -> Tiny:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    name, more, endings = FAMILIES[family]
    text = "Text" if name == "Gemma3" else ""
    torch.manual_seed(7)
    config = getattr(transformers, f"{name}{text}Config")(**{**_SIZES, **more})
    model = getattr(transformers, f"{name}ForCausalLM")(config).float().eval()
    for parameter in model.parameters():  # biases and sinks start at zero, and tiny weights say little
        parameter.data += torch.randn_like(parameter) * 0.05
    targets = tuple(n for n, layer in model.named_modules() if n.rpartition(".")[2] in endings)
    return Tiny(model, targets)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for a file's tests: an open backend belongs to the loop that opened it."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="session")
def shipped() -> list[Register]:
    """Two of the registers that come with scenepipe."""
    return list(find_registers(NAMES, [REGISTERS]).values())


@pytest.fixture
def tiny_gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], LocalModel]:
    """A model whose GGUF says that it is a tiny one with these tokens; the file is not there."""
    from scenepipe.backends import same_model

    def make(words: list[str]) -> LocalModel:
        header = SimpleNamespace(metadata={"tokenizer.ggml.tokens": [word.encode() for word in words]})
        monkeypatch.setattr(same_model, "facts", lambda model: SimpleNamespace(blocks=2, embedding=64))
        monkeypatch.setattr(same_model, "read_header", lambda path: header)
        return LocalModel("tiny", tmp_path / "tiny.gguf", "0" * 64, None, "0" * 64)

    return make


@pytest.fixture(scope="session")
def tiny_of() -> Callable[[str], Tiny]:
    """A tiny model by family; each call makes a new one."""
    return _make


@pytest.fixture(params=sorted(FAMILIES))
def tiny(request: pytest.FixtureRequest) -> Tiny:
    """A tiny model of each family in turn."""
    return _make(request.param)


def random_adapter(tiny: Tiny, *, rank: int, seed: int, layers: int | None = None) -> Adapter:
    """A register that changes what the model says; for the first ``layers`` target layers alone, if given."""
    random = np.random.default_rng(seed)
    modules = {}
    for name in tiny.targets[:layers]:
        layer = tiny.model.get_submodule(name)
        a = random.normal(0, 0.3, (rank, layer.in_features)).astype(np.float32)
        b = random.normal(0, 0.3, (layer.out_features, rank)).astype(np.float32)
        modules[name] = LowRank(a, b)
    return Adapter(modules, f"{seed:064x}")


@pytest.fixture(scope="session")
def make_adapter() -> Callable[..., Adapter]:
    return random_adapter


@pytest.fixture
def registers(tiny: Tiny) -> dict[str, Adapter]:
    """Three registers of different ranks; the last is for a few layers alone."""
    return {
        "poet": random_adapter(tiny, rank=4, seed=1),
        "logician": random_adapter(tiny, rank=3, seed=2),
        "sailor": random_adapter(tiny, rank=2, seed=3, layers=3),
    }
