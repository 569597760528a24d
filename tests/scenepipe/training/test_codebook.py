"""Making a codebook."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scenepipe.analysis.codebook import CELLS, parse_codebook
from scenepipe.analysis.lexicon import shipped_lexicon
from scenepipe.analysis.signed_bytes import cosines, quantise, unit
from scenepipe.analysis.vectors import compute_vectors
from scenepipe.testing.hash_encoder import HashEncoder
from scenepipe.training.codebook import corpus, dropped, main, seriate, spherical_k_means, write_codebook
from scenepipe.training.projection import fit_projection, neighbour_pairs


def blobs(seed: int = 1) -> np.ndarray:
    draw = np.random.default_rng(seed)
    centres = np.repeat(np.eye(8, dtype=np.float32), 20, axis=0)
    return quantise(unit(centres + draw.normal(scale=0.05, size=centres.shape).astype(np.float32)))


def test_k_means_finds_the_groups_and_says_the_same_twice() -> None:
    rows = blobs()
    centroids = spherical_k_means(rows, rows, 8, seed=3)
    codes = cosines(rows, centroids).argmax(axis=1).reshape(8, 20)
    assert all(len(set(group)) == 1 for group in codes.tolist())
    assert len(set(codes[:, 0].tolist())) == 8
    np.testing.assert_array_equal(centroids, spherical_k_means(rows, rows, 8, seed=3))


def test_seriation_straightens_a_shuffled_arc() -> None:
    angles = np.linspace(0, np.pi / 2, 16)
    arc = quantise(np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32))
    order = seriate(arc[np.random.default_rng(2).permutation(16)])
    assert order.tolist() in (arc.tolist(), arc[::-1].tolist())


def test_a_codebook_is_written_and_read_back(tmp_path: Path) -> None:
    lexicon, encoder = shipped_lexicon(), HashEncoder(dim=24)
    found = corpus(lexicon)
    texts = found["ru"][:70] + found["en"][:70]
    manifest = write_codebook(tmp_path, "t0", texts, encoder, lexicon, compute_vectors(encoder, lexicon))
    book = parse_codebook((tmp_path / "t0.json").read_bytes(), (tmp_path / "t0.safetensors").read_bytes(), "t0")
    assert book.manifest == manifest
    assert (manifest.encoder, manifest.texts) == (encoder.fingerprint, 140)
    assert sum(cell.texts for cell in manifest.cells) == 140
    assert book.centroids.shape[0] == CELLS


def test_a_codebook_in_use_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c1.json").write_text("{}")
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path)])
    assert "--replace" in capsys.readouterr().err
    assert (tmp_path / "c1.json").read_text() == "{}"


def test_one_word_is_dropped_of_a_text_that_has_some_left() -> None:
    text = "один два три четыре"
    short = dropped(text).split()
    assert len(short) == 3
    assert set(short) < set(text.split())
    assert dropped(text) == dropped(text)
    assert dropped("один два три") == "один два три"


def test_the_projection_looks_away_from_what_pairs_differ_in() -> None:
    draw = np.random.default_rng(1)
    sense = draw.normal(size=(300, 8))
    noise = 3 * draw.normal(size=(2, 300, 4))
    one, other = (quantise(unit(np.concatenate([sense, part], axis=1).astype(np.float32))) for part in noise)
    view = fit_projection(one, {"dropped": (one, other)}, width=6)
    before = float(np.mean(np.diagonal(cosines(one, other))))
    seen = [quantise(unit(view.of(part))) for part in (one, other)]
    assert np.mean(np.diagonal(cosines(*seen))) > before + 0.3
    assert view.weights.shape == (6, 12)


def test_neighbours_are_the_nearest_others() -> None:
    rows = blobs()
    left, right = neighbour_pairs(rows)
    assert len(left) == 3 * len(rows)
    assert (np.sum(left.astype(int) * right, axis=1) / 127**2).min() > 0.8
    assert not (left == right).all(axis=1).any()
