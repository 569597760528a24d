"""``scenepipe memory search``: hits with their reasons, and every filter."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

Cli = Callable[..., Result]
TEXTS = ("Тихий шаг ночью", "Громкий шаг ночью", "A quiet step")


@pytest.fixture
def remembered(cli: Cli, pipeline: Path, tmp_path: Path) -> Path:
    """Three texts met and answered, the first in a chat, and a book read."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "\n".join(json.dumps({"text": text, "chat": "a" if text == TEXTS[0] else None}) for text in TEXTS),
        encoding="utf-8",
    )
    assert cli("run", pipeline, "--input", rows, "--output", tmp_path / "out.jsonl").exit_code == 0
    (tmp_path / "книга.md").write_text("# Книга\n\nШаг ночью не слышен.", encoding="utf-8")
    assert cli("memory", "ingest", tmp_path / "книга.md", pipeline).exit_code == 0
    return pipeline.parent / "archive.db"


def found(cli: Cli, place: Path, text: str, *options: object) -> list[dict[str, Any]]:
    result = cli("memory", "search", text, place, "--json", *options)
    assert result.exit_code == 0, result.stderr
    echoes: list[dict[str, Any]] = json.loads(result.stdout)["echoes"]
    return echoes


def texts(echoes: list[dict[str, Any]]) -> set[str]:
    return {echo["text"].split()[0] for echo in echoes}


def test_hits_have_score_reasons_and_citation(cli: Cli, pipeline: Path, remembered: Path) -> None:
    echoes = found(cli, pipeline, "Куда шаг ночью?")
    assert texts(echoes) == {"Тихий", "Громкий", "#"}
    assert all(echo["score"] > 0 and "shared symbols: " in echo["reasons"][0] for echo in echoes)
    book = next(echo for echo in echoes if echo["source"])
    assert (Path(book["source"]).name, book["span"]) == ("книга.md", [0, 29])
    shown = cli("memory", "search", "Куда шаг ночью?", pipeline).stdout
    assert f"{book['scene_id'][:8]}  # Книга Шаг ночью не слышен." in shown
    assert "общие символы: шаг, ночью, тишина; прочитано в " in shown
    assert "книга.md, 0–29" in shown


def test_what_was_met_resonates(cli: Cli, pipeline: Path, remembered: Path) -> None:
    result = cli("memory", "search", TEXTS[0], pipeline, "--json")
    assert json.loads(result.stdout)["resonance"]["encounters"] == 1
    assert "(1 encounter)" in cli("memory", "search", TEXTS[0], pipeline).stdout
    assert "nothing is called back" in cli("memory", "search", TEXTS[0], pipeline, "--namespace", "x").stdout


def test_a_database_file_is_searched_without_a_pipeline(cli: Cli, remembered: Path) -> None:
    echoes = found(cli, remembered, "Тихий шаг.")
    assert "Тихий" in texts(echoes)
    assert any("шаг" in reason for echo in echoes for reason in echo["reasons"])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--limit", 1], 1),
        (["--kind", "read"], {"#"}),
        (["--kind", "met"], {"Тихий", "Громкий"}),
        (["--kind", "met", "--kind", "read"], {"Тихий", "Громкий", "#"}),
        (["--chat", "a"], {"Тихий"}),
        (["--chat", "b"], set()),
        (["--since", "1h"], {"Тихий", "Громкий", "#"}),
        (["--since", "2999-01-01"], set()),
        (["--until", "2000-01-01"], set()),
        (["--register", "poet"], {"Тихий", "Громкий", "#"}),
        (["--register", "logician"], set()),
        (["--code", "Δ41@c1"], {"Тихий", "Громкий", "#"}),
        (["--code", "Δ42@c1"], set()),
        (["--valence", "-0.5:0"], {"Тихий", "Громкий", "#"}),
        (["--valence", "0:"], set()),
        (["--tension", ":0.4"], set()),
        (["--arousal", "-1:1"], set()),
        (["--dominance", "-1:1"], set()),
        (["--namespace", "anna"], set()),
    ],
)
def test_each_filter_has_an_effect(
    cli: Cli, pipeline: Path, remembered: Path, options: list[object], expected: set[str] | int
) -> None:
    echoes = found(cli, pipeline, "Куда шаг ночью?", *options)
    assert (len(echoes) if isinstance(expected, int) else texts(echoes)) == expected


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--kind", "reed"], "did you mean 'read'"),
        (["--since", "yesterday"], "is no time"),
        (["--code", "41"], "is no Δ-code"),
        (["--valence", "low"], "is not LOW:HIGH"),
        (["--valence", "a:b"], "is not LOW:HIGH"),
        (["--valence", "1:-1"], "holds nothing"),
    ],
)
def test_what_cannot_be_is_refused(cli: Cli, pipeline: Path, remembered: Path, options: list[str], says: str) -> None:
    result = cli("memory", "search", "шаг", pipeline, *options)
    assert result.exit_code == 2
    assert says in result.stderr


def test_searching_writes_nothing(cli: Cli, pipeline: Path, remembered: Path) -> None:
    before = cli("memory", "stats", pipeline, "--json").stdout
    found(cli, pipeline, "Совсем новый текст")
    assert (
        json.loads(cli("memory", "stats", pipeline, "--json").stdout)["encounters"] == json.loads(before)["encounters"]
    )


def test_a_text_that_a_stage_fails_is_exit_1(cli: Cli, pipeline: Path, remembered: Path) -> None:
    result = cli("memory", "search", "BOOM", pipeline)
    assert result.exit_code == 1
    assert "toy-scene" in result.stderr
