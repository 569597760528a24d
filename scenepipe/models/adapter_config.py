"""PEFT's ``adapter_config.json``: what scaling each module has, and which settings are refused.

Names and meaning follow ``peft.LoraConfig`` 0.21. A setting that is not known here and is not empty is refused: it
may change what the weights mean.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenepipe.errors import RegisterError

LARGEST_CONFIG = 1 << 20
_LARGEST_SCALING = 1e4

# fmt: off
_PLAIN = frozenset({
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "eva_config",
    "exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights", "layers_pattern",
    "layers_to_transform", "loftq_config", "lora_alpha", "lora_dropout", "megatron_config",
    "megatron_core", "peft_type", "peft_version", "qalora_group_size", "r",
    "rank_pattern", "revision", "runtime_config", "target_modules", "task_type",
    "use_rslora",
})
# fmt: on
"""Settings that are read here, or that matter to training alone."""

_REFUSED = {
    "use_dora": "DoRA cannot be expressed as a sum of adapters; train plain LoRA",
    "lora_bias": "biases are not kept; train with lora_bias: false",
    "modules_to_save": "full weights cannot be part of an adapter here; train LoRA layers alone",
    "trainable_token_indices": "embeddings cannot be part of an adapter here; train without new tokens",
    "target_parameters": "only linear layers are supported; use target_modules",
    "layer_replication": "the adapter would need a base with copied layers; train on the base as it is",
    "alora_invocation_tokens": "an adapter that switches itself on in mid-text cannot be mixed by weight",
}
_BASE_CHANGING = ("pissa", "olora", "corda", "loftq", "lora_ga")
_PATTERN = re.compile(r"\^?(?:[\w.\-]|\\\.|\\d\+?|[()|])+\$?")


@dataclass(frozen=True)
class AdapterConfig:
    """What the config says about scaling.

    Args:
        r, alpha: rank and alpha of modules without a pattern.
        rank_pattern, alpha_pattern: by the end of the module's name, or a simple regular expression for it.
        rslora: scaling is alpha/sqrt(r) instead of alpha/r (Kalajdzievski 2023, arXiv 2312.03732).
    """

    r: int
    alpha: float
    rank_pattern: Mapping[str, float]
    alpha_pattern: Mapping[str, float]
    rslora: bool

    def rank(self, module: str) -> int:
        return int(_of_pattern(self.rank_pattern, module, self.r))

    def scaling(self, module: str) -> float:
        alpha, rank = _of_pattern(self.alpha_pattern, module, self.alpha), self.rank(module)
        return alpha / math.sqrt(rank) if self.rslora else alpha / rank


def read_config(path: Path) -> AdapterConfig:
    """Read and check an ``adapter_config.json``.

    Raises:
        RegisterError: not JSON, not LoRA, or a setting that cannot be kept; names every such setting.
    """
    data = load_json(path)
    faults = [*_refusals(data), *_faults(data)]
    if faults:
        raise RegisterError(f"{path} is refused:\n" + "\n".join(f"  {fault}" for fault in faults))
    return AdapterConfig(
        r=data["r"],
        alpha=float(data["lora_alpha"]),
        rank_pattern=data.get("rank_pattern") or {},
        alpha_pattern=data.get("alpha_pattern") or {},
        rslora=bool(data.get("use_rslora")),
    )


def load_json(path: Path, limit: int = LARGEST_CONFIG) -> dict[str, Any]:
    """A small JSON object.

    Raises:
        RegisterError: too large, not JSON, or not an object.
    """
    if path.stat().st_size > limit:
        raise RegisterError(f"{path} has {path.stat().st_size} bytes; at most {limit} are read")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise RegisterError(f"{path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise RegisterError(f"{path} must hold a JSON object, it holds a {type(value).__name__}")
    return value


def _refusals(data: Mapping[str, Any]) -> list[str]:
    """Settings that cannot be kept."""
    kind = data.get("peft_type")
    if kind != "LORA":
        return [f"peft_type is {kind!r}; only LORA is supported"]
    out = [f"{key}: {why}" for key, why in _REFUSED.items() if data.get(key)]
    if data.get("bias", "none") != "none":
        out.append(f"bias is {data['bias']!r}: biases are not kept; train with bias: none")
    start = data.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_BASE_CHANGING):
        out.append(f"init_lora_weights {start!r} changes the base's own weights; convert it to plain LoRA when saving")
    unknown = sorted(key for key, value in data.items() if value and key not in _PLAIN and key not in _REFUSED)
    return out + [f"{key}: not known here, and it may change what the weights mean" for key in unknown]


def _faults(data: Mapping[str, Any]) -> list[str]:
    """Numbers and patterns that are wrong."""
    out = []
    if not _whole(data.get("r")):
        out.append(f"r is {data.get('r')!r}; a whole number of at least 1 is needed")
    if not _number(data.get("lora_alpha")):
        out.append(f"lora_alpha is {data.get('lora_alpha')!r}; a number is needed")
    for key, right in (("rank_pattern", _whole), ("alpha_pattern", _number)):
        pattern = data.get(key) or {}
        if not isinstance(pattern, dict) or not all(right(value) for value in pattern.values()):
            out.append(f"{key} must map module names to numbers")
            continue
        out += [f"{key}: {name[:80]!r} is not a simple module pattern" for name in pattern if not _simple(name)]
    return out


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1 << 16


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST_SCALING


def _simple(name: str) -> bool:
    """A pattern without repeats, which alone could make matching slow, and that is a valid expression."""
    if len(name) > 500 or not _PATTERN.fullmatch(name):
        return False
    try:
        re.compile(name)
    except re.error:
        return False
    return True


def _of_pattern(patterns: Mapping[str, float], module: str, default: float) -> float:
    """The first pattern that matches the end of the module's name, as PEFT's ``get_pattern_key`` finds it."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default
