from __future__ import annotations

import itertools

import numpy as np
import pytest

from scenepipe.evaluation.aptness import aptness, hit_chance
from scenepipe.testing.hash_encoder import HashEncoder


@pytest.mark.parametrize(("nearer", "others"), [(0, 12), (1, 12), (3, 12), (4, 12), (2, 5), (0, 5), (12, 12)])
def test_the_chance_is_that_of_every_possible_draw(nearer: int, others: int) -> None:
    draws = list(itertools.combinations(range(others), min(9, others)))
    hits = sum(not any(each < nearer for each in draw) for draw in draws)
    assert hit_chance(nearer, others) == pytest.approx(hits / len(draws))


def test_a_reply_that_repeats_its_input_hits_and_one_that_repeats_another_misses() -> None:
    texts = [
        f"{word} stands alone"
        for word in ["wave", "shore", "anchor", "mast", "rope", "net", "hull", "tide", "sail", "keel", "deck"]
    ]
    hits = aptness(HashEncoder(), [texts[0], texts[1]], [0, 2], texts)
    assert hits[0] == 1.0
    assert hits[1] <= hit_chance(1, 10)
    assert aptness(HashEncoder(), [], [], texts) == []


def test_random_vectors_hit_one_time_in_ten() -> None:
    class Noise:
        fingerprint, dim = "noise", 16
        rng = np.random.default_rng(1)

        def encode(self, texts: list[str]) -> np.ndarray:
            return self.rng.normal(size=(len(texts), 16)).astype(np.float32)

    texts = [str(i) for i in range(40)]
    assert np.mean(
        aptness(Noise(), [str(i) for i in range(4000)], [i % 40 for i in range(4000)], texts)
    ) == pytest.approx(0.1, abs=0.02)
