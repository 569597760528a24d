"""Exact nearest rows: the same as comparing all of them, where bounds help and where they do not."""

from __future__ import annotations

import numpy as np
import pytest

from scenepipe.memory.turned import FEWEST, TurnedRows

DIM, LIMIT, FLOOR = 32, 10, 0.2


def rows(count: int, spread: float) -> np.ndarray:
    """Unit rows, most of whose length is in a few hidden directions when ``spread`` is below 1."""
    noise = np.random.default_rng(5)
    turn = np.linalg.qr(noise.normal(size=(DIM, DIM)))[0]
    found = (noise.normal(size=(count, DIM)) * spread ** np.arange(DIM)) @ turn
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("spread", [0.7, 1.0])
@pytest.mark.parametrize("count", [5, 300, FEWEST + 1, 3 * FEWEST])
def test_nothing_nearer_is_missed(spread: float, count: int) -> None:
    everything = rows(count, spread)
    kept = TurnedRows(DIM)
    for start in range(0, count, 1000):
        kept.add(everything[start : start + 1000])
    assert len(kept) == count
    for asked in [*rows(20, spread), *everything[:5]]:
        cosines = everything @ asked
        nearest = {int(row) for row in np.argsort(-cosines)[:LIMIT] if cosines[row] > FLOOR + 1e-4}
        for found, given in (kept.nearest(asked, FLOOR, LIMIT), kept.near(asked, FLOOR)):
            assert nearest <= set(found.tolist())
            assert np.allclose(given, cosines[found], atol=1e-5)
            assert (given >= FLOOR).all()


def test_bounds_rule_rows_out() -> None:
    """Of rows with a spread few are named beyond the asked; without the bound all above the floor were."""
    everything = rows(3 * FEWEST, 0.7)
    kept = TurnedRows(DIM)
    kept.add(everything)
    named = [len(kept.nearest(asked, FLOOR, LIMIT)[0]) for asked in everything[:20]]
    above = [len(kept.near(asked, FLOOR)[0]) for asked in everything[:20]]
    assert max(named) < min(above) / 2


def test_no_rows_and_a_row_of_nothing() -> None:
    kept = TurnedRows(DIM)
    assert kept.nearest(np.ones(DIM, np.float32), FLOOR, LIMIT)[0].size == 0
    kept.add(np.zeros((3, DIM), np.float32))
    assert kept.nearest(np.ones(DIM, np.float32), FLOOR, LIMIT)[0].size == 0
