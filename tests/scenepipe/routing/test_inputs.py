"""Inputs as rows: read once, kept by what they depend on, the same alone and in a batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scenepipe.routing.features import FARTHEST, FEATURES
from scenepipe.routing.inputs import read_inputs, read_scenes, scene_builder
from scenepipe.scene import Language, SemanticField, Vector, new_scene
from scenepipe.testing.hash_encoder import HashEncoder

TEXTS = ["The sea and the harbour.", "Почему дрожит рука?", "🙂"]


def test_rows_are_those_of_the_scenes(tmp_path: Path) -> None:
    encoder = HashEncoder()
    found = read_inputs(TEXTS, encoder, tmp_path)
    again = found.view(read_scenes(TEXTS, scene_builder(encoder)))
    assert found.vectors.shape == (3, encoder.dim)
    assert found.features.shape == (3, len(FEATURES))
    assert np.array_equal(found.vectors, again.vectors)
    assert np.array_equal(found.features, again.features)
    assert not found.vectors[2].any(), "a text without words has no vector"


def test_alone_and_in_a_batch_are_the_same(tmp_path: Path) -> None:
    encoder = HashEncoder()
    found = read_inputs(TEXTS, encoder, tmp_path)
    scenes = read_scenes(TEXTS, scene_builder(encoder))
    for row, scene in enumerate(scenes):
        assert np.array_equal(found.view([scene]).vectors[0], found.vectors[row])


def test_what_was_read_is_kept_and_broken_files_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = HashEncoder()
    first = read_inputs(TEXTS, encoder, tmp_path)
    (file,) = (tmp_path / "scenes").iterdir()
    file.write_bytes(b"broken")
    assert np.array_equal(read_inputs(TEXTS, encoder, tmp_path).vectors, first.vectors)
    assert file.stat().st_size > 100
    monkeypatch.setattr("scenepipe.routing.inputs._read", None)
    assert np.array_equal(read_inputs(TEXTS, encoder, tmp_path).features, first.features)


def test_another_encoder_another_file(tmp_path: Path) -> None:
    read_inputs(TEXTS, HashEncoder(dim=64), tmp_path)
    assert read_inputs(TEXTS, HashEncoder(dim=32), tmp_path).vectors.shape == (3, 32)
    assert len(list((tmp_path / "scenes").iterdir())) == 2


def test_other_features_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read_inputs(TEXTS, None, tmp_path)
    wider = tuple(feature._replace(spread=2 * feature.spread) for feature in FEATURES)
    for module in ("features", "inputs"):
        monkeypatch.setattr(f"scenepipe.routing.{module}.FEATURES", wider)
    again = read_inputs(TEXTS, None, tmp_path).features
    free = np.abs(first.features) < FARTHEST
    assert again[free] == pytest.approx(first.features[free] / 2)


def test_without_an_encoder_there_are_features_alone(tmp_path: Path) -> None:
    found = read_inputs(TEXTS, None, tmp_path)
    assert found.vectors.shape == (3, 0)
    assert found.features[0].any()
    scene = read_scenes(TEXTS[:1], scene_builder(HashEncoder()))
    assert found.view(scene).vectors.shape == (1, 0)


@pytest.mark.parametrize("data", [bytes(256), b"\x01" * 255])
def test_a_vector_of_zeros_or_of_another_length_is_none(tmp_path: Path, data: bytes) -> None:
    encoder = HashEncoder()
    field = SemanticField(axes="axes@1", vector=Vector(data=data, encoder=encoder.fingerprint))
    scene = new_scene("x").with_(field=field, language=Language(code="en"))
    assert not read_inputs(TEXTS, encoder, tmp_path).view([scene]).vectors.any()


def test_a_vector_of_another_encoder_is_none(tmp_path: Path) -> None:
    field = SemanticField(axes="axes@1", vector=Vector(data=b"\x01" * 256, encoder="other@1"))
    found = read_inputs(TEXTS, HashEncoder(), tmp_path)
    assert not found.view([new_scene("x").with_(field=field)]).vectors.any()
    own = field.model_copy(update={"vector": Vector(data=b"\x01" * 256, encoder=HashEncoder().fingerprint)})
    assert found.view([new_scene("x").with_(field=own)]).vectors.any()


def test_no_texts(tmp_path: Path) -> None:
    assert read_inputs([], HashEncoder(), tmp_path).vectors.shape == (0, 256)
