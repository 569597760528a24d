"""The default encoder in double precision: the same network, and the same bits to 1e-12 in any batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from scenepipe.encoders.usem3 import Usem3Encoder
from scenepipe.encoders.usem3_double import MOST_PIECES, DoubleNetwork

TEXTS = [
    "Почему я не чувствую шаг в себе?",
    "the first snow",
    "шаг " * 200,
    "",
    "щ" * 4000,
    "我害怕",
    "🙂",
    "ночь " * 150,
    "door",
]


@pytest.fixture(scope="module")
def encoder() -> Usem3Encoder:
    return Usem3Encoder()


def test_it_is_the_network_of_the_package(encoder: Usem3Encoder) -> None:
    double = encoder.encode_double(TEXTS)
    assert double.dtype == np.float64
    np.testing.assert_allclose(double, encoder.encode(TEXTS), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(double, axis=1), 1.0, atol=1e-12)


def test_a_text_is_the_same_alone_and_in_a_batch(encoder: Usem3Encoder) -> None:
    together = encoder.encode_double(TEXTS)
    alone = np.concatenate([encoder.encode_double([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-13)


def test_long_texts_are_more_than_one_micro_batch(encoder: Usem3Encoder) -> None:
    encoder.open()
    assert encoder._pieces is not None
    sizes = [len(encoder._pieces.encode(text)) for text in TEXTS]
    assert max(sizes) > MOST_PIECES
    assert sum(sizes) - max(sizes) > MOST_PIECES, "those before and after the longest fill several"
    several = encoder.encode_double(TEXTS * 2)
    np.testing.assert_allclose(several[len(TEXTS) :], several[: len(TEXTS)], rtol=0, atol=1e-13)


def test_folding_and_the_window_are_those_of_single_precision(encoder: Usem3Encoder) -> None:
    head = " ".join(["слово"] * 256)
    one, other = encoder.encode_double(["Ёж МОЛЧИ́Т", head]), encoder.encode_double(["еж молчит", head + " хвост" * 99])
    np.testing.assert_array_equal(one, other)


def test_no_texts_have_no_vectors(encoder: Usem3Encoder) -> None:
    assert encoder.encode_double([]).shape == (0, encoder.dim)


def test_threads_are_those_of_the_encoder(encoder: Usem3Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    class Spy(DoubleNetwork):
        def _batch(self, texts: Any) -> Any:
            seen.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
            return super()._batch(texts)

    encoder.open()
    Spy(encoder._network).encode([[1, 5, 2]])
    assert set(seen) == {1}
