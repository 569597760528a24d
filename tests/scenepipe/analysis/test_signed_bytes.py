"""Bytes of a text are the same whatever the last bits of the encoder's floats are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from scenepipe.analysis.lexicon import shipped_lexicon
from scenepipe.analysis.signed_bytes import GUARD, SCALE, encode_bytes, quantise, spoken
from scenepipe.encoders.usem3 import Usem3Encoder

Vectors = npt.NDArray[np.float64]
NOISE = 0.6 * GUARD / SCALE
"""More than the largest float32 noise that was seen."""


class Single:
    """An encoder as another build of NumPy has it: its floats are the true ones and some noise."""

    fingerprint = "build"

    def __init__(self, true: Callable[[Sequence[str]], Vectors], dim: int, seed: int) -> None:
        self.dim = dim
        self._true, self._seed = true, seed

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        noise = np.random.default_rng(self._seed).uniform(-NOISE, NOISE, (len(texts), self.dim))
        return (self._true(texts) + noise).astype(np.float32)


class Build(Single):
    """One with double precision, which no build differs in; ``again`` is what was asked of it."""

    def __init__(self, true: Callable[[Sequence[str]], Vectors], dim: int, seed: int) -> None:
        super().__init__(true, dim, seed)
        self.again: list[str] = []

    def encode_double(self, texts: Sequence[str]) -> Vectors:
        self.again += texts
        return self._true(texts)


def near_an_edge(texts: Sequence[str]) -> Vectors:
    """A component within 3e-6 of a rounding edge, far nearer than the noise, and one far from any."""
    places = np.array([int(text) for text in texts])
    return np.stack([(places + 0.5 + (places % 7 - 3) * 1e-6) / SCALE, np.full(len(places), 0.2 / SCALE)], axis=1)


NUMBERS = [str(number) for number in range(100)]


def test_two_builds_give_the_same_bytes() -> None:
    builds = [Build(near_an_edge, 2, seed) for seed in (1, 2, 3)]
    plain = [quantise(build.encode(NUMBERS)) for build in builds]
    assert (plain[0] != plain[1]).any(), "the noise reaches over the edge, or this test shows nothing"
    for build in builds:
        np.testing.assert_array_equal(encode_bytes(build, NUMBERS), quantise(near_an_edge(NUMBERS)))
        np.testing.assert_array_equal(encode_bytes(build, NUMBERS[:1]), quantise(near_an_edge(NUMBERS[:1])))


def test_without_double_precision_they_may_differ() -> None:
    found = [encode_bytes(Single(near_an_edge, 2, seed), NUMBERS) for seed in (1, 2)]
    assert (found[0] != found[1]).any()


def test_only_texts_near_an_edge_are_encoded_again() -> None:
    def far(texts: Sequence[str]) -> Vectors:
        return np.array([[(3.5 if text == "edge" else 3.0) / SCALE, 0.0] for text in texts]).reshape(-1, 2)

    build = Build(far, 2, 1)
    encode_bytes(build, ["one", "edge", "two"])
    assert build.again == ["edge"]
    assert encode_bytes(build, []).shape == (0, 2)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Words, glosses and sentences of both languages, and what is no sentence at all."""
    lexicon = shipped_lexicon()
    plain = [entry.text for entry in lexicon.sentences[::24]] + [entry.lemma for entry in lexicon.words[::80]]
    odd = ["1 " * 300, "我害怕 " * 300, "щ" * 5000, "🙂", "a\0b", "z̴̡͌a̷͎͝l̵g̸o", "шаг " * 300]
    return [*plain, *odd]


def test_noise_in_the_real_vectors_changes_no_byte(encoder: Usem3Encoder, texts: list[str]) -> None:
    """With it bytes are those of the vectors in double precision; without it some are not."""
    build = Build(encoder.encode_double, encoder.dim, 1)
    true = quantise(encoder.encode_double([spoken(text) for text in texts]))
    assert (quantise(build.encode([spoken(text) for text in texts])) != true).any()
    np.testing.assert_array_equal(encode_bytes(build, texts), true)
    np.testing.assert_array_equal(encode_bytes(encoder, texts), true)


def test_this_machines_noise_is_well_within_the_guard(encoder: Usem3Encoder, texts: list[str]) -> None:
    said = [spoken(text) for text in texts]
    true = encoder.encode_double(said)
    for floats in (encoder.encode(said), np.concatenate([encoder.encode([text]) for text in said[::4]])):
        noise = np.abs(floats - (true if len(floats) == len(true) else true[::4])).max() * SCALE
        assert 0.0 < noise < 0.6 * GUARD
