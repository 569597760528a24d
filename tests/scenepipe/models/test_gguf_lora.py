from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import httpx
import numpy as np
import pytest

from scenepipe.errors import RegisterError
from scenepipe.models import fetch, gguf_lora
from scenepipe.models.adapter import Adapter, LowRank, load_adapter
from scenepipe.models.catalogue import LocalModel
from scenepipe.models.gguf_header import read_header
from scenepipe.models.gguf_lora import gguf_adapter, write_gguf_lora
from scenepipe.models.vocabulary import ModelFacts, facts, facts_of
from scenepipe.prompt import PROMPT_VERSION
from scenepipe.register import Register

Make = Callable[..., Path]
Q, K, UP = "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj", "model.layers.1.mlp.up_proj"
NAMES = {Q: "blk.0.attn_q", K: "blk.0.attn_k", UP: "blk.1.ffn_up"}


def facts_for(tiny_gguf: Make, arch: str) -> ModelFacts:
    return facts_of(read_header(tiny_gguf(f"{arch}.gguf", arch=arch)))


def effects(path: Path) -> dict[str, Any]:
    """Per tensor, the update as llama.cpp applies it: alpha / r * B @ A, r from the tensor's own shape."""
    reader = gguf.GGUFReader(path)
    alpha = reader.fields["adapter.lora.alpha"].contents()
    tensors = {t.name: np.array(t.data, np.float32) for t in reader.tensors}
    out = {}
    for name in {n.rpartition(".")[0] for n in tensors}:
        a, b = tensors[f"{name}.lora_a"], tensors[f"{name}.lora_b"]
        out[name.removesuffix(".weight")] = alpha / b.shape[1] * (b @ a)
    return out


def test_the_header_is_that_of_a_lora(adapter_folder: Make, tiny_gguf: Make, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    write_gguf_lora(load_adapter(adapter_folder()), facts_for(tiny_gguf, "gemma3"), path)
    found = read_header(path).metadata
    assert {k: found[k] for k in ("general.architecture", "general.type", "adapter.type", "adapter.lora.alpha")} == {
        "general.architecture": "gemma3",
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": 4.0,
    }


@pytest.mark.parametrize("arch", ["gemma3", "qwen2", "qwen3"])
def test_modules_of_different_ranks_keep_their_exact_effect(
    adapter_folder: Make, tiny_gguf: Make, tmp_path: Path, arch: str
) -> None:
    adapter = load_adapter(adapter_folder(ranks={K: 3, UP: 5}, rank_pattern={"k_proj": 3, "up_proj": 5}))
    path = tmp_path / "a.gguf"
    write_gguf_lora(adapter, facts_for(tiny_gguf, arch), path)
    found = effects(path)
    assert found.keys() == set(NAMES.values())
    for module, name in NAMES.items():
        assert np.allclose(found[name], adapter.modules[module].delta, atol=1e-5)


def test_llama_rows_of_q_and_k_are_permuted(adapter_folder: Make, tiny_gguf: Make, tmp_path: Path) -> None:
    adapter, base = load_adapter(adapter_folder()), facts_for(tiny_gguf, "llama")
    path = tmp_path / "a.gguf"
    write_gguf_lora(adapter, base, path)
    found = effects(path)
    assert np.allclose(found["blk.1.ffn_up"], adapter.modules[UP].delta, atol=1e-5)
    for module, heads in ((Q, base.heads), (K, base.kv_heads)):
        delta = adapter.modules[module].delta
        size = delta.shape[0] // heads
        for row in range(delta.shape[0]):  # row i of a head goes to 2i, row i of its second half to 2i + 1
            head, place = divmod(row, size)
            to = head * size + (2 * place if place < size // 2 else 2 * (place - size // 2) + 1)
            assert np.allclose(found[NAMES[module]][to], delta[row], atol=1e-5)
        assert not np.allclose(found[NAMES[module]], delta, atol=1e-3)


def test_float16_halves_the_file(adapter_folder: Make, tiny_gguf: Make, tmp_path: Path) -> None:
    adapter, base = load_adapter(adapter_folder()), facts_for(tiny_gguf, "gemma3")
    write_gguf_lora(adapter, base, tmp_path / "16.gguf", dtype="float16")
    write_gguf_lora(adapter, base, tmp_path / "32.gguf")
    sizes = [sum(t.n_bytes for t in gguf.GGUFReader(tmp_path / f"{n}.gguf").tensors) for n in (16, 32)]
    assert sizes[0] * 2 == sizes[1]
    for name, delta in effects(tmp_path / "16.gguf").items():
        assert np.allclose(delta, effects(tmp_path / "32.gguf")[name], rtol=1e-2, atol=5e-2)


def test_values_beyond_float16_are_refused_by_name(adapter_folder: Make, tiny_gguf: Make, tmp_path: Path) -> None:
    pair = load_adapter(adapter_folder()).modules[UP]
    big = Adapter({UP: LowRank(pair.a, pair.b * np.float32(1e6))}, "big")
    with pytest.raises(RegisterError, match="'blk.1.ffn_up.weight' has values beyond 65504; write it as float32"):
        write_gguf_lora(big, facts_for(tiny_gguf, "gemma3"), tmp_path / "a.gguf", dtype="float16")
    assert not list(tmp_path.glob("*a.gguf*")), "nothing half-written is left"


def test_another_base_is_refused_by_name(adapter_folder: Make, tiny_gguf: Make, tmp_path: Path) -> None:
    adapter, base = load_adapter(adapter_folder()), facts_for(tiny_gguf, "gemma3")
    for change, said in (
        ({"architecture": "mamba"}, "architecture 'mamba' cannot be written as GGUF; .*possible: gemma"),
        ({"blocks": 1}, r"has no layer 'model\.layers\.1\.mlp\.up_proj'"),
        ({"shapes": {**base.shapes, "blk.0.attn_q.weight": (16, 8)}}, r"is \(16, 16\), the base has \(16, 8\)"),
    ):
        with pytest.raises(RegisterError, match=said):
            write_gguf_lora(adapter, base.model_copy(update=change), tmp_path / "a.gguf")


def register_of(folder: Path, model: LocalModel, sha256: str) -> Register:
    """A register whose one adapter is ``folder``/adapters/<model>, with a receipt for that model."""
    where = folder / "adapters" / model.id
    receipt = {
        "receipt": 1,
        "model": model.id,
        "prompt_version": PROMPT_VERSION,
        "base": {"sha256": model.sha256, "tokenizer_sha256": model.tokenizer_sha256},
        "adapter_sha256": sha256,
        "data_sha256": "0" * 64,
    }
    (where / "receipt.json").write_text(json.dumps(receipt))
    both = {"ru": "р", "en": "r"}
    return Register("r", folder, both, both, "ρ", "🙂", "CC0-1.0", {model.id: where})


def test_a_registers_adapter_is_written_once(
    adapter_folder: Make, tiny_gguf: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    model = fetch.local(str(tiny_gguf()))
    assert model is not None
    sha256 = load_adapter(adapter_folder(f"r/adapters/{model.id}")).sha256
    register = register_of(tmp_path / "r", model, sha256)
    path = gguf_adapter(register, model)
    assert path.parent == cache / "adapters"
    assert path.name.startswith(f"{sha256}-{model.sha256}")
    monkeypatch.setattr(gguf_lora, "write_gguf_lora", lambda *given: pytest.fail("written again"))
    assert gguf_adapter(register, model) == path


# --- against llama.cpp ---------------------------------------------------------------------------------------------------

PROMPT = "Сцена: Почему я не чувствую шаг в себе?\nОтвет:"


def random_adapter(base: ModelFacts, strength: float) -> Adapter:
    """Every q, v and down projection of the default model, of three ranks."""
    rng, modules = np.random.default_rng(3), {}
    targets = {"self_attn.q_proj": ("attn_q", 2), "self_attn.v_proj": ("attn_v", 3), "mlp.down_proj": ("ffn_down", 4)}
    for block in range(base.blocks):
        for name, (tensor, rank) in targets.items():
            out, inside = base.shapes[f"blk.{block}.{tensor}.weight"]
            a, b = rng.normal(size=(rank, inside)) * 0.05, rng.normal(size=(out, rank)) * 0.05 * strength
            modules[f"model.layers.{block}.{name}"] = LowRank(a.astype(np.float32), b.astype(np.float32))
    return Adapter(modules, "random")


@pytest.mark.model
def test_llama_cpp_applies_it_at_its_scale(local_model: LocalModel, tmp_path: Path) -> None:
    import xllamacpp

    path = tmp_path / "random.gguf"
    write_gguf_lora(random_adapter(facts(local_model), 4.0), facts(local_model), path)
    params = xllamacpp.CommonParams()
    params.model.path = str(local_model.gguf)
    params.n_ctx, params.n_parallel, params.warmup, params.verbosity, params.ui = 512, 1, False, -1, False
    params.cache_ram_mib, params.cpuparams.n_threads = 0, 1
    params.api_keys, params.hostnames, params.port = ["key"], ["127.0.0.1"], 0
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(path), 0.0)]
    server = xllamacpp.Server(params)
    with httpx.Client(base_url=server.listening_address, headers={"Authorization": "Bearer key"}, timeout=60) as client:

        def next_token(scale: float) -> dict[int, float]:
            body = {"prompt": PROMPT, "n_predict": 1, "n_probs": 20, "temperature": 0, "cache_prompt": False}
            answer = client.post("/completion", json={**body, "lora": [{"id": 0, "scale": scale}]}).json()
            return {t["id"]: t["logprob"] for t in answer["completion_probabilities"][0]["top_logprobs"]}

        base, again, spoken = next_token(0.0), next_token(0.0), next_token(1.0)
    del server
    assert base == again
    assert max(abs(spoken.get(token, -30.0) - logprob) for token, logprob in base.items()) > 0.5
