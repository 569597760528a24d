"""LoRA adapters without torch: PEFT folders read into one normal form, and mixtures composed exactly.

In the normal form a module's update is ``B @ A`` and nothing else: scaling (alpha/r, or alpha/sqrt(r) for rsLoRA,
with rank and alpha patterns resolved) is folded into ``B``. What cannot be kept that way is refused by name: engines
ignore such settings silently (research on rsLoRA alone: four engines, each sqrt(r) times too weak).
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from scenepipe.errors import RegisterError
from scenepipe.models.adapter_config import AdapterConfig, read_config

WEIGHTS_FILE = "adapter_model.safetensors"
LARGEST_FILE = 2 << 30
LARGEST_HEADER = 8 << 20
LARGEST_RANK = 4096
_PICKLED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
_TENSOR = re.compile(r"base_model\.model\.(?P<module>[\w.]+?)\.lora_(?P<half>[AB])(?:\.default)?\.weight")
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}

Matrix = npt.NDArray[np.float32]


class LowRank(NamedTuple):
    """One module's update ``b @ a``; a: float32 [r, in], b: float32 [out, r], scaling folded in."""

    a: Matrix
    b: Matrix

    @property
    def rank(self) -> int:
        return int(self.a.shape[0])

    @property
    def delta(self) -> Matrix:
        """The whole update, float32 [out, in]."""
        return self.b @ self.a


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter in normal form.

    Args:
        modules: update by module name (``model.layers.0.self_attn.q_proj``), sorted by name.
        sha256: hash of the safetensors file; of the parts' hashes and weights for a composed one.
    """

    modules: Mapping[str, LowRank]
    sha256: str

    @property
    def rank(self) -> int:
        """The largest rank of any module."""
        return max(pair.rank for pair in self.modules.values())

    @property
    def parameters(self) -> int:
        return sum(pair.a.size + pair.b.size for pair in self.modules.values())

    @property
    def zero(self) -> bool:
        """Whether it changes nothing: for every module one of the halves is all zeros."""
        return all(not pair.a.any() or not pair.b.any() for pair in self.modules.values())


def load_adapter(folder: Path) -> Adapter:
    """Read a PEFT LoRA folder (``adapter_config.json``, ``adapter_model.safetensors``).

    Raises:
        RegisterError: pickled weights, a link or a file that is no plain file, settings that cannot be kept (DoRA,
            biases, full weights, …), halves that do not fit each other or the config, values that are not numbers,
            a file that is too large, cut short or not safetensors.
    """
    _check_folder(folder)
    config = read_config(_plain_file(folder, "adapter_config.json"))
    data = _read_weights(_plain_file(folder, WEIGHTS_FILE))
    halves = _halves(data, folder)
    modules = {name: _normal(name, halves[name], config, folder) for name in sorted(halves)}
    return Adapter(modules, hashlib.sha256(data).hexdigest())


def compose(adapters: Sequence[Adapter], weights: Sequence[float]) -> Adapter:
    """One adapter whose update is the weighted sum of several: ``[w1*A1; w2*A2; ...]`` and ``[B1, B2, ...]``.

    Exact: no approximation by a smaller rank. Adapters of weight 0 are left out.

    Raises:
        RegisterError: nothing to compose, a weight that is no number, or adapters of different base models.
    """
    if len(adapters) != len(weights) or not all(math.isfinite(w) for w in weights):
        raise RegisterError(f"{len(adapters)} adapters and weights {list(weights)}: one finite weight each is needed")
    parts = [(adapter, weight) for adapter, weight in zip(adapters, weights, strict=True) if weight]
    if not parts:
        raise RegisterError("nothing to compose: every weight is 0, and the base alone needs no adapter")
    names = sorted({name for adapter, _ in parts for name in adapter.modules})
    modules = {
        name: _concatenated(name, [(a.modules[name], w) for a, w in parts if name in a.modules]) for name in names
    }
    digest = hashlib.sha256("+".join(f"{adapter.sha256}@{weight!r}" for adapter, weight in parts).encode())
    return Adapter(modules, digest.hexdigest())


def _concatenated(name: str, parts: list[tuple[LowRank, float]]) -> LowRank:
    sizes = {(pair.a.shape[1], pair.b.shape[0]) for pair, _ in parts}
    if len(sizes) > 1:
        raise RegisterError(f"{name} has sizes (in, out) {sorted(sizes)}: these adapters are for different base models")
    a = np.concatenate([np.float32(weight) * pair.a for pair, weight in parts], axis=0)
    return LowRank(a, np.concatenate([pair.b for pair, _ in parts], axis=1))


# --- files -----------------------------------------------------------------------------------------------------------


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise RegisterError(f"{folder} is not a folder; an adapter is a folder with {WEIGHTS_FILE}")
    pickled = sorted(entry.name for entry in os.scandir(folder) if entry.name.lower().endswith(_PICKLED))
    if pickled:
        raise RegisterError(
            f"{folder} holds {', '.join(pickled)}: pickled weights can run code and are never read; "
            f"save the adapter as {WEIGHTS_FILE} and delete them"
        )


def _plain_file(folder: Path, name: str) -> Path:
    """The file inside the folder, itself: a link could show anything of this machine."""
    path = folder / name
    if path.is_symlink():
        raise RegisterError(f"{path} is a symbolic link; put the file itself there")
    if not path.is_file():
        raise RegisterError(f"{path} is missing; an adapter needs adapter_config.json and {WEIGHTS_FILE}")
    return path


def _read_weights(path: Path) -> bytes:
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise RegisterError(f"{path} has {size} bytes; an adapter has at most {LARGEST_FILE}")
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
    if not 2 <= length <= min(len(data) - 8, LARGEST_HEADER):
        raise RegisterError(f"{path} is not a safetensors file: its header would have {length} of {len(data)} bytes")
    return data


def _halves(data: bytes, folder: Path) -> dict[str, dict[str, Matrix]]:
    """Both halves by module name."""
    import safetensors

    deserialize: Any = safetensors.deserialize
    try:
        tensors = deserialize(data)
    except Exception as error:  # SafetensorError is not an exported class in every version
        raise RegisterError(f"{folder / WEIGHTS_FILE} is damaged or not safetensors: {error}") from None
    out: dict[str, dict[str, Matrix]] = {}
    for name, tensor in tensors:
        match = _TENSOR.fullmatch(name)
        if not match:
            raise RegisterError(f"{folder / WEIGHTS_FILE} holds '{name}': {_why_not(name)}")
        out.setdefault(match["module"], {})[match["half"]] = _matrix(name, tensor, folder)
    if not out:
        raise RegisterError(f"{folder / WEIGHTS_FILE} holds no LoRA weights")
    return out


def _why_not(name: str) -> str:
    if "lora_magnitude" in name:
        return "DoRA cannot be expressed as a sum of adapters; train plain LoRA"
    if "embedding" in name or "embed_tokens" in name:
        return "embeddings cannot be part of an adapter here; train without new tokens"
    if name.endswith("bias"):
        return "biases are not kept; train with bias: none"
    return "only the LoRA halves of linear layers are kept (base_model.model.<module>.lora_A.weight and lora_B)"


def _matrix(name: str, tensor: Mapping[str, Any], folder: Path) -> Matrix:
    """A float32 copy of a tensor with two finite dimensions."""
    dtype, shape = tensor["dtype"], tuple(tensor["shape"])
    if dtype not in _DTYPES or len(shape) != 2 or 0 in shape:
        raise RegisterError(
            f"{folder}: '{name}' is {dtype} of shape {shape}; a matrix of {', '.join(_DTYPES)} is needed"
        )
    raw = np.frombuffer(tensor["data"], _DTYPES[dtype])
    if dtype == "BF16":
        raw = (raw.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore"):
        values = raw.astype(np.float32).reshape(shape)
    if not np.isfinite(values).all():
        raise RegisterError(f"{folder}: '{name}' holds values that are not finite numbers; train it again")
    return values


# --- normal form -----------------------------------------------------------------------------------------------------


def _normal(module: str, halves: Mapping[str, Matrix], config: AdapterConfig, folder: Path) -> LowRank:
    """Both halves of one module with its scaling folded into B."""
    for half, other in (("A", "B"), ("B", "A")):
        if half not in halves:
            raise RegisterError(f"{folder}: '{module}' has lora_{other} and no lora_{half}; the file is not complete")
    a, b = halves["A"], halves["B"]
    rank = config.rank(module)
    if not a.shape[0] == b.shape[1] == rank or rank > LARGEST_RANK:
        raise RegisterError(
            f"{folder}: '{module}' has lora_A {a.shape} and lora_B {b.shape}; its config says rank {rank}, "
            "which must be A's first and B's second size"
        )
    with np.errstate(over="ignore"):
        scaled = b * np.float32(config.scaling(module))
    if not np.isfinite(scaled).all():
        raise RegisterError(f"{folder}: '{module}' is not finite after scaling by {config.scaling(module):g}")
    return LowRank(a, scaled)


def adapter_sha256(folder: Path) -> str:
    """SHA-256 of an adapter folder's weights file.

    Raises:
        RegisterError: there is none.
    """
    return hashlib.sha256(_read_weights(_plain_file(folder, WEIGHTS_FILE))).hexdigest()
