"""Settings of a training run: defaults, faults all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenepipe.errors import ConfigError
from scenepipe.training.settings import TrainSettings, read_settings


def test_a_file_changes_what_it_names_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text("rank: 4\nrate: 0.001\n", encoding="utf-8")
    assert read_settings(path) == TrainSettings(rank=4, rate=0.001)


def test_alpha_is_twice_the_rank_unless_given() -> None:
    assert TrainSettings(rank=4).scaled_alpha == 8.0
    assert TrainSettings(rank=4, alpha=3).scaled_alpha == 3.0


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text("rank: 0\nepoch: 3\ndtype: int8\n", encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        read_settings(path)
    text = str(raised.value)
    assert all(name in text for name in ("rank", "epoch", "dtype", "not a setting; possible: rank, alpha"))


@pytest.mark.parametrize("content", ["", "- rank", "rank: [", "x" * (1 << 17)])
def test_what_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "train.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"train\.yaml"):
        read_settings(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_settings(tmp_path / "none.yaml")
