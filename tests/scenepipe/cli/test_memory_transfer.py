"""``scenepipe memory export`` and ``import``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Cli = Callable[..., Result]
TEXTS = ("Почему я не чувствую шаг?", "Why not feel the step?")


@pytest.fixture
def remembered(cli: Cli, pipeline: Path) -> Path:
    for text in TEXTS:
        assert cli("run", pipeline, text, "--json").exit_code == 0
    return pipeline.parent / "archive.db"


def test_an_archive_moves_to_another_file(cli: Cli, pipeline: Path, remembered: Path, tmp_path: Path) -> None:
    first, second, new = tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "new.db"
    done = cli("memory", "export", pipeline, first)
    assert done.exit_code == 0
    assert "2 scenes, 4 encounters, sha256 " in done.stdout
    assert "2 scenes and 4 encounters are new, of 2 and 4" in cli("memory", "import", first, new).stdout
    assert "0 scenes and 0 encounters are new, of 2 and 4" in cli("memory", "import", first, new).stdout
    assert cli("memory", "export", new, second).exit_code == 0
    assert first.read_bytes() == second.read_bytes()


def test_what_is_not_there_is_refused_and_nothing_is_made(cli: Cli, remembered: Path, tmp_path: Path) -> None:
    absent = tmp_path / "absent.db"
    assert cli("memory", "export", absent, tmp_path / "a.jsonl").exit_code == 2
    assert cli("memory", "import", tmp_path / "none.jsonl", absent).exit_code == 1
    assert not absent.exists()
    assert not (tmp_path / "a.jsonl").exists()


def test_an_export_that_is_there_is_not_overwritten(cli: Cli, remembered: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("mine")
    result = cli("memory", "export", remembered, tmp_path / "a.jsonl")
    assert result.exit_code == 1
    assert "is not overwritten" in result.stderr
    assert (tmp_path / "a.jsonl").read_text() == "mine"


def test_a_folder_that_no_run_has_made_is_not_made_by_looking(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    memory = f"{{use: qdrant-edge, path: {tmp_path / 'edge'}}}"
    path.write_text(f"scenepipe: 1\nname: p\nencoder: null\nmemory: {memory}\nstages: [toy-scene]\n")
    assert cli("memory", "stats", path).exit_code == 2
    assert not (tmp_path / "edge").exists()
