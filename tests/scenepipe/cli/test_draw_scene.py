"""``scenepipe draw --scene`` and ``--scene-file``: what is drawn, and what is refused."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

RUSSIAN = "Почему я не чувствую шаг в себе?"
SVG = "{http://www.w3.org/2000/svg}"
Cli = Callable[..., Result]


def words(drawn: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(drawn.encode()).iter(f"{SVG}text")]


@pytest.fixture
def scene_file(cli: Cli, pipeline: Path, tmp_path: Path) -> Path:
    path = tmp_path / "scene.json"
    path.write_text(cli("run", pipeline, RUSSIAN, "--json").stdout, encoding="utf-8")
    return path


def test_the_scene_of_a_text_is_drawn_without_calling_the_engine(cli: Cli, pipeline: Path, tmp_path: Path) -> None:
    target = tmp_path / "scene.svg"
    result = cli("draw", pipeline, "--scene", RUSSIAN, "--output", target)
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"wrote {target}" in result.stderr.replace("\n", "")
    assert {"не:чувствую", "тишина", "Поэт", "0.60", "Δ41@c1", "встречена впервые"} <= set(
        words(target.read_text("utf-8"))
    )
    assert json.loads(cli("memory", "stats", pipeline, "--json").stdout)["scenes"] == 0


def test_a_text_comes_from_standard_input(cli: Cli, pipeline: Path) -> None:
    typed = cli("draw", pipeline, "--scene", RUSSIAN).stdout
    assert cli("draw", pipeline, "--scene", "-", input=f"\ufeff{RUSSIAN}\n").stdout == typed
    bad = cli("draw", pipeline, "--scene", "-", input=b"\xff\xfe")
    assert bad.exit_code == 2
    assert "byte 0 is not UTF-8" in bad.stderr
    assert cli("draw", pipeline, "--scene", "-", input=" \n").exit_code == 1


def test_a_scene_that_run_wrote_is_drawn_without_a_pipeline(cli: Cli, pipeline: Path, scene_file: Path) -> None:
    drawn = cli("draw", "--scene-file", scene_file).stdout
    assert {"не:чувствую", "poet", "встречена впервые"} <= set(words(drawn))
    assert "Поэт" in words(cli("draw", pipeline, "--scene-file", scene_file).stdout)
    assert cli("draw", "--scene-file", "-", input=scene_file.read_bytes()).stdout == drawn
    indented = json.dumps(json.loads(scene_file.read_text("utf-8")), indent=2)
    assert cli("draw", "--scene-file", "-", input=indented).stdout == drawn


def test_language_and_scheme_are_followed(cli: Cli, scene_file: Path) -> None:
    plain = cli("draw", "--scene-file", scene_file).stdout
    assert "напряжение" in words(plain)
    assert "@media" in plain
    english = cli("draw", "--scene-file", scene_file, "--language", "en").stdout
    assert "tension" in words(english)
    dark = cli("draw", "--scene-file", scene_file, "--scheme", "dark").stdout
    assert "@media" not in dark
    assert 'class="scene-dark"' in dark


def test_one_row_of_many_is_chosen(cli: Cli, pipeline: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    texts = tmp_path / "texts.txt"
    texts.write_text("Первый шаг.\nBOOM\nThe third step.\n", encoding="utf-8")
    cli("run", pipeline, "--input", texts, "--output", rows)
    several = cli("draw", "--scene-file", rows)
    assert several.exit_code == 2
    assert "choose one with --row N" in several.stderr
    assert "Первый" in "".join(words(cli("draw", "--scene-file", rows, "--row", "0").stdout))
    assert "third" in "".join(words(cli("draw", "--scene-file", rows, "--row", "2").stdout))
    failed = cli("draw", "--scene-file", rows, "--row", "1")
    assert failed.exit_code == 2
    assert "row 1 is a failure of stage 'toy-scene'" in failed.stderr
    missing = cli("draw", "--scene-file", rows, "--row", "3")
    assert missing.exit_code == 2
    assert "has no row 3" in missing.stderr


@pytest.mark.parametrize(
    "content", ["", "not JSON", "{}", '{"scene_version": 2}', "[" * 100_000, "{\n}\n\n{\n}", "null"]
)
def test_a_file_without_a_scene_is_refused(cli: Cli, tmp_path: Path, content: str) -> None:
    path = tmp_path / "scene.json"
    path.write_text(content)
    result = cli("draw", "--scene-file", path)
    assert result.exit_code == 1
    assert f"{path}: this is not a scene" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--scene", "text"), "--scene needs a PIPELINE"),
        (("toy", "--scene", "text", "--scene-file", "x"), "both given"),
        (("toy", "--scene", "text", "--row", "1"), "--row chooses a line of --scene-file"),
        (("toy", "--row", "1"), "--row is for drawing a scene"),
        (("toy", "--language", "en"), "--language is for drawing a scene"),
        (("toy", "--scheme", "auto"), "--scheme is for drawing a scene"),
        (("--scene-file", "x", "--format", "mermaid"), "a scene is drawn as SVG"),
        (("--scene-file", "x", "--output", "scene.png"), "ends in .svg"),
        (("--scene-file", "no/such/file"), "cannot be read: No such file"),
        (("--format", "svg"), "there is nothing to draw"),
    ],
)
def test_what_cannot_be_drawn_is_refused(cli: Cli, args: tuple[str, ...], says: str) -> None:
    result = cli("draw", *args)
    assert result.exit_code == 2
    assert says in result.stderr.replace("\n", " ")


def test_a_picture_that_cannot_be_written_is_refused(cli: Cli, scene_file: Path, tmp_path: Path) -> None:
    result = cli("draw", "--scene-file", scene_file, "--output", tmp_path / "no" / "scene.svg")
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr
