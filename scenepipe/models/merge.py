"""A register merged into its base: one ordinary Transformers folder that any engine serves without adapters."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from scenepipe.errors import MissingExtraError, RegisterError
from scenepipe.models.adapter import Adapter, load_adapter
from scenepipe.models.dequantise import REQUIRES, safetensors_of
from scenepipe.models.store import building, check_space, disk_full_named

if TYPE_CHECKING:
    from scenepipe.models.catalogue import LocalModel

_BYTES = {"bfloat16": 2, "float32": 4}


def write_merged(
    model: LocalModel, adapter: Path, folder: Path, *, dtype: Literal["bfloat16", "float32"] = "bfloat16"
) -> None:
    """Add an adapter's updates to its base, in float32, and save the model and its tokenizer.

    Args:
        adapter: PEFT folder; rsLoRA and patterns are folded as everywhere.
        folder: is made; nothing is left under its name when this fails.
        dtype: of the saved weights; bfloat16 is what the base is kept in.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        RegisterError: the folder exists, or the adapter changes a module that the base does not have or that shares its
            weights with another.
        ModelError: the disk is full.
    """
    for module, extra in REQUIRES.items():
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError("merging", module, extra)
    if folder.exists():
        raise RegisterError(f"{folder} exists and is never overwritten; give another folder")
    import torch
    import transformers

    base = safetensors_of(model)
    weights: Any = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, use_safetensors=True)
    needed = _BYTES[dtype] * weights.num_parameters()
    _add(weights, load_adapter(adapter))
    folder.parent.mkdir(parents=True, exist_ok=True)
    check_space(folder.parent, needed)
    with disk_full_named(folder, needed), building(folder) as part:
        weights.to(getattr(torch, dtype)).save_pretrained(part)
        transformers.AutoTokenizer.from_pretrained(base).save_pretrained(part)


def _add(weights: Any, adapter: Adapter) -> None:
    import torch

    known = dict(weights.named_modules())
    tied = {id(weights.get_input_embeddings().weight)}
    for name, pair in adapter.modules.items():
        if name not in known:
            raise RegisterError(
                f"the adapter changes {name}, which the base does not have; it was made for another model"
            )
        weight = known[name].weight
        if id(weight) in tied:
            raise RegisterError(f"{name} shares its weights with the embeddings; merged, the adapter would change both")
        with torch.no_grad():
            weight += torch.from_numpy(pair.delta)
