"""Shipped data is found, and what looks like a path is only ever a path."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenepipe import rooms
from scenepipe.errors import ConfigError


def test_rooms_hold_what_is_shipped() -> None:
    assert (rooms.room("registers") / "poet" / "register.yaml").is_file()
    assert (rooms.room("pipelines") / "quickstart.yaml").is_file()
    assert "quickstart" in rooms.shipped_pipelines()


def test_a_room_inside_the_package_comes_before_one_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, beside = tmp_path / "scenepipe" / "registers", tmp_path / "registers"
    beside.mkdir(parents=True)
    (tmp_path / "scenepipe").mkdir()
    monkeypatch.setattr(rooms, "__file__", str(tmp_path / "scenepipe" / "rooms.py"))
    assert rooms.room("registers") == beside
    inside.mkdir()
    assert rooms.room("registers") == inside
    with pytest.raises(FileNotFoundError, match="install scenepipe again"):
        rooms.room("pipelines")


def test_only_rooms_are_rooms() -> None:
    with pytest.raises(ValueError, match="possible"):
        rooms.room("../secrets")


def test_a_pipeline_is_found_by_path_and_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("scenepipe: 1\n")
    assert rooms.find_pipeline(str(mine)) == mine
    assert rooms.find_pipeline("quickstart") == rooms.room("pipelines") / "quickstart.yaml"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").mkdir()  # a folder of that name hides nothing
    assert rooms.find_pipeline("quickstart") == rooms.room("pipelines") / "quickstart.yaml"


@pytest.mark.parametrize("given", ["none.yaml", "./quickstart", "folder/quickstart", "quickstat", ""])
def test_what_is_not_there_is_refused(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError):
        rooms.find_pipeline(given)
