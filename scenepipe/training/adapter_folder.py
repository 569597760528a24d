"""Writing a trained adapter: float16 safetensors, its PEFT config, its receipt and its curve, in one rename.

rsLoRA and alpha patterns are folded into the B halves, since llama.cpp and others ignore such settings in silence:
every module is left with scaling alpha/r = 1.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scenepipe.errors import RegisterError
from scenepipe.models.adapter import WEIGHTS_FILE
from scenepipe.models.receipt import PROMPT_VERSIONS, RECEIPT_FILE
from scenepipe.training.curve import CURVE_FILE, Point, draw_curve
from scenepipe.training.settings import TrainSettings

if TYPE_CHECKING:
    from scenepipe.register import Register


@dataclass(frozen=True)
class Trained:
    """What a training run gives.

    Args:
        weights: LoRA tensors by PEFT name, float32, B halves already scaled.
        figures: losses in nats per learnt token.
        training: settings and versions.
        curve: losses by step.
    """

    weights: Mapping[str, Any]
    figures: Mapping[str, Any]
    training: Mapping[str, Any]
    curve: Sequence[Point]


def folded_weights(model: Any) -> dict[str, Any]:
    """The adapter's tensors (float32, on the CPU) with each layer's own scaling multiplied into its B half."""
    import peft
    import torch

    layers = {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}
    scalings = {name: layer.scaling["default"] for name, layer in layers.items()}
    weights: dict[str, Any] = {}
    for name, tensor in peft.get_peft_model_state_dict(model).items():
        layer, half = name.rsplit(".lora_", 1)
        scale = scalings[layer] if half.startswith("B") else 1.0
        weights[name] = (tensor.detach().to("cpu", torch.float32) * scale).contiguous()
    return weights


def write_adapter(
    register: Register, model_id: str, base: Mapping[str, Any], trained: Trained, settings: TrainSettings
) -> dict[str, Any]:
    """Write ``adapters/model_id`` in a register and return its receipt; an adapter that was there is replaced last.

    Raises:
        RegisterError: the disk would not take it; what was there before is still there.
    """
    final = register.folder / "adapters" / model_id
    building = final.with_name(final.name + ".part")
    shutil.rmtree(building, ignore_errors=True)
    try:
        building.mkdir(parents=True)
        receipt = _fill(building, register, model_id, base, trained, settings)
    except OSError as error:
        shutil.rmtree(building, ignore_errors=True)
        raise RegisterError(
            f"{final} could not be written: {error.strerror or error}; make room and run the same command again, "
            "it goes on from the last checkpoint"
        ) from None
    shutil.rmtree(final, ignore_errors=True)
    building.rename(final)
    return receipt


def _fill(
    folder: Path, register: Register, model_id: str, base: Mapping[str, Any], trained: Trained, settings: TrainSettings
) -> dict[str, Any]:
    import torch
    from safetensors.torch import save_file

    save_file({k: v.to(torch.float16).contiguous() for k, v in trained.weights.items()}, folder / WEIGHTS_FILE)
    _write_json(folder / "adapter_config.json", _peft_config(model_id, settings))
    (folder / CURVE_FILE).write_text(draw_curve(trained.curve, f"{register.name} · {model_id}"), encoding="utf-8")
    receipt = {
        "receipt": 1,
        "model": model_id,
        "kind": register.kind,
        "prompt_version": PROMPT_VERSIONS[register.kind],
        "base": dict(base),
        "adapter_sha256": _sha256(folder / WEIGHTS_FILE),
        "data_sha256": _sha256(register.folder / "examples.jsonl"),
        "training": dict(trained.training),
        "figures": dict(trained.figures),
    }
    _write_json(folder / RECEIPT_FILE, receipt)
    return receipt


def _peft_config(model_id: str, settings: TrainSettings) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": model_id,
        "r": settings.rank,
        "lora_alpha": settings.rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": sorted(settings.targets),
    }


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
