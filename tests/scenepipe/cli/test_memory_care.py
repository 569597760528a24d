"""``scenepipe memory verify``, ``rebuild``, ``backup`` and ``forget``."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import Result

Cli = Callable[..., Result]
SECRET = "Совершенно тайный шаг"


@pytest.fixture
def remembered(cli: Cli, pipeline: Path) -> Path:
    for text in (SECRET, SECRET, "Why not feel the step?"):
        assert cli("run", pipeline, text, "--json").exit_code == 0
    return pipeline.parent / "archive.db"


def stats(cli: Cli, place: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads(cli("memory", "stats", place, "--json").stdout)
    return found


def id_of(cli: Cli, place: Path, text: str) -> str:
    rows = json.loads(cli("memory", "stats", place, "--json").stdout)["resonant"]
    return next(str(row["id"]) for row in rows if row["text"] == text)


# --- verify, rebuild ---


def test_verify_counts_and_finds_nothing_wrong(cli: Cli, pipeline: Path, remembered: Path) -> None:
    result = cli("memory", "verify", pipeline)
    assert (result.exit_code, "no faults" in result.stdout) == (0, True)
    found = json.loads(cli("memory", "verify", remembered, "--json").stdout)
    assert (found["scenes"], found["faults"]) == (2, [])


def test_verify_of_a_damaged_archive_is_exit_1_and_names_the_fault(cli: Cli, remembered: Path) -> None:
    data = remembered.read_bytes()
    place = data.rindex(SECRET.encode())
    remembered.write_bytes(data[:place] + b"X" + data[place + 1 :])
    result = cli("memory", "verify", remembered)
    assert result.exit_code == 1
    assert "fault " in result.stdout
    assert json.loads(cli("memory", "verify", remembered, "--json").stdout)["faults"]


def test_rebuild_brings_back_what_is_derived(cli: Cli, pipeline: Path, remembered: Path) -> None:
    before = cli("memory", "search", "тайный шаг", pipeline, "--json").stdout
    assert json.loads(before)["echoes"]
    with closing(sqlite3.connect(remembered)) as connection, connection:
        connection.execute("DELETE FROM symbols")
    assert not json.loads(cli("memory", "search", "тайный шаг", pipeline, "--json").stdout)["echoes"]
    result = cli("memory", "rebuild", remembered)
    assert (result.exit_code, "2 stored analyses" in result.stdout) == (0, True)
    assert cli("memory", "search", "тайный шаг", pipeline, "--json").stdout == before


# --- backup ---


def test_a_backup_is_an_archive_with_the_same_records(
    cli: Cli, pipeline: Path, remembered: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    result = cli("memory", "backup", pipeline, copy)
    assert result.exit_code == 0
    assert "2 scenes, " in result.stdout
    assert "checked; read it as any .db" in result.stdout
    assert {path.name for path in tmp_path.glob("copy.db*")} == {"copy.db"}
    assert copy.stat().st_mode & 0o077 == 0
    for place, name in ((pipeline, "a.jsonl"), (copy, "b.jsonl")):
        assert cli("memory", "export", place, tmp_path / name).exit_code == 0
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_a_backup_overwrites_nothing_and_leaves_no_half(cli: Cli, remembered: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("mine")
    assert cli("memory", "backup", remembered, tmp_path / "copy.db").exit_code == 1
    assert (tmp_path / "copy.db").read_text() == "mine"
    assert cli("memory", "backup", remembered, tmp_path / "no" / "copy.db").exit_code == 1
    assert not list(tmp_path.glob("*.part*"))


def test_a_damaged_archive_has_no_backup(cli: Cli, remembered: Path, tmp_path: Path) -> None:
    data = remembered.read_bytes()
    place = data.rindex(SECRET.encode())
    remembered.write_bytes(data[:place] + b"X" + data[place + 1 :])
    result = cli("memory", "backup", remembered, tmp_path / "copy.db")
    assert result.exit_code == 1
    assert "damaged" in result.stderr
    assert not list(tmp_path.glob("copy.db*"))


def test_a_backup_of_another_store_is_a_checked_export(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("qdrant_edge")
    path = tmp_path / "edge.yaml"
    memory = f"{{use: qdrant-edge, path: {tmp_path / 'edge'}}}"
    path.write_text(f"scenepipe: 1\nname: p\nencoder: null\nmemory: {memory}\nstages: [toy-scene, remember]\n")
    assert cli("run", path, "Один шаг", "--json").exit_code == 0
    result = cli("memory", "backup", path, tmp_path / "copy.jsonl")
    assert result.exit_code == 0
    assert "1 scenes, 1 encounters, checked; 'scenepipe memory import' reads it" in result.stdout.replace("\n", " ")
    assert cli("memory", "import", tmp_path / "copy.jsonl", tmp_path / "new.db").exit_code == 0


# --- forget ---


def test_forgetting_asks_shows_and_removes(cli: Cli, pipeline: Path, remembered: Path) -> None:
    secret = id_of(cli, pipeline, SECRET)
    kept = cli("memory", "forget", secret[:8], pipeline, input="n\n")
    assert kept.exit_code == 1
    assert f"{secret[:8]}  {SECRET}  (encounters: 4)" in kept.stdout
    assert stats(cli, pipeline)["scenes"] == 2
    result = cli("memory", "forget", secret[:8], pipeline, input="y\n")
    assert result.exit_code == 0
    assert "1 scenes and 4 encounters are gone" in result.stdout.replace("\n", " ")
    assert stats(cli, pipeline)["scenes"] == 1
    assert SECRET.encode() not in remembered.read_bytes()
    assert cli("memory", "show", secret, pipeline).exit_code == 2
    assert cli("memory", "verify", pipeline).exit_code == 0


def test_several_are_forgotten_without_asking(cli: Cli, pipeline: Path, remembered: Path, tmp_path: Path) -> None:
    assert cli("memory", "export", pipeline, tmp_path / "old.jsonl").exit_code == 0
    ids = [id_of(cli, pipeline, text) for text in (SECRET, "Why not feel the step?")]
    assert cli("memory", "forget", *ids, ids[0], remembered, "--yes").exit_code == 0
    assert stats(cli, pipeline)["scenes"] == 0
    assert cli("memory", "import", tmp_path / "old.jsonl", pipeline).exit_code == 0
    assert stats(cli, pipeline)["scenes"] == 0


def test_nothing_is_forgotten_where_one_id_is_unknown(cli: Cli, pipeline: Path, remembered: Path) -> None:
    result = cli("memory", "forget", id_of(cli, pipeline, SECRET), "0000-none", pipeline, "--yes")
    assert (result.exit_code, "no scene begins so" in result.stderr) == (2, True)
    assert stats(cli, pipeline)["scenes"] == 2


def test_a_document_is_forgotten_by_its_source(cli: Cli, pipeline: Path, remembered: Path, tmp_path: Path) -> None:
    texts = {"a.txt": "Первая часть.\n\nОбщая часть.\n\nСказанная часть.", "b.txt": "Общая часть.\n\nВторая часть."}
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert cli("memory", "ingest", tmp_path / name, pipeline, "--characters", 16).exit_code == 0
    assert cli("run", pipeline, "Сказанная часть.", "--json").exit_code == 0
    assert stats(cli, pipeline)["scenes"] == 6
    result = cli("memory", "forget", "--source", tmp_path / "a.txt", pipeline, "--yes")
    assert result.exit_code == 0
    assert "Первая часть." in result.stdout
    assert "Общая" not in result.stdout
    assert "Сказанная" not in result.stdout
    assert stats(cli, pipeline)["scenes"] == 5
    result = cli("memory", "forget", "--source", "a.text", pipeline, "--yes")
    assert result.exit_code == 2
    assert "nothing was read from it" in result.stderr
    result = cli("memory", "forget", pipeline, "--yes")
    assert (result.exit_code, "nothing was named" in result.stderr) == (2, True)
    assert cli("memory", "ingest", tmp_path / "a.txt", pipeline, "--characters", 16).exit_code == 0
    assert stats(cli, pipeline)["scenes"] == 6
