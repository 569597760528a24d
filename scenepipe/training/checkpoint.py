"""Optimizer, schedule and random state of a training run as safetensors and JSON, so that resuming is exact.

transformers writes them with pickle; nothing here ever reads or writes one.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

STATE_FILE = "state.safetensors"
NUMBERS_FILE = "state.json"


def save_state(folder: Path, optimizer: Any, schedule: Any) -> None:
    """Write what a run needs to go on from here, beside the adapter's weights."""
    import torch
    from safetensors.torch import save_file

    state = optimizer.state_dict()
    tensors = {"rng.cpu": torch.random.get_rng_state()}
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    for number, values in state["state"].items():
        tensors |= {f"optimizer.{number}.{name}": torch.as_tensor(value).cpu() for name, value in values.items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / STATE_FILE)
    numbers = {"groups": state["param_groups"], "schedule": schedule.state_dict(), "python": random.getstate()}
    (folder / NUMBERS_FILE).write_text(json.dumps(numbers, default=float), encoding="utf-8")


def load_optimizer(folder: Path, optimizer: Any, schedule: Any) -> None:
    """Set optimizer and schedule to what `save_state` wrote."""
    from safetensors.torch import load_file

    numbers = json.loads((folder / NUMBERS_FILE).read_text(encoding="utf-8"))
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in load_file(folder / STATE_FILE).items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            number, _, field = rest.partition(".")
            state.setdefault(int(number), {})[field] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": numbers["groups"]})
    schedule.load_state_dict(numbers["schedule"])


def load_random(folder: Path) -> None:
    """Set the random generators to what `save_state` wrote."""
    import torch
    from safetensors.torch import load_file

    tensors = load_file(folder / STATE_FILE)
    torch.random.set_rng_state(tensors["rng.cpu"])
    if "rng.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng.cuda"])
    kind, numbers, gauss = json.loads((folder / NUMBERS_FILE).read_text(encoding="utf-8"))["python"]
    random.setstate((kind, tuple(numbers), gauss))
