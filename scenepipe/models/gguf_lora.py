"""Write a LoRA adapter as a GGUF file that llama.cpp loads. Needs no torch.

llama.cpp scales a module's update by ``alpha / r`` with one alpha per file and r from the tensor's own shape. Scaling
is folded into B already, so alpha is the largest rank and smaller modules are padded with zeros to it: exact for
every module. Layout: llama.cpp's convert_lora_to_gguf.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scenepipe.errors import RegisterError, did_you_mean
from scenepipe.models.adapter import Adapter, LowRank, load_adapter
from scenepipe.models.store import building, cache_dir, disk_full_named
from scenepipe.models.vocabulary import ModelFacts, facts

if TYPE_CHECKING:
    from scenepipe.models.catalogue import LocalModel
    from scenepipe.register import Register

WRITER_VERSION = 1
ARCHITECTURES = ("gemma", "gemma2", "gemma3", "llama", "phi3", "qwen2", "qwen3")
_ROTARY_PERMUTED = frozenset({"llama"})
_FLOAT16_MAX = float(np.finfo(np.float16).max)


def write_gguf_lora(
    adapter: Adapter, facts: ModelFacts, path: Path, *, dtype: Literal["float16", "float32"] = "float32"
) -> None:
    """Write the adapter for a base model; the file appears whole or not at all.

    Args:
        dtype: float16 halves the file; float32 keeps every value.

    Raises:
        RegisterError: an architecture that is not supported, a module the base does not have or has in another size,
            or a value that float16 cannot hold.
        ModelError: the disk is full.
    """
    tensors = {name: _padded(pair, adapter.rank) for name, pair in _renamed(adapter, facts).items()}
    size = sum(pair.a.nbytes + pair.b.nbytes for pair in tensors.values())
    with disk_full_named(path, size), building(path) as part:
        _write(tensors, facts.architecture, adapter.rank, part, dtype)


def gguf_adapter(register: Register, model: LocalModel) -> Path:
    """The register's adapter for a model as a GGUF file, written once and kept in the cache.

    Raises:
        RegisterError: the register has no adapter for this very model, or it is refused.
    """
    from scenepipe.register import adapter_of

    found = adapter_of(register, model)
    path = cache_dir() / "adapters" / f"{found.sha256}-{model.sha256}-{WRITER_VERSION}.gguf"
    if not path.is_file():
        adapter = load_adapter(found.folder)
        if adapter.sha256 != found.sha256:
            raise RegisterError(f"{found.folder} changed while it was read; try again")
        write_gguf_lora(adapter, facts(model), path)
    return path


def _renamed(adapter: Adapter, facts: ModelFacts) -> dict[str, LowRank]:
    """The modules under the base's tensor names, checked against its sizes, in its order of rows."""
    import gguf

    if facts.architecture not in ARCHITECTURES:
        raise RegisterError(
            f"adapters for the architecture '{facts.architecture}' cannot be written as GGUF; "
            f"{did_you_mean(facts.architecture, ARCHITECTURES)}"
        )
    kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(kinds[facts.architecture], facts.blocks)
    out = {}
    for module, pair in adapter.modules.items():
        name = f"{names.get_name(module)}.weight"
        _check_size(module, pair, facts.shapes.get(name), facts)
        out[name] = _permuted(module, pair, facts)
    return out


def _check_size(module: str, pair: LowRank, shape: tuple[int, int] | None, facts: ModelFacts) -> None:
    if shape is None:
        raise RegisterError(
            f"the base ({facts.architecture}, {facts.blocks} blocks) has no layer '{module}' of the adapter"
        )
    given = (pair.b.shape[0], pair.a.shape[1])
    if given != tuple(shape):
        raise RegisterError(
            f"'{module}' of the adapter is {given}, the base has {tuple(shape)} (out, in): another base"
        )


def _permuted(module: str, pair: LowRank, facts: ModelFacts) -> LowRank:
    """Rows of q and k as GGUF stores them for llama and mistral: rotary pairs side by side instead of in halves."""
    last = module.rpartition(".")[2]
    if facts.architecture not in _ROTARY_PERMUTED or last not in ("q_proj", "k_proj"):
        return pair
    heads, (out, rank) = facts.heads if last == "q_proj" else facts.kv_heads, pair.b.shape
    rows = pair.b.reshape(heads, 2, out // heads // 2, rank).swapaxes(1, 2).reshape(out, rank)
    return LowRank(pair.a, np.ascontiguousarray(rows))


def _padded(pair: LowRank, rank: int) -> LowRank:
    more = rank - pair.rank
    return LowRank(np.pad(pair.a, ((0, more), (0, 0))), np.pad(pair.b, ((0, 0), (0, more)))) if more else pair


def _write(tensors: dict[str, LowRank], architecture: str, rank: int, path: Path, dtype: str) -> None:
    import gguf

    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(rank))
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if dtype == "float16" else gguf.LlamaFileType.ALL_F32)
    for name, pair in tensors.items():
        writer.add_tensor(f"{name}.lora_a", _as(pair.a, dtype, name))
        writer.add_tensor(f"{name}.lora_b", _as(pair.b, dtype, name))
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _as(values: np.ndarray[Any, Any], dtype: str, name: str) -> np.ndarray[Any, Any]:
    if dtype == "float16" and float(np.abs(values).max()) > _FLOAT16_MAX:
        raise RegisterError(f"'{name}' has values beyond {_FLOAT16_MAX:g}; write it as float32")
    return np.ascontiguousarray(values, dtype=dtype)
