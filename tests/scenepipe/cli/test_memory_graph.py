"""``scenepipe memory graph``: a scene or a symbol, as SVG or JSON."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

FIRST, SECOND = "Почему я не чувствую шаг в себе?", "Мой шаг по снегу и тишина."
SVG = "{http://www.w3.org/2000/svg}"
Cli = Callable[..., Result]


@pytest.fixture
def remembered(cli: Cli, pipeline: Path, tmp_path: Path) -> Path:
    for text in (FIRST, SECOND):
        assert cli("run", pipeline, text).exit_code == 0
    return tmp_path / "archive.db"


def read(result: Result) -> dict[str, list[dict[str, str]]]:
    assert result.exit_code == 0, result.stderr
    found: dict[str, list[dict[str, str]]] = json.loads(result.stdout)
    return found


def words(drawn: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(drawn.encode()).iter(f"{SVG}text")]


def scene_id(cli: Cli, place: Path, text: str) -> str:
    rows = json.loads(cli("memory", "stats", place, "--json").stdout)["resonant"]
    return str(next(row["id"] for row in rows if row["text"] == text))


def test_around_a_symbol(cli: Cli, pipeline: Path, remembered: Path) -> None:
    found = read(cli("memory", "graph", "шаг", remembered, "--json"))
    assert found["nodes"][0] == {"id": "symbol:шаг", "kind": "symbol", "label": "шаг"}
    assert {FIRST, SECOND, "тишина", "не:чувствую"} <= {node["label"] for node in found["nodes"]}
    assert {"beside", "holds", "echo"} <= {edge["relation"] for edge in found["edges"]}
    assert read(cli("memory", "graph", "ШАГ", pipeline, "--json")) == found, "a pipeline's memory, any case"


def test_around_a_scene_by_id_and_by_its_first_characters(cli: Cli, remembered: Path) -> None:
    name = scene_id(cli, remembered, SECOND)
    found = read(cli("memory", "graph", name, remembered, "--json"))
    assert found["nodes"][0] == {"id": name, "kind": "scene", "label": SECOND}
    echo = [edge for edge in found["edges"] if edge["relation"] == "echo"]
    assert [(edge["source"], edge["target"]) for edge in echo] == [(name, scene_id(cli, remembered, FIRST))]
    assert read(cli("memory", "graph", name[:8], remembered, "--json")) == found


def test_the_picture_goes_to_stdout_or_into_a_file(cli: Cli, remembered: Path, tmp_path: Path) -> None:
    drawn = cli("memory", "graph", "шаг", remembered)
    assert drawn.exit_code == 0
    assert {"шаг", "не:чувствую", SECOND} <= set(words(drawn.stdout))
    target = tmp_path / "graph.svg"
    result = cli("memory", "graph", "шаг", remembered, "--output", target)
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"wrote {target}" in result.stderr.replace("\n", "")
    assert target.read_text("utf-8") == drawn.stdout


def test_language_scheme_and_bound_are_followed(cli: Cli, remembered: Path) -> None:
    drawn = cli("memory", "graph", "шаг", remembered).stdout
    assert "окрестность" in words(drawn)
    assert "@media" in drawn
    assert "neighbourhood" in words(cli("memory", "graph", "шаг", remembered, "--language", "en").stdout)
    assert "@media" not in cli("memory", "graph", "шаг", remembered, "--scheme", "dark").stdout
    bounded = read(cli("memory", "graph", "шаг", remembered, "--most", "3", "--json"))
    assert len(bounded["nodes"]) == 3
    assert bounded["left_out"]


def test_a_symbol_is_looked_for_in_its_namespace(cli: Cli, remembered: Path) -> None:
    here = cli("memory", "graph", "шаг", remembered, "--namespace", "default", "--json")
    assert read(here)["nodes"]
    there = cli("memory", "graph", "шаг", remembered, "--namespace", "чужой")
    assert there.exit_code == 2
    assert "no scene of namespace 'чужой' holds the symbol 'шаг'" in there.stderr.replace("\n", " ")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("море",), "holds the symbol 'море'"),
        (("0000",), "no scene begins so"),
        (("шаг", "--output", "graph.png"), "ends in .svg"),
        (("шаг", "--output", "graph.svg", "--json"), "give one of them"),
        (("шаг", "--most", "1"), "--most"),
    ],
)
def test_what_cannot_be_drawn_is_refused(cli: Cli, remembered: Path, args: tuple[str, ...], says: str) -> None:
    result = cli("memory", "graph", args[0], remembered, *args[1:])
    assert result.exit_code == 2
    assert says in result.stderr.replace("\n", " ")
    assert not Path("graph.svg").exists()


def test_a_picture_that_cannot_be_written_is_refused(cli: Cli, remembered: Path, tmp_path: Path) -> None:
    result = cli("memory", "graph", "шаг", remembered, "--output", tmp_path / "no" / "graph.svg")
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr
