from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scenepipe.errors import MissingExtraError, ModelError
from scenepipe.models import dequantise, store
from scenepipe.models.catalogue import LocalModel
from scenepipe.models.dequantise import safetensors_of


def test_a_missing_package_names_the_extra(tiny_gguf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = LocalModel("tiny", tiny_gguf(), "0" * 64, None, "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "scenepipe\[transformers\]"'):
        safetensors_of(model)


def test_what_was_made_once_is_kept(cache: Path, monkeypatch: pytest.MonkeyPatch, tiny_gguf: Any) -> None:
    made: list[Path] = []

    def convert(model: LocalModel, folder: Path) -> None:
        assert os.environ["HF_HUB_OFFLINE"] == "1"
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        made.append(folder)

    monkeypatch.setattr(dequantise, "_convert", convert)
    model = LocalModel("tiny", tiny_gguf(), "0" * 64, None, "")
    folder = safetensors_of(model)
    assert folder == cache / "derived" / ("0" * 64) / dequantise.FOLDER
    assert safetensors_of(model) == folder
    assert len(made) == 1
    assert not made[0].exists(), "it was built under another name"
    assert "HF_HUB_OFFLINE" not in os.environ


def test_a_break_leaves_nothing_behind(cache: Path, monkeypatch: pytest.MonkeyPatch, tiny_gguf: Any) -> None:
    def convert(model: LocalModel, folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        raise ModelError("broke")

    monkeypatch.setattr(dequantise, "_convert", convert)
    with pytest.raises(ModelError, match="broke"):
        safetensors_of(LocalModel("tiny", tiny_gguf(), "0" * 64, None, ""))
    assert list((cache / "derived" / ("0" * 64)).iterdir()) == []


def test_space_is_checked_first(monkeypatch: pytest.MonkeyPatch, tiny_gguf: Any) -> None:
    full = store.shutil.disk_usage("/")._replace(free=0)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: full)
    with pytest.raises(ModelError, match="0 MB are free"):
        safetensors_of(LocalModel("tiny", tiny_gguf(), "0" * 64, None, ""))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_values_are_those_of_the_gguf(tmp_path: Path) -> None:
    """A quantised llama of one block: what Transformers loads is what the gguf package dequantises."""
    gguf = pytest.importorskip("gguf")
    pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    path = write_quantised_llama(tmp_path / "q.gguf", gguf)
    folder = safetensors_of(LocalModel("q", path, "1" * 64, None, ""))
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config
    found = load_file(folder / "model.safetensors")
    expected = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}
    down = torch.from_numpy(expected["blk.0.ffn_down.weight"]).to(torch.bfloat16)
    assert torch.equal(found["model.layers.0.mlp.down_proj.weight"], down)
    assert (folder / "tokenizer.json").is_file()


def write_quantised_llama(path: Path, gguf: Any) -> Path:
    """A whole llama of 32 dimensions and one block, Q8_0."""
    rng = np.random.default_rng(0)
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{n:02X}>" for n in range(256)), "▁", "a", "▁a"]
    writer = gguf.GGUFWriter(path, "llama")
    for add, value in (
        (writer.add_block_count, 1),
        (writer.add_embedding_length, 32),
        (writer.add_feed_forward_length, 64),
        (writer.add_context_length, 64),
        (writer.add_head_count, 2),
        (writer.add_head_count_kv, 2),
        (writer.add_layer_norm_rms_eps, 1e-5),
        (writer.add_rope_freq_base, 10000.0),
        (writer.add_vocab_size, len(tokens)),
        (writer.add_tokenizer_model, "llama"),
        (writer.add_token_list, tokens),
        (writer.add_token_scores, [-float(n) for n in range(len(tokens))]),
        (writer.add_token_types, [2, 3, 3, *[6] * 256, 1, 1, 1]),
        (writer.add_bos_token_id, 1),
        (writer.add_eos_token_id, 2),
        (writer.add_unk_token_id, 0),
    ):
        add(value)
    shapes = {f"attn_{n}": (32, 32) for n in ("q", "k", "v", "output")}
    shapes |= {"ffn_up": (64, 32), "ffn_gate": (64, 32), "ffn_down": (32, 64)}
    named = {f"blk.0.{name}.weight": shape for name, shape in shapes.items()}
    for name, shape in {**named, "token_embd.weight": (len(tokens), 32), "output.weight": (len(tokens), 32)}.items():
        values = gguf.quants.quantize(rng.normal(size=shape).astype(np.float32), gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(name, values, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    for name in ("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"):
        writer.add_tensor(name, np.ones(32, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
