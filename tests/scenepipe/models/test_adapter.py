from __future__ import annotations

import json
import math
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from scenepipe.errors import RegisterError
from scenepipe.models import adapter as adapter_module
from scenepipe.models.adapter import Adapter, LowRank, adapter_sha256, compose, load_adapter

Make = Callable[..., Path]
Q, K, UP = "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj", "model.layers.1.mlp.up_proj"
WEIGHTS = "adapter_model.safetensors"


def raw(folder: Path, module: str) -> tuple[Any, Any]:
    tensors = load_file(folder / WEIGHTS)
    return tensors[f"base_model.model.{module}.lora_A.weight"], tensors[f"base_model.model.{module}.lora_B.weight"]


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Change the tensors of a folder."""
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)
    return folder


# --- scaling -------------------------------------------------------------------------------------------------------------


def test_scaling_is_folded_into_b(adapter_folder: Make) -> None:
    folder = adapter_folder()
    found, (a, b) = load_adapter(folder), raw(folder, Q)
    assert np.array_equal(found.modules[Q].a, a)
    assert np.array_equal(found.modules[Q].b, b * np.float32(2.0)), "alpha 8 over rank 4"
    assert found.sha256 == adapter_sha256(folder)
    assert list(found.modules) == sorted(found.modules)
    assert (found.rank, found.parameters, found.zero) == (
        4,
        sum(m.a.size + m.b.size for m in found.modules.values()),
        False,
    )


def test_rslora_scales_by_the_root_of_the_rank(adapter_folder: Make) -> None:
    folder = adapter_folder(use_rslora=True)
    assert np.allclose(load_adapter(folder).modules[Q].b, raw(folder, Q)[1] * (8 / math.sqrt(4)))


def test_rank_and_alpha_patterns_are_resolved(adapter_folder: Make) -> None:
    folder = adapter_folder(
        ranks={K: 2, UP: 8},
        rank_pattern={"k_proj": 2, r"layers\.\d+\.mlp\.up_proj": 8},
        alpha_pattern={"up_proj": 4, "^model.layers.0.self_attn.k_proj": 1},
    )
    found = load_adapter(folder)
    for module, scaling in ((Q, 8 / 4), (K, 1 / 2), (UP, 4 / 8)):
        assert np.allclose(found.modules[module].b, raw(folder, module)[1] * scaling)


def test_patterns_are_read_as_peft_reads_them(adapter_folder: Make, tmp_path: Path) -> None:
    peft_names = pytest.importorskip("peft.utils.other")
    from scenepipe.models.adapter_config import read_config

    patterns = {"q_proj": 3, "layers.0.self_attn.k_proj": 5, r"model\.layers\.\d+\.mlp\.(up|down)_proj": 7, "proj": 9}
    config = read_config(adapter_folder(alpha_pattern=patterns) / "adapter_config.json")
    for module in (Q, K, UP, "model.layers.3.mlp.down_proj", "model.layers.3.mlp.gate_proj", "x.proj"):
        key = peft_names.get_pattern_key(list(patterns), module)
        assert config.scaling(module) == patterns.get(key, 8) / 4


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_types_are_read(adapter_folder: Make, dtype: Any) -> None:
    folder = adapter_folder()
    a, _ = raw(folder, Q)
    edit(folder, lambda tensors: tensors.update({k: v.astype(dtype) for k, v in tensors.items()}))
    found = load_adapter(folder).modules[Q].a
    assert found.dtype == np.float32
    assert np.array_equal(found, a.astype(dtype).astype(np.float32))


def test_bfloat16_is_read(adapter_folder: Make) -> None:
    folder = adapter_folder()
    a = (raw(folder, Q)[0].view(np.uint32) >> 16 << 16).view(np.float32)
    data: dict[str, tuple[str, tuple[int, ...], bytes]] = {}
    for name, values in load_file(folder / WEIGHTS).items():
        data[name] = ("BF16", values.shape, (values.view(np.uint32) >> 16).astype("<u2").tobytes())
    (folder / WEIGHTS).write_bytes(safetensors_bytes(data))
    assert np.array_equal(load_adapter(folder).modules[Q].a, a)


def safetensors_bytes(tensors: dict[str, tuple[str, tuple[int, ...], bytes]]) -> bytes:
    header, body = {}, b""
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    head = json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head + body


# --- refused -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'; only LORA"),
        ({"use_dora": True}, "use_dora: DoRA cannot be expressed"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"lora_bias": True}, "lora_bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save: full weights"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices: embeddings"),
        ({"target_parameters": ["x"]}, "target_parameters"),
        ({"layer_replication": [[0, 1]]}, "layer_replication"),
        ({"alora_invocation_tokens": [1, 2]}, "alora_invocation_tokens"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights 'pissa_niter_4' changes the base"),
        ({"use_something_new": {"a": 1}}, "use_something_new: not known here"),
        ({"r": 0}, "r is 0; a whole number"),
        ({"r": True}, "r is True"),
        ({"lora_alpha": "8"}, "lora_alpha is '8'"),
        ({"lora_alpha": float("nan")}, "lora_alpha is nan"),
        ({"rank_pattern": {"q_proj": 0.5}}, "rank_pattern must map"),
        ({"alpha_pattern": {"(a*)*b": 1}}, "is not a simple module pattern"),
        ({"alpha_pattern": {"(a": 1}}, "is not a simple module pattern"),
        ({"alpha_pattern": {"(" * 400: 1}}, "is not a simple module pattern"),
    ],
)
def test_settings_that_cannot_be_kept_are_refused(adapter_folder: Make, config: dict[str, Any], said: str) -> None:
    with pytest.raises(RegisterError) as caught:
        load_adapter(adapter_folder(**config))
    assert said in str(caught.value)
    assert "adapter_config.json" in str(caught.value)


def test_all_settings_are_named_at_once(adapter_folder: Make) -> None:
    with pytest.raises(RegisterError) as caught:
        load_adapter(adapter_folder(use_dora=True, bias="all", r=-1))
    assert all(word in str(caught.value) for word in ("use_dora", "bias is 'all'", "r is -1"))


def test_settings_of_training_alone_are_no_reason_to_refuse(adapter_folder: Make) -> None:
    plain = {
        "task_type": "CAUSAL_LM",
        "lora_dropout": 0.1,
        "inference_mode": True,
        "init_lora_weights": "gaussian",
        "auto_mapping": {"base_model_class": "X", "parent_library": "evil"},
        "layers_to_transform": [0, 1],
        "use_dora": False,
        "modules_to_save": None,
        "loftq_config": {},
        "some_future_switch": False,
    }
    assert load_adapter(adapter_folder(**plain)).rank == 4


@pytest.mark.parametrize("name", ["adapter_model.bin", "weights.pt", "x.PKL", "a.ckpt", "b.pth"])
def test_pickled_weights_are_refused_and_never_opened(adapter_folder: Make, tmp_path: Path, name: str) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "run"),)

    folder = adapter_folder()
    (folder / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(RegisterError, match=f"holds {name}: pickled weights can run code"):
        load_adapter(folder)
    assert not (tmp_path / "run").exists()


def test_a_pickle_under_the_name_of_safetensors_is_refused(adapter_folder: Make) -> None:
    folder = adapter_folder()
    (folder / WEIGHTS).write_bytes(pickle.dumps({"a": np.ones(3)}))
    with pytest.raises(RegisterError, match="is not a safetensors file"):
        load_adapter(folder)


@pytest.mark.parametrize("name", [WEIGHTS, "adapter_config.json"])
def test_links_and_missing_files_are_refused(adapter_folder: Make, name: str) -> None:
    folder = adapter_folder()
    (folder / name).rename(folder.parent / "elsewhere")
    with pytest.raises(RegisterError, match=f"{name} is missing"):
        load_adapter(folder)
    (folder / name).symlink_to(folder.parent / "elsewhere")
    with pytest.raises(RegisterError, match=f"{name} is a symbolic link"):
        load_adapter(folder)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RegisterError, match="is not a folder"):
        load_adapter(tmp_path / "absent")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("base_model.model.model.embed_tokens.weight", "embeddings cannot be part"),
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector", "DoRA"),
        ("base_model.model.model.embed_tokens.lora_embedding_A", "embeddings cannot be part"),
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias", "biases are not kept"),
        ("base_model.model.lm_head.weight", "only the LoRA halves"),
        ("../../etc/passwd", "only the LoRA halves"),
    ],
)
def test_other_weights_are_refused_by_name(adapter_folder: Make, name: str, said: str) -> None:
    folder = edit(adapter_folder(), lambda tensors: tensors.update({name: np.ones((2, 2), np.float32)}))
    with pytest.raises(RegisterError, match=said) as caught:
        load_adapter(folder)
    assert name in str(caught.value)


@pytest.mark.parametrize(("half", "other"), [("A", "B"), ("B", "A")])
def test_a_half_without_its_other_is_refused(adapter_folder: Make, half: str, other: str) -> None:
    folder = edit(adapter_folder(), lambda tensors: tensors.pop(f"base_model.model.{K}.lora_{half}.weight"))
    with pytest.raises(RegisterError, match=f"'{K}' has lora_{other} and no lora_{half}"):
        load_adapter(folder)


@pytest.mark.parametrize(
    ("shape", "said"),
    [((3, 16), "rank 4"), ((16, 4), "rank 4"), ((4, 16, 1), "a matrix of"), ((4,), "a matrix of")],
)
def test_wrong_shapes_are_refused(adapter_folder: Make, shape: tuple[int, ...], said: str) -> None:
    key = f"base_model.model.{Q}.lora_A.weight"
    folder = edit(adapter_folder(), lambda tensors: tensors.update({key: np.ones(shape, np.float32)}))
    with pytest.raises(RegisterError, match=said):
        load_adapter(folder)


def test_integers_are_no_weights(adapter_folder: Make) -> None:
    key = f"base_model.model.{Q}.lora_A.weight"
    folder = edit(adapter_folder(), lambda tensors: tensors.update({key: np.ones((4, 16), np.int8)}))
    with pytest.raises(RegisterError, match="I8 of shape"):
        load_adapter(folder)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(adapter_folder: Make, value: float) -> None:
    def spoil(tensors: dict[str, Any]) -> None:
        tensors[f"base_model.model.{UP}.lora_B.weight"][0, 0] = value

    with pytest.raises(RegisterError, match="not finite numbers"):
        load_adapter(edit(adapter_folder(), spoil))


def test_values_that_only_scaling_breaks_are_refused(adapter_folder: Make) -> None:
    def spoil(tensors: dict[str, Any]) -> None:
        tensors[f"base_model.model.{UP}.lora_B.weight"][0, 0] = 3e38

    with pytest.raises(RegisterError, match="not finite after scaling by 2"):
        load_adapter(edit(adapter_folder(), spoil))


def test_absurd_sizes_are_refused_before_they_are_read(adapter_folder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = adapter_folder()
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", 1 << 40) + b"{}")
    with pytest.raises(RegisterError, match=f"its header would have {1 << 40} of 10 bytes"):
        load_adapter(folder)
    monkeypatch.setattr(adapter_module, "LARGEST_FILE", 5)
    with pytest.raises(RegisterError, match="has 10 bytes; an adapter has at most 5"):
        load_adapter(folder)
    (folder / "adapter_config.json").write_text('{"a": "' + "x" * (1 << 20) + '"}')
    with pytest.raises(RegisterError, match="at most 1048576 are read"):
        load_adapter(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", '"LORA"', "[" * 200_000, "\xff"])
def test_a_config_that_is_no_json_object_is_refused(adapter_folder: Make, text: str) -> None:
    folder = adapter_folder()
    (folder / "adapter_config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(RegisterError, match=r"adapter_config\.json"):
        load_adapter(folder)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_whole(adapter_folder: Make, tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "adapter"
    whole = (tmp_path / "whole").read_bytes() if folder.exists() else (adapter_folder() / WEIGHTS).read_bytes()
    (tmp_path / "whole").write_bytes(whole)
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 3)) if damaged else 0):
        damaged[data.draw(st.integers(0, min(len(damaged), 900) - 1))] = data.draw(st.integers(0, 255))
    (folder / WEIGHTS).write_bytes(damaged)
    try:
        found = load_adapter(folder)
    except RegisterError as error:
        assert str(folder) in str(error)
    else:
        assert all(np.isfinite(pair.b).all() and np.isfinite(pair.a).all() for pair in found.modules.values())


keys = st.sampled_from(
    ["peft_type", "r", "lora_alpha", "bias", "use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "x"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(changes=st.dictionaries(keys, values, max_size=4))
def test_any_config_is_read_or_refused(adapter_folder: Make, tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = tmp_path / "adapter" if (tmp_path / "adapter").exists() else adapter_folder()
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, **changes}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    try:
        load_adapter(folder)
    except RegisterError as error:
        assert str(folder) in str(error)


# --- compose -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [(0.6, 0.4), (1.0, 1e-3), (0.25, 0.0), (0.5, -0.5)])
def test_a_composed_adapter_is_the_weighted_sum(adapter_folder: Make, weights: tuple[float, float]) -> None:
    ranks = {Q: 2}
    parts = [
        load_adapter(adapter_folder("one", seed=1)),
        load_adapter(adapter_folder("two", seed=2, ranks=ranks, rank_pattern={"q_proj": 2})),
    ]
    found = compose(parts, weights)
    for module, pair in found.modules.items():
        exact = sum(w * p.modules[module].delta.astype(np.float64) for p, w in zip(parts, weights, strict=True))
        assert np.abs(pair.delta - exact).max() <= 1e-6 * max(1.0, np.abs(exact).max())


def test_composing_is_named_by_parts_and_weights(adapter_folder: Make) -> None:
    one, two = load_adapter(adapter_folder("one", seed=1)), load_adapter(adapter_folder("two", seed=2))
    hashes = {compose([one, two], w).sha256 for w in ((0.5, 0.5), (0.6, 0.4), (1.0, 0.0))}
    assert len(hashes) == 3
    assert compose([one, two], (0.6, 0.4)).sha256 == compose([one, two], (0.6, 0.4)).sha256


def test_a_module_of_one_adapter_alone_keeps_its_weight(adapter_folder: Make) -> None:
    whole = load_adapter(adapter_folder("one", seed=1))
    only_q = Adapter({Q: whole.modules[Q]}, "q")
    found = compose([whole, only_q], (0.5, 0.25))
    assert found.modules[K].rank == 4
    assert np.allclose(found.modules[Q].delta, 0.75 * whole.modules[Q].delta, atol=1e-5)


def test_what_cannot_be_composed_is_refused(adapter_folder: Make) -> None:
    one = load_adapter(adapter_folder("one"))
    other = Adapter({Q: LowRank(np.ones((2, 8), np.float32), np.ones((8, 2), np.float32))}, "other")
    for adapters, weights, said in (
        ([], [], "nothing to compose"),
        ([one], [0.0], "nothing to compose"),
        ([one], [math.nan], "one finite weight each"),
        ([one], [0.5, 0.5], "one finite weight each"),
        ([one, other], [0.5, 0.5], "different base models"),
    ):
        with pytest.raises(RegisterError, match=said):
            compose(adapters, weights)
