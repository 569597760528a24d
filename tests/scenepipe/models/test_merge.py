"""A merged model is the base with the adapter's updates added."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers
from safetensors.numpy import save_file

from scenepipe.errors import RegisterError
from scenepipe.models import merge
from scenepipe.models.catalogue import LocalModel

TOKENS = (1, 5, 9, 2)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalModel:
    """A tiny random Gemma whose Transformers folder is given as the dequantised one."""
    torch.manual_seed(0)
    config = transformers.Gemma3TextConfig(
        vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, sliding_window=8,
    )  # fmt: skip
    folder = tmp_path / "base"
    transformers.Gemma3ForCausalLM(config).save_pretrained(folder)
    monkeypatch.setattr(merge, "safetensors_of", lambda model: folder)
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda folder: _NoTokenizer())
    return LocalModel("tiny", tmp_path / "tiny.gguf", "0" * 64, None, "0" * 64)


class _NoTokenizer:
    def save_pretrained(self, folder: Path) -> None:
        (folder / "tokenizer.json").write_text("{}")


def adapter(folder: Path, module: str = "model.layers.1.self_attn.q_proj", out: int = 16, inner: int = 16) -> Path:
    folder.mkdir()
    draw = np.random.default_rng(1)
    key = f"base_model.model.{module}"
    halves = {
        f"{key}.lora_A.weight": draw.normal(size=(2, inner)).astype(np.float32),
        f"{key}.lora_B.weight": draw.normal(size=(out, 2)).astype(np.float32),
    }
    save_file(halves, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4}))
    return folder


def logits(folder: Path, added: np.ndarray | None = None) -> np.ndarray:
    loaded = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if added is not None:
        with torch.no_grad():
            loaded.model.layers[1].self_attn.q_proj.weight += torch.from_numpy(added)
    with torch.no_grad():
        return np.asarray(loaded(torch.tensor([TOKENS])).logits)


def test_merged_is_base_plus_update(model: LocalModel, tmp_path: Path) -> None:
    place = adapter(tmp_path / "adapter")
    merge.write_merged(model, place, tmp_path / "out" / "merged", dtype="float32")
    from scenepipe.models.adapter import load_adapter

    (pair,) = load_adapter(place).modules.values()
    base, merged = logits(tmp_path / "base"), logits(tmp_path / "out" / "merged")
    assert np.abs(merged - logits(tmp_path / "base", pair.delta)).max() < 1e-5
    assert np.abs(merged - base).max() > 1e-3


def test_what_cannot_be_merged_is_named_and_leaves_nothing(model: LocalModel, tmp_path: Path) -> None:
    target = tmp_path / "merged"
    for module, out, inner, said in (
        ("model.layers.7.self_attn.q_proj", 16, 16, "layers.7.self_attn.q_proj, which the base does not have"),
        ("lm_head", 32, 16, "lm_head shares its weights with the embeddings"),
    ):
        with pytest.raises(RegisterError, match=said):
            merge.write_merged(model, adapter(tmp_path / module, module, out, inner), target)
    assert not target.exists()
    target.mkdir()
    with pytest.raises(RegisterError, match="never overwritten"):
        merge.write_merged(model, adapter(tmp_path / "fine"), target)
