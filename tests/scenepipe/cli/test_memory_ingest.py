"""``scenepipe memory ingest``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Cli = Callable[..., Result]
BOOK = "# Книга\n\nТишина стоит у порога. Дрожь проходит насквозь.\n\n## Шаг\n\nКаждый шаг слышен.\n"


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "книга.md"
    path.write_text(BOOK, encoding="utf-8")
    return path


def test_a_book_is_read_once(cli: Cli, pipeline: Path, book: Path, tmp_path: Path) -> None:
    assert not (tmp_path / "archive.db").exists()
    assert f"{book}: 2 parts, 2 new" in cli("memory", "ingest", book, pipeline).stdout.replace("\n", "")
    assert f"{book}: 2 parts, 0 new" in cli("memory", "ingest", book, pipeline).stdout.replace("\n", "")
    stats = json.loads(cli("memory", "stats", pipeline, "--json").stdout)
    assert (stats["scenes"], stats["kinds"], stats["resonant"]) == (2, {"read": 2}, [])


def test_what_was_read_is_recalled_by_a_run_and_shown_with_its_place(cli: Cli, pipeline: Path, book: Path) -> None:
    cli("memory", "ingest", book, pipeline)
    scene = json.loads(cli("run", pipeline, "Где стоит тишина?", "--json").stdout)
    echo = scene["echoes"][0]
    assert (echo["source"], BOOK[slice(*echo["span"])]) == (str(book), echo["text"])
    assert f"прочитано в {book}, 0–{echo['span'][1]}" in cli("run", pipeline, "Где тишина?").stdout
    assert f"source {book}, 0–" in cli("memory", "show", echo["scene_id"], pipeline).stdout


def test_sizes_and_namespace_have_an_effect(cli: Cli, pipeline: Path, book: Path) -> None:
    def new(*options: object) -> int:
        return int(json.loads(cli("memory", "ingest", book, pipeline, "--json", *options).stdout)["new"])

    assert new("--characters", 30) > 3
    assert new("--characters", 1000, "--namespace", "anna", "--user", "anna") == 2
    assert new("--characters", 1000, "--namespace", "anna") == 0
    encounters = cli("memory", "export", pipeline, book.parent / "out.jsonl")
    assert encounters.exit_code == 0
    assert '"user":"anna"' in (book.parent / "out.jsonl").read_text(encoding="utf-8")


def test_a_bad_file_is_named_and_the_others_are_read(cli: Cli, pipeline: Path, book: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(b"\xff")
    (tmp_path / "boom.txt").write_text("Тишина.\n\nBOOM", encoding="utf-8")
    result = cli("memory", "ingest", tmp_path / "bad.txt", tmp_path / "boom.txt", book, pipeline, "--characters", 60)
    assert result.exit_code == 1
    assert "bad.txt: byte 0 is not UTF-8" in result.stderr
    assert "part 0: stage 'toy-scene'" in result.stderr.replace("\n", "")
    assert "книга.md: 2 parts, 2 new" in result.stdout.replace("\n", "")


def test_what_cannot_read_or_remember_is_refused(cli: Cli, pipeline: Path, book: Path, tmp_path: Path) -> None:
    for options, says in (
        ([book, tmp_path / "a.db"], "has no stages to read with"),
        ([book, pipeline, "--characters", 5, "--tokens", 5], "give one of them"),
        ([book, pipeline, "--tokens", 5], "no stage counts tokens"),
    ):
        result = cli("memory", "ingest", *options)
        assert result.exit_code == 2
        assert says in result.stderr.replace("\n", " ")
    forgetful = tmp_path / "p.yaml"
    forgetful.write_text("scenepipe: 1\nname: p\nencoder: null\nmemory: {use: memory}\nstages: [toy-scene]\n")
    result = cli("memory", "ingest", book, forgetful)
    assert result.exit_code == 2
    assert "only while it runs" in result.stderr
