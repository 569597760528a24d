"""A composed adapter's files: written with the manifest last, read back only when they are whole."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scenepipe.models.adapter import WEIGHTS_FILE, Adapter, LowRank
from scenepipe.models.store import sync

CONFIG_FILE = "adapter_config.json"
MANIFEST_FILE = "composed.json"
FORMAT = 1
_FILES = frozenset({CONFIG_FILE, WEIGHTS_FILE, MANIFEST_FILE})

Signature = tuple[int, ...]


def nothing(adapters: Sequence[Adapter]) -> Adapter:
    """Zeros of rank 1 for every module of several adapters."""
    pairs = {name: pair for adapter in adapters for name, pair in adapter.modules.items()}
    modules = {name: LowRank(np.zeros_like(pair.a[:1]), np.zeros_like(pair.b[:, :1])) for name, pair in pairs.items()}
    return Adapter(modules, "")


def padded(adapter: Adapter, rank: int) -> Adapter:
    """The same update with zeros up to one rank for every module: file formats have one ``r``."""
    modules = {}
    for name, pair in adapter.modules.items():
        more = rank - pair.rank
        modules[name] = LowRank(np.pad(pair.a, ((0, more), (0, 0))), np.pad(pair.b, ((0, 0), (0, more))))
    return Adapter(modules, adapter.sha256)


def write(folder: Path, adapter: Adapter, rank: int) -> None:
    """The manifest is last: a folder without one is not an entry."""
    from safetensors.numpy import save

    tensors = {}
    for module, pair in adapter.modules.items():
        for half, matrix in (("A", pair.a), ("B", pair.b)):
            tensors[f"base_model.model.{module}.lora_{half}.weight"] = np.ascontiguousarray(matrix)
    files = {
        WEIGHTS_FILE: save(tensors, metadata={"format": "pt"}),
        CONFIG_FILE: _json(_config(adapter, rank)),
    }
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    files[MANIFEST_FILE] = _json({"format": FORMAT, "rank": rank, "files": hashes})
    folder.mkdir()
    for name, data in files.items():
        with (folder / name).open("wb") as file:
            file.write(data)
            sync(file)


def _config(adapter: Adapter, rank: int) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "fan_in_fan_out": False,
        "inference_mode": True,
        "modules_to_save": None,
        "target_modules": sorted({name.rpartition(".")[2] for name in adapter.modules}),
    }


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def manifest(folder: Path) -> dict[str, Any] | None:
    """A whole entry's manifest; None for a damaged one: links, more or fewer files, other values than were written."""
    if folder.is_symlink() or not folder.is_dir():
        return None
    with os.scandir(folder) as scan:
        entries = list(scan)
    if {e.name for e in entries} != _FILES or not all(e.is_file(follow_symlinks=False) for e in entries):
        return None
    try:
        value = json.loads((folder / MANIFEST_FILE).read_bytes())
    except (ValueError, RecursionError):
        return None
    whole = isinstance(value, dict) and value.get("format") == FORMAT and isinstance(value.get("files"), dict)
    return value if whole and isinstance(value.get("rank"), int) else None


def signature(*files: Path) -> Signature:
    """What changes when somebody writes to a file or puts another in its place; empty where one is missing."""
    try:
        found = [file.lstat() for file in files]
    except OSError:
        return ()
    return tuple(n for s in found for n in (s.st_mode, s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns))


def touch(path: Path) -> None:
    """Note when it was used last; an entry that somebody deletes meanwhile is made again at its next use."""
    try:
        os.utime(path)
    except OSError:
        return
