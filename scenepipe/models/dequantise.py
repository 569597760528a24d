"""The same weights for Transformers and training: a GGUF dequantised to safetensors once, and kept.

The folder is an ordinary Transformers one (``config.json``, ``model.safetensors``, ``tokenizer.json``), in bfloat16:
half the size of float32, and the 4-bit values it stands for have far fewer digits.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scenepipe.errors import MissingExtraError, ModelError
from scenepipe.models.catalogue import LocalModel
from scenepipe.models.store import building, check_space, derived_dir, disk_full_named

REQUIRES: dict[str, str] = {"torch": "transformers", "transformers": "transformers", "accelerate": "transformers"}
FOLDER = "transformers-1"
_BYTES_PER_QUANTISED_BYTE = 6


def safetensors_of(model: LocalModel) -> Path:
    """Folder with the model's weights and tokenizer for Transformers; made at the first call (about 1 minute for the
    default model on 2 cores), kept in the cache.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        ModelError: this architecture cannot be read by Transformers, or the disk is full.
    """
    folder = derived_dir(model.sha256) / FOLDER
    if (folder / "config.json").is_file():
        return folder
    for module, extra in REQUIRES.items():
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(f"dequantising '{model.id}'", module, extra)
    needed = _BYTES_PER_QUANTISED_BYTE * model.gguf.stat().st_size
    check_space(folder.parent, needed)
    with _offline(), disk_full_named(folder, needed), building(folder) as part:
        _convert(model, part)
    return folder


def _convert(model: LocalModel, folder: Path) -> None:
    import torch
    import transformers

    where = {"pretrained_model_name_or_path": str(model.gguf.parent), "gguf_file": model.gguf.name}
    try:
        weights: Any = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=torch.bfloat16)
        tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
    except (ValueError, KeyError, NotImplementedError) as error:
        raise ModelError(f"Transformers cannot read {model.gguf}: {error}") from None
    _make_plain(weights)
    weights.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _make_plain(weights: Any) -> None:
    """Forget that the weights came from a quantised file: what is saved is ordinary bfloat16."""
    weights.hf_quantizer = None
    if hasattr(weights.config, "quantization_config"):
        del weights.config.quantization_config


@contextmanager
def _offline() -> Iterator[None]:
    """Nothing is asked of a hub: everything is in the file."""
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before
