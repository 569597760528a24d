"""Signed bytes, and vectors that do not depend on the batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from scenepipe.analysis.lexicon import shipped_lexicon
from scenepipe.analysis.signed_bytes import cosines, encode_bytes, quantise, spoken, unit
from scenepipe.analysis.vectors import binding, compute_vectors, load_vectors, read_vectors, write_vectors
from scenepipe.encoders.usem3 import Usem3Encoder
from scenepipe.testing.hash_encoder import HashEncoder


class Wobbly:
    """An encoder whose floats differ by a hair in a batch, over a rounding edge."""

    fingerprint = "wobbly"
    dim = 2

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        hair = 0.0 if len(texts) == 1 else 4e-7
        return np.array([[0.5 / 127 - 1e-7 + hair, 1.0] for _ in texts], dtype=np.float32)


def test_a_text_has_the_same_bytes_alone_and_in_a_batch() -> None:
    assert quantise(Wobbly().encode(["a", "b"]))[0, 0] != quantise(Wobbly().encode(["a"]))[0, 0]
    np.testing.assert_array_equal(encode_bytes(Wobbly(), ["a", "b"])[:1], encode_bytes(Wobbly(), ["a"]))


def test_cosines_of_bytes_are_exact_in_any_batch() -> None:
    rows = quantise(unit(np.random.default_rng(1).normal(size=(70, 512)).astype(np.float32)))
    whole = cosines(rows, rows)
    exact = (rows.astype(np.int64) @ rows.astype(np.int64).T).astype(np.float32) / np.float32(127 * 127)
    np.testing.assert_array_equal(whole, exact)
    np.testing.assert_array_equal(cosines(rows[5:6], rows), whole[5:6])


def test_the_shipped_vectors_are_of_the_shipped_lexicon_and_encoder(encoder: Usem3Encoder) -> None:
    import scenepipe.analysis.data as data

    folder = Path(data.__file__).parent
    bound, vectors = read_vectors(folder / "vectors.safetensors")
    assert bound == binding(encoder.fingerprint, shipped_lexicon()), (
        "python -m scenepipe.training.codebook --vectors-only"
    )
    assert vectors.symbols.shape == (len(shipped_lexicon().symbols), encoder.dim)


def test_another_encoder_gets_vectors_of_its_own() -> None:
    vectors = load_vectors(HashEncoder(dim=32), shipped_lexicon())
    assert vectors.encoder == "hash@1/3/32"
    assert vectors.symbols.shape[1] == 32


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    vectors = compute_vectors(HashEncoder(dim=16), shipped_lexicon())
    write_vectors(tmp_path / "v.safetensors", vectors, shipped_lexicon())
    bound, again = read_vectors(tmp_path / "v.safetensors")
    assert bound == binding("hash@1/3/16", shipped_lexicon())
    np.testing.assert_array_equal(again.symbols, vectors.symbols)
    np.testing.assert_array_equal(again.hubness, vectors.hubness)
    for mine, theirs in ((vectors.head, again.head), (vectors.associations, again.associations)):
        for one, other in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Кто там? — «Никто».", "кто там никто"),
        ("don't stop, re-enter!", "don't stop re-enter"),
        ("'quoted' -- and-", "quoted and"),
        ("…", "…"),
    ],
)
def test_what_is_encoded_has_no_punctuation(text: str, said: str) -> None:
    assert spoken(text) == said
