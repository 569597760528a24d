"""The cache of the rows in flight: how much memory it takes."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from scenepipe.backends import slot_cache  # noqa: E402
from scenepipe.backends.slot_cache import Place, SlotCache, Span  # noqa: E402


def written(cache: SlotCache, start: int, count: int) -> None:
    """One row's tokens, each its own position as a value."""
    cache.put(Place.of(0, [Span(start, count)]))
    states = torch.arange(start, start + count, dtype=torch.float32).view(1, 1, count, 1)
    cache.update(states, -states, 0)


def test_it_grows_by_doubling_and_never_beyond_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_cache, "_FIRST_LENGTH", 16)
    cache, lengths = SlotCache(1, 2, 100), []
    for start, count in ((0, 10), (10, 10), (20, 40), (60, 39), (99, 1)):
        written(cache, start, count)
        lengths.append(cache.layers[0].keys.shape[1])
    assert lengths == [16, 32, 64, 100, 100]
    assert cache.layers[0].keys[0, :, 0, 0].tolist() == list(range(100))
    assert (cache.layers[0].values == -cache.layers[0].keys).all()


def test_a_short_context_takes_no_more_from_the_start() -> None:
    cache = SlotCache(1, 2, 64)
    written(cache, 0, 3)
    assert cache.layers[0].keys.shape == (2, 64, 1, 1)
