"""Keys and values of the rows in flight, one slot a row, each row as long as it is.

`transformers.DynamicCache` gives all rows one length and copies the whole cache at every token. Here a row's token is
written to its own place, so rows of any length share a batch, join and leave without moving the others, and a step
copies one token. Every layer keeps its whole context: what a row may look at (causal, sliding window, chunk) is in
the mask, which `attention_masks` makes from the rows' own positions. Importing this module imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

_FIRST_LENGTH = 128


@dataclass(frozen=True)
class Span:
    """New tokens of one row in a pass: ``count`` of them behind the ``start`` that are cached already."""

    start: int
    count: int

    @property
    def end(self) -> int:
        return self.start + self.count


@dataclass(frozen=True)
class Place:
    """Which slots a pass writes: row i of the pass is slot ``first + i``. Shorter rows are padded on the left.

    Args:
        positions: int64 of shape [rows, width]: each token's position in its row, 0 for padding.
        longest: the greatest length of a row after the pass.
    """

    first: int
    spans: tuple[Span, ...]
    positions: torch.Tensor
    longest: int

    @classmethod
    def of(cls, first: int, spans: Sequence[Span]) -> Place:
        width = max(span.count for span in spans)
        ends = torch.tensor([span.end for span in spans]).unsqueeze(1)
        starts = torch.tensor([span.start for span in spans]).unsqueeze(1)
        positions = ends - width + torch.arange(width)
        positions = torch.where(positions >= starts, positions, 0)
        return cls(first, tuple(spans), positions, max(span.end for span in spans))

    @property
    def slots(self) -> slice:
        return slice(self.first, self.first + len(self.spans))


class SlotCache(Cache):  # type: ignore[misc]
    """What a model's layers write to and read from in the pass of the current `place`.

    Args:
        layers: how many layers the model has.
        slots: rows that fit.
        fits: tokens of one row.
    """

    def __init__(self, layers: int, slots: int, fits: int) -> None:
        super().__init__(layers=[_SlotLayer(slots, fits) for _ in range(layers)])

    def put(self, place: Place) -> None:
        """The next pass is for these rows."""
        for layer in self.layers:
            layer.place = place

    def move(self, source: int, target: int, length: int) -> None:
        """Bring a row's first ``length`` tokens into another slot."""
        for layer in self.layers:
            if layer.is_initialized and source != target:
                for kept in (layer.keys, layer.values):
                    kept[target, :length] = kept[source, :length]

    def clear(self) -> None:
        """Give the memory back."""
        for layer in self.layers:
            layer.keys = layer.values = None
            layer.is_initialized = False


class _SlotLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer; keys and values of shape [slots, length, heads, size]: a token of a row lies in one piece."""

    is_sliding = False
    is_compileable = False

    def __init__(self, slots: int, fits: int) -> None:
        super().__init__()
        self._slots = slots
        self._fits = fits
        self.place: Place | None = None

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.keys, self.values = (
            self._empty(states, min(_FIRST_LENGTH, self._fits)) for states in (key_states, value_states)
        )
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write new states of shape [rows, heads, width, size]; returns all of these rows, [rows, heads, longest, size]."""
        place = self.place
        assert place is not None, "put() comes before the pass"
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self._grow(place.longest)
        for kept, new in ((self.keys, key_states), (self.values, value_states)):
            _write(kept[place.slots], new.transpose(1, 2), place)
        keys, values = (kept[place.slots, : place.longest].transpose(1, 2) for kept in (self.keys, self.values))
        return keys, values

    def _empty(self, like: torch.Tensor, length: int) -> torch.Tensor:
        """Room for states of shape [rows, heads, width, size]. Zeros: what is masked still meets a weight of 0 in
        attention, and 0 times a stray NaN is NaN."""
        return torch.zeros((self._slots, length, like.shape[1], like.shape[3]), dtype=like.dtype, device=like.device)

    def _grow(self, length: int) -> None:
        have = self.keys.shape[1]
        if length <= have:
            return
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = self._empty(old.transpose(1, 2), max(length, min(2 * have, self._fits)))
            new[:, :have] = old
            setattr(self, name, new)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length(), 0

    def get_seq_length(self) -> int:
        return 0 if self.place is None else self.place.longest

    def get_max_length(self) -> int:
        return -1


def _write(kept: torch.Tensor, new: torch.Tensor, place: Place) -> None:
    """Put new states [rows, width, heads, size] behind what the rows have; padding is not kept."""
    width = new.shape[1]
    if width == 1:
        rows = torch.arange(len(place.spans), device=kept.device)
        kept[rows, place.positions[:, 0].to(kept.device)] = new[:, 0]
        return
    for row, span in enumerate(place.spans):
        kept[row, span.start : span.end] = new[row, width - span.count :]


def attention_masks(config: Any, place: Place, dtype: torch.dtype, device: torch.device) -> Any:
    """What each new token may look at, as the model takes it: additive, [rows, 1, width, longest], one for each kind
    of layer where the model has several (as `transformers.masking_utils.create_masks_for_generate` gives them).
    """
    kinds = getattr(config, "layer_types", None)
    made = {kind: _mask(kind, config, place, dtype, device) for kind in set(kinds or [_only_kind(config)])}
    return made if kinds else next(iter(made.values()))


def layer_kinds(config: Any) -> set[str]:
    """Kinds of layers of a model, as its configuration names them."""
    return set(getattr(config, "layer_types", None) or [_only_kind(config)])


KINDS = frozenset({"full_attention", "sliding_attention", "chunked_attention"})
"""Kinds of layers that a mask of positions is enough for; others keep a state of another form."""


def _only_kind(config: Any) -> str:
    if getattr(config, "sliding_window", None) is not None:
        return "sliding_attention"
    return "full_attention" if getattr(config, "attention_chunk_size", None) is None else "chunked_attention"


def _mask(kind: str, config: Any, place: Place, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    query = place.positions.unsqueeze(-1)
    key = torch.arange(place.longest)
    seen = key <= query
    if kind == "sliding_attention":
        seen &= key > query - config.sliding_window
    elif kind == "chunked_attention":
        seen &= key // config.attention_chunk_size == query // config.attention_chunk_size
    zero = torch.zeros((), dtype=dtype)
    return torch.where(seen, zero, torch.finfo(dtype).min).unsqueeze(1).to(device)
