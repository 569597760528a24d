"""The register bank: every register's LoRA halves stacked beside each target layer, a weight per row and register.

For a layer with registers 1..n, rows x and weights w, a forward hook adds

    y += ((x @ [A1; A2; ...]^T) * w repeated by rank) @ [B1, B2, ...]^T  =  sum_i w_i (x @ A_i^T) @ B_i^T

to the layer's output: one pair of matrix products of rank r1 + r2 + ... for the whole batch, whatever mixtures stand
in it, without a loop over adapters and without gathering rows. A hook sees only what goes into a layer and what comes
out, so the layer's class and the form of its weights do not matter. Importing this module imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.nn.functional import linear

from scenepipe.errors import RegisterError, did_you_mean
from scenepipe.models.adapter import Adapter

_SIZES = (("in_features", "out_features"), ("nx", "nf"), ("infeatures", "outfeatures"))
_MOST_NAMES = 5

Ranks = tuple[int, ...]


class RegisterBank:
    """Registers beside a model, in the order given.

    Nothing changes until `mixing` says which row speaks with which weights; rows of weight 0 get the base's own output.

    Args:
        model: the base; its layers are found by the names in the adapters (``model.layers.0.self_attn.q_proj``).
        adapters: by register name, in normal form.
        dtype: of the stacked halves.

    Raises:
        RegisterError: an adapter is for layers that the model has not, or for layers of another size.
    """

    def __init__(self, model: torch.nn.Module, adapters: Mapping[str, Adapter], *, dtype: torch.dtype) -> None:
        self.names = tuple(adapters)
        self._mix = _Mix()
        layers = dict(model.named_modules())
        for name, adapter in adapters.items():
            _check(name, adapter, layers)
        parts = list(adapters.values())
        self._targets = {
            module: _Target([part.modules.get(module) for part in parts], dtype, self._mix)
            for module in sorted({module for part in parts for module in part.modules})
        }
        self._handles = [
            layers[module].register_forward_hook(target, always_call=False) for module, target in self._targets.items()
        ]

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that have a register beside them."""
        return tuple(self._targets)

    @contextmanager
    def mixing(self, weights: torch.Tensor) -> Iterator[None]:
        """Within, each row of a forward pass speaks with its own weights.

        Args:
            weights: float of shape [rows, registers]. Rows are the first dimension of what goes into the layers.
        """
        before = self._mix.weights
        self._mix.set(weights)
        try:
            yield
        finally:
            self._mix.set(before)

    def remove(self) -> None:
        """Take the hooks off; the model is the bare base again."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


class _Mix:
    """The weights of the pass that is running, spread over stacked ranks once for each layout of ranks and device."""

    def __init__(self) -> None:
        self.weights: torch.Tensor | None = None
        self._spread: dict[tuple[Ranks, torch.dtype, torch.device], torch.Tensor] = {}

    def set(self, weights: torch.Tensor | None) -> None:
        self._spread.clear()
        self.weights = weights if weights is not None and bool(weights.any()) else None

    def spread(self, ranks: Ranks, like: torch.Tensor) -> torch.Tensor:
        """Weights of shape [rows, r1 + r2 + ...], as ``like`` is."""
        key = (ranks, like.dtype, like.device)
        if (found := self._spread.get(key)) is None:
            assert self.weights is not None
            repeats = torch.tensor(ranks, device=self.weights.device)
            found = self.weights.repeat_interleave(repeats, dim=1).to(like.device, like.dtype)
            self._spread[key] = found
        return found


class _Target:
    """The stacked halves beside one layer, and the hook that adds them; a: [ranks, in], bt: [ranks, out]."""

    def __init__(self, pairs: Sequence[Any], dtype: torch.dtype, mix: _Mix) -> None:
        self._ranks: Ranks = tuple(0 if pair is None else pair.rank for pair in pairs)
        there = [pair for pair in pairs if pair is not None]
        self._a = torch.from_numpy(np.concatenate([pair.a for pair in there])).to(dtype)
        self._bt = torch.from_numpy(np.concatenate([pair.b.T for pair in there])).to(dtype).contiguous()
        self._mix = mix

    def __call__(self, layer: torch.nn.Module, given: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        if self._mix.weights is None:
            return output
        if self._a.device != output.device:  # the layer's own device is known only when it has run
            self._a, self._bt = self._a.to(output.device), self._bt.to(output.device)
        rows = given[0].to(self._a).flatten(0, -2)
        low = linear(rows, self._a)
        weights = self._mix.spread(self._ranks, low)
        low.view(len(weights), -1, low.shape[-1]).mul_(weights.unsqueeze(1))
        if output.dtype == low.dtype and output.is_contiguous():
            output.view(-1, output.shape[-1]).addmm_(low, self._bt)
            return output
        return output + (low @ self._bt).view(output.shape).to(output.dtype)


def _check(name: str, adapter: Adapter, layers: Mapping[str, torch.nn.Module]) -> None:
    """See that every module of an adapter is a layer of this model, of its size."""
    missing = [module for module in adapter.modules if module not in layers]
    if missing:
        same_kind = [layer for layer in layers if layer.rpartition(".")[2] == missing[0].rpartition(".")[2]]
        raise RegisterError(
            f"register '{name}' is for layers that this model has not: {_some(missing)}; "
            f"{did_you_mean(missing[0], same_kind[:_MOST_NAMES])}"
        )
    for module, pair in adapter.modules.items():
        have, needed = _size(layers[module]), (pair.a.shape[1], pair.b.shape[0])
        if have is not None and have != needed:
            raise RegisterError(
                f"register '{name}' changes {module} from {needed[0]} to {needed[1]} values and this model's has "
                f"{have[0]} and {have[1]}: it was trained on another base model"
            )


def _size(layer: torch.nn.Module) -> tuple[int, int] | None:
    """(in, out) of a linear layer of any class, None where it does not say."""
    for names in _SIZES:
        size = tuple(getattr(layer, name, None) for name in names)
        if all(isinstance(value, int) for value in size):
            return size  # type: ignore[return-value]
    return None


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
