"""Checkpoints of four bits a weight in the layouts of GPTQ and AWQ, each weight rounded to the nearest step of its group.

The layouts are those that Transformers reads: https://github.com/AutoGPTQ/AutoGPTQ (format ``gptq``, where a zero point is
stored less one) and https://github.com/casper-hansen/AutoAWQ (version ``gemm``).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

GROUP = 128
LEVELS = 15
PER_WORD = 8
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def write_checkpoint(method: str, source: Path, folder: Path) -> Path:
    """Quantise the projections of a model that Transformers saved; everything else stays as it is."""
    folder.mkdir()
    for file in source.iterdir():
        if file.suffix != ".safetensors":
            shutil.copy(file, folder)
    tensors: dict[str, torch.Tensor] = {}
    for file in source.glob("*.safetensors"):
        for name, weight in load_file(file).items():
            quantised = ".layers." in name and name.endswith("_proj.weight")
            tensors |= _layer(method, name.removesuffix("weight"), weight) if quantised else {name: weight}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = _config(method)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _config(method: str) -> dict[str, Any]:
    told: dict[str, Any] = {"quant_method": method, "bits": 4, "group_size": GROUP}
    if method == "awq":
        return {**told, "zero_point": True, "version": "gemm", "modules_to_not_convert": ["lm_head"]}
    return {**told, "sym": False, "desc_act": False, "checkpoint_format": "gptq"}


def _layer(method: str, name: str, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    levels, zeros, scales = _rounded(weight.float())
    told = {f"{name}scales": scales}
    if method == "awq":
        return {**told, f"{name}qweight": _packed(levels, AWQ_ORDER), f"{name}qzeros": _packed(zeros, AWQ_ORDER)}
    in_order = tuple(range(PER_WORD))
    groups = torch.arange(levels.shape[0], dtype=torch.int32) // GROUP
    down = _packed(levels.T.contiguous(), in_order).T.contiguous()
    return {**told, f"{name}qweight": down, f"{name}qzeros": _packed(zeros - 1, in_order), f"{name}g_idx": groups}


def _rounded(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Levels (in, out), zero points and scales (in / group, out)."""
    out, into = weight.shape
    groups = weight.view(out, into // GROUP, GROUP)
    low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
    scales = ((high - low) / LEVELS).half()
    steps = scales.float()
    zeros = (-low / steps).round().clamp(1, LEVELS)
    levels = ((groups / steps[..., None]).round() + zeros[..., None]).clamp(0, LEVELS).view(out, into)
    return levels.T.contiguous().int(), zeros.T.contiguous().int(), scales.T.contiguous()


def _packed(values: torch.Tensor, order: tuple[int, ...]) -> torch.Tensor:
    """Eight values of a row in each 32-bit word, the one that ``order`` names first in its lowest bits."""
    words = torch.zeros(values.shape[0], values.shape[1] // PER_WORD, dtype=torch.int32)
    for place, which in enumerate(order):
        words |= values[:, which::PER_WORD].int() << (4 * place)
    return words
