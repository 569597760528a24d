"""Making a codebook."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scenepipe.analysis.codebook import CELLS, parse_codebook
from scenepipe.analysis.lexicon import shipped_lexicon
from scenepipe.analysis.vectors import compute_vectors, cosines, quantise, unit
from scenepipe.testing.hash_encoder import HashEncoder
from scenepipe.training.codebook import corpus, main, seriate, spherical_k_means, write_codebook


def blobs(seed: int = 1) -> np.ndarray:
    draw = np.random.default_rng(seed)
    centres = np.repeat(np.eye(8, dtype=np.float32), 20, axis=0)
    return quantise(unit(centres + draw.normal(scale=0.05, size=centres.shape).astype(np.float32)))


def test_k_means_finds_the_groups_and_says_the_same_twice() -> None:
    rows = blobs()
    centroids = spherical_k_means(rows, 8, seed=3)
    codes = cosines(rows, centroids).argmax(axis=1).reshape(8, 20)
    assert all(len(set(group)) == 1 for group in codes.tolist())
    assert len(set(codes[:, 0].tolist())) == 8
    np.testing.assert_array_equal(centroids, spherical_k_means(rows, 8, seed=3))


def test_seriation_straightens_a_shuffled_arc() -> None:
    angles = np.linspace(0, np.pi / 2, 16)
    arc = quantise(np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32))
    order = seriate(arc[np.random.default_rng(2).permutation(16)])
    assert order.tolist() in (arc.tolist(), arc[::-1].tolist())


def test_a_codebook_is_written_and_read_back(tmp_path: Path) -> None:
    inputs, _ = corpus()
    lexicon, encoder = shipped_lexicon(), HashEncoder(dim=24)
    texts = inputs["ru"][:70] + inputs["en"][:70]
    manifest = write_codebook(tmp_path, "t0", texts, encoder, lexicon, compute_vectors(encoder, lexicon))
    book = parse_codebook((tmp_path / "t0.json").read_bytes(), (tmp_path / "t0.safetensors").read_bytes(), "t0")
    assert book.manifest == manifest
    assert (manifest.encoder, manifest.texts) == (encoder.fingerprint, 140)
    assert sum(cell.texts for cell in manifest.cells) == 140
    assert book.centroids.shape[0] == CELLS


def test_a_codebook_in_use_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c0.json").write_text("{}")
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path)])
    assert "--replace" in capsys.readouterr().err
    assert (tmp_path / "c0.json").read_text() == "{}"
