"""``scenepipe memory show NAME``: the scene that a hypertoken stands for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from scenepipe.memory.sqlite import SqliteArchive
from scenepipe.testing.archive_material import encounter_of, scene_of

Cli = Callable[..., Result]
CHAIN = ("шаг", "тишина", "жар")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "archive.db"

    async def fill() -> None:
        store = SqliteArchive(path=str(path))
        await store.open()
        scenes = [scene_of(f"Шаг, тишина\r\nи жар {n}", CHAIN, linkage=CHAIN) for n in range(3)]
        await store.append(scenes, [encounter_of(scene, scene.id) for scene in scenes])
        await store.aclose()

    asyncio.run(fill())
    return path


@pytest.mark.parametrize("name", ["шагтишинажар", "ШАГ·тишина·жар"])
def test_a_hypertoken_shows_its_scene(cli: Cli, archive: Path, name: str) -> None:
    shown = json.loads(cli("memory", "show", name, archive, "--json").stdout)
    assert shown["scene"]["text"].startswith("Шаг, тишина\r\nи жар ")
    assert [each["kind"] for each in shown["encounters"]] == ["met"]


def test_what_is_neither_id_nor_hypertoken_is_refused(cli: Cli, archive: Path) -> None:
    result = cli("memory", "show", "шагтишина", archive)
    assert result.exit_code == 2
    assert "no scene begins so" in result.stderr


def test_stats_list_hypertokens(cli: Cli, archive: Path) -> None:
    assert "шагтишинажар = шаг·тишина·жар" in cli("memory", "stats", archive).stdout
