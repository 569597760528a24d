"""Every option of the llama-cpp backend reaches the engine, and the engine is always started closed and silent."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scenepipe.backends.llama_cpp import LlamaCpp
from scenepipe.backends.llama_engine import common_params, has_chat_template, import_engine
from scenepipe.errors import ConfigError

xllamacpp = import_engine()


def params(adapters: tuple[str, ...] = (), **options: Any) -> Any:
    return common_params(LlamaCpp(**options).options, "model.gguf", adapters, "the key")


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ({"context": 512, "parallel": 3}, "n_ctx", 1536),
        ({"parallel": 3}, "n_parallel", 3),
        ({"gpu_layers": 7}, "n_gpu_layers", 7),
        ({"gpu_layers": -1}, "n_gpu_layers", -1),
        ({"main_gpu": 1}, "main_gpu", 1),
        ({"batch": 96}, "n_batch", 96),
        ({"ubatch": 64}, "n_ubatch", 64),
        ({"batch": 48, "ubatch": 64}, "n_ubatch", 48),
        ({"flash_attention": "auto"}, "flash_attn_type", xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_AUTO),
        ({"flash_attention": "on"}, "flash_attn_type", xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED),
        ({"flash_attention": "off"}, "flash_attn_type", xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED),
        ({"kv_type": "q8_0"}, "cache_type_k", xllamacpp.ggml_type.GGML_TYPE_Q8_0),
        ({"kv_type": "q8_0"}, "cache_type_v", xllamacpp.ggml_type.GGML_TYPE_Q8_0),
        ({"kv_type": "bf16"}, "cache_type_k", xllamacpp.ggml_type.GGML_TYPE_BF16),
        ({"mmap": True}, "load_mode", xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_MMAP),
        ({"mmap": False}, "load_mode", xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE),
        ({"mlock": True}, "load_mode", xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_MMAP_MLOCK),
        ({"mmap": False, "mlock": True}, "load_mode", xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_MLOCK),
        ({"swa_full": False}, "swa_full", False),
        ({}, "swa_full", True),
    ],
)
def test_each_option_reaches_the_engine(options: dict[str, Any], field: str, value: Any) -> None:
    assert getattr(params(**options), field) == value


def test_every_kv_type_is_one_the_engine_knows() -> None:
    for kv_type in ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"):
        assert params(kv_type=kv_type).cache_type_k == getattr(xllamacpp.ggml_type, f"GGML_TYPE_{kv_type.upper()}")


def test_threads_reach_the_engine_and_none_leaves_them_to_it() -> None:
    assert params(threads=3).cpuparams.n_threads == 3
    assert params().cpuparams.n_threads == xllamacpp.CommonParams().cpuparams.n_threads


def test_tensor_split_reaches_the_engine() -> None:
    assert list(params(tensor_split=[0.75, 0.25]).tensor_split)[:3] == [0.75, 0.25, 0.0]


def test_mixture_wait_reaches_the_scheduler() -> None:
    assert LlamaCpp(mixture_wait_s=0.5)._slots.wait_s == 0.5


def test_adapters_start_without_effect_and_in_order() -> None:
    started = params(("a.gguf", "b.gguf"))
    assert [adapter.path for adapter in started.lora_adapters] == ["a.gguf", "b.gguf"]
    assert started.lora_init_without_apply


def test_the_port_is_local_and_locked_and_the_rest_is_off() -> None:
    started = params()
    assert (started.hostnames, started.port, started.api_keys) == (["127.0.0.1"], 0, ["the key"])
    assert not any((started.ui, started.endpoint_slots, started.endpoint_props, started.endpoint_metrics))
    assert started.verbosity < 0


def test_no_prompt_cache_is_on() -> None:
    started = params()
    assert (started.cache_ram_mib, started.n_ctx_checkpoints) == (0, 0)
    assert not any((started.cache_prompt, started.cache_idle_slots))


@pytest.mark.skipif(sys.platform != "linux", reason="only libgomp has this setting")
@pytest.mark.parametrize(("own", "spins"), [({}, "1000"), ({"GOMP_SPINCOUNT": "77"}, "77")])
def test_engine_threads_soon_sleep_unless_told_otherwise(own: dict[str, str], spins: str) -> None:
    code = (
        "import os; from scenepipe.backends.llama_engine import import_engine; before = dict(os.environ); "
        "import_engine(); assert dict(os.environ) == before"
    )
    plain = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    environment = {**plain, **own, "OMP_DISPLAY_ENV": "verbose"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr


def test_options_out_of_range_are_named_all_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        LlamaCpp(context=1, parallel=0, threads=0, gpu_layers=-2)
    assert [fault.where for fault in caught.value.faults] == ["context", "parallel", "threads", "gpu_layers"]


def test_the_extra_that_brings_the_engine_is_declared() -> None:
    assert LlamaCpp.requires == {"xllamacpp": "local"}


def test_what_it_can_is_known_before_it_opens() -> None:
    can = LlamaCpp(parallel=3).capabilities
    assert (can.mixtures, can.parallel, can.score, can.json_schema, can.chat) == (("exact",), 3, True, True, False)


@pytest.mark.parametrize("key", ["tokenizer.chat_template", "tokenizer.chat_templatE"])
def test_a_chat_template_is_seen_by_its_key(tmp_path: Path, key: str) -> None:
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", len(key)) + key.encode() + b"\x08\0\0\0"
    )
    assert has_chat_template(gguf) == (key == "tokenizer.chat_template")
