"""Every command but ``run``: what it prints, in words and as JSON, and its exit code."""

from __future__ import annotations

import importlib.metadata
import json
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from typer.testing import Result

from scenepipe import __version__
from scenepipe.cli import doctor
from scenepipe.errors import ModelError
from scenepipe.models import catalogue, fetch
from scenepipe.models.catalogue import LocalModel
from scenepipe.register import check_register, load_register
from scenepipe.registry import default_registry
from scenepipe.scene import Scene

RUSSIAN = "Почему я не чувствую шаг в себе?"
Cli = Callable[..., Result]


def test_version_and_help(cli: Cli) -> None:
    assert cli("--version").stdout == f"scenepipe {__version__}\n"
    shown = cli("--help").stdout
    for command in ("run", "explain", "check", "draw", "schema", "doctor", "model", "register", "memory"):
        assert f" {command} " in shown


# --- explain, check, draw, schema ---


def test_explain_says_why_and_what_without_calling_the_engine(cli: Cli, pipeline: Path) -> None:
    result = cli("explain", pipeline, RUSSIAN)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    at = lines.index("почему: Поэт 0.60")
    assert lines[at + 1] == "  +0.60 задано в конвейере"
    prompt = lines.index("decode prompt:")
    assert lines[prompt + 1 : prompt + 4] == [f"Сцена: {RUSSIAN}", "Сцепка: почему·тишина", "Ответ:"]
    assert (
        "decode mixture: mode exact, asked {poet 0.6, philosopher 0.3}, used {poet 0.6, philosopher 0.3}, base 0.1"
        in lines
    )
    assert lines[-1] == "не выполнялось: decode, remember"
    assert not any(line.startswith("ответ") for line in lines)


def test_explain_as_json_holds_scene_and_previews_and_writes_nothing(cli: Cli, pipeline: Path) -> None:
    found = json.loads(cli("explain", pipeline, RUSSIAN, "--json").stdout)
    assert Scene.from_json(json.dumps(found["scene"])).reply is None
    assert found["left_out"] == ["decode", "remember"]
    assert found["previews"]["decode"]["prompt"].startswith("Сцена: ")
    assert json.loads(cli("memory", "stats", pipeline, "--json").stdout)["scenes"] == 0


def test_explain_of_a_failing_text_is_exit_1(cli: Cli, pipeline: Path) -> None:
    assert cli("explain", pipeline, "BOOM").exit_code == 1


def test_check_shows_what_the_pipeline_is_made_of(cli: Cli, pipeline: Path) -> None:
    shown = cli("check", pipeline)
    assert shown.exit_code == 0
    assert "no faults" in shown.stdout
    found = json.loads(cli("check", pipeline, "--json").stdout)
    assert [stage["name"] for stage in found["stages"]] == ["toy-scene", "recall", "decode", "remember"]
    assert found["stages"][1] == {
        "name": "recall", "reads": ["symbols", "linkage"], "writes": ["echoes", "resonance", "turns"], "uses": ["archive"]
    }  # fmt: skip
    assert (found["backend"], found["encoder"], found["model"]) == ("fake", None, None)
    assert found["memory"].startswith("sqlite, ")
    assert found["registers"] == "poet (Poet), philosopher (Philosopher)"


def test_check_lists_every_fault(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "scenepipe: 1\nname: bad\nencoder: null\nregisters: [poe]\nstages: [recall, {use: remember, x: 1}]\n"
    )
    result = cli("check", path)
    assert result.exit_code == 2
    assert result.stderr.count(f"{path}:") >= 1
    path.write_text("scenepipe: 1\nname: bad\nencoder: null\nregisters: [poe]\nstages: [recall, remember]\n")
    result = cli("check", path)
    assert result.exit_code == 2
    assert "unknown register 'poe'" in result.stderr


def test_check_names_the_pip_command_of_a_missing_extra(cli: Cli, tmp_path: Path, toy: object) -> None:
    class NeedsMore(toy.ToyScene):  # type: ignore[name-defined, misc]
        requires = {"no_such_package_here": "stress"}  # noqa: RUF012 - as a plug-in would write it

    default_registry().add("stage", "needs-more", NeedsMore)
    path = tmp_path / "extra.yaml"
    path.write_text("scenepipe: 1\nname: extra\nencoder: null\nstages: [needs-more]\n")
    result = cli("check", path)
    assert result.exit_code == 2
    assert 'pip install "scenepipe[stress]"' in result.stderr


def test_draw_prints_mermaid_and_writes_svg_by_the_name_of_the_file(cli: Cli, pipeline: Path, tmp_path: Path) -> None:
    text = cli("draw", pipeline).stdout
    assert "flowchart TD" in text
    assert "archive<br/>sqlite" in text
    assert "fake (poet, philosopher)" in text
    target = tmp_path / "toy.svg"
    assert cli("draw", pipeline, "--output", target).exit_code == 0
    assert ET.parse(target).getroot().tag.endswith("svg")
    assert ET.fromstring(cli("draw", pipeline, "--format", "svg").stdout.encode()).tag.endswith("svg")
    assert cli("draw", pipeline, "--output", tmp_path / "no" / "toy.svg").exit_code == 2
    assert cli("draw", pipeline, "--format", "png").exit_code == 2


def test_schema_is_json_with_the_options_of_the_registered_names(cli: Cli) -> None:
    schema = json.loads(cli("schema").stdout)
    assert schema["properties"]["stages"]["minItems"] == 1
    assert "max_tokens" in json.dumps(schema)
    assert "fail_on" in json.dumps(schema)


# --- doctor ---


def test_doctor_reports_what_is_installed(cli: Cli) -> None:
    found = json.loads(cli("doctor", "--json").stdout)
    assert found["python"]["executable"] == sys.executable
    assert found["packages"]["pydantic"] == importlib.metadata.version("pydantic")
    assert found["cache"]["free_bytes"] > 0
    assert found["sqlite"]["journal_mode"] in ("WAL", "TRUNCATE")
    assert {
        "kind": "stage",
        "name": "decode",
        "origin": "scenepipe",
        "loads": True,
        "fault": None,
        "lacks": [],
    } in found["names"]


def test_doctor_knows_the_extras_and_their_pip_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = [
        "numpy>=1.26",
        'no-such-package[all]>=1; extra == "qdrant"',
        'scenepipe[local]; extra == "dev"',
        "pytest>=8; extra == 'dev'",
    ]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: declared)
    assert doctor.extras() == {
        "dev": {"installed": True, "lacks": [], "pip": 'pip install "scenepipe[dev]"'},
        "qdrant": {"installed": False, "lacks": ["no-such-package"], "pip": 'pip install "scenepipe[qdrant]"'},
    }


def test_doctor_names_a_broken_plugin_and_stays_well(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = default_registry()
    monkeypatch.setattr(registry, "_plugins", (EntryPoint("night", "no_such_module:Night", "scenepipe.stages"),))
    registry._entries.clear()
    result = cli("doctor", "--json")
    found = json.loads(result.stdout)
    row = next(row for row in found["names"] if row["name"] == "night")
    assert not row["loads"]
    assert "no_such_module" in row["fault"]
    assert not any("night" in fault for fault in found["broken"])


def test_doctor_fails_where_something_needed_is_broken(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(id: str) -> LocalModel | None:
        raise ModelError(f"{id} was changed or damaged")

    monkeypatch.setattr(fetch, "local", damaged)
    result = cli("doctor")
    assert result.exit_code == 1
    assert "was changed or damaged" in result.stdout


# --- model ---


def test_model_list_says_what_is_here(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here = LocalModel("gemma-3-270m", tmp_path / "g.gguf", "0" * 64, None, "0" * 64)
    monkeypatch.setattr(fetch, "local", lambda id: here if id == "gemma-3-270m" else None)
    rows = {row["id"]: row for row in json.loads(cli("model", "list", "--json").stdout)}
    assert rows.keys() == catalogue.catalogue().keys()
    assert rows["gemma-3-270m"]["path"] == str(tmp_path / "g.gguf")
    assert rows["smollm2-135m"]["path"] is None
    assert "253 MB" in cli("model", "list").stdout


def test_model_pull_shows_licence_and_progress_on_stderr_and_the_file_on_stdout(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def pull(id: str, *, progress: Callable[[int, int], None], say: Callable[[str], None]) -> LocalModel:
        say("the licence is Gemma Terms")
        for done in range(0, 101, 5):
            progress(done * 10**6, 100 * 10**6)
        return LocalModel(id, tmp_path / "g.gguf", "0" * 64, None, "0" * 64)

    monkeypatch.setattr(fetch, "pull", pull)
    result = cli("model", "pull", "gemma-3-270m")
    assert result.stdout == f"gemma-3-270m {tmp_path / 'g.gguf'}\n"
    assert "the licence is Gemma Terms" in result.stderr
    assert "100 MB of 100 MB" in result.stderr
    assert result.stderr.count(" of 100 MB") == 11


def test_an_unknown_model_is_exit_1_and_says_which_there_are(cli: Cli) -> None:
    result = cli("model", "pull", "gemma-3-27om")
    assert result.exit_code == 1
    assert "did you mean 'gemma-3-270m'" in result.stderr


# --- register ---


def test_register_list_names_a_broken_one_with_its_fault(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "register.yaml").write_text("register: 2\n")
    rows = {row["name"]: row for row in json.loads(cli("register", "list", "--path", tmp_path, "--json").stdout)}
    assert rows["poet"]["titles"] == {"ru": "Поэт", "en": "Poet"}
    assert "faults in" in rows["broken"]["fault"]
    assert "Поэт" in cli("register", "list").stdout


@pytest.mark.parametrize("name", ["night", "no", "null", "a1_b-c"])
def test_a_new_register_passes_everything_but_adapters(cli: Cli, tmp_path: Path, name: str) -> None:
    result = cli("register", "new", name, tmp_path / "voices")
    folder = tmp_path / "voices" / name
    assert (result.exit_code, result.stdout) == (0, f"{folder}\n")
    findings = check_register(load_register(folder))
    assert [(finding.level, finding.where) for finding in findings] == [("warning", "register.yaml")]
    assert "no adapter" in findings[0].message

    checked = cli("register", "check", folder)
    assert checked.exit_code == 0
    assert "rows to learn from in 'ru'; extend it" in checked.stdout
    assert "0 errors, 3 warnings" in checked.stdout


def test_new_refuses_a_bad_name_and_never_writes_over_a_folder(cli: Cli, tmp_path: Path) -> None:
    assert cli("register", "new", "../night", tmp_path).exit_code == 2
    (tmp_path / "night").mkdir()
    assert cli("register", "new", "night", tmp_path).exit_code == 2
    assert list((tmp_path / "night").iterdir()) == []


def test_register_check_fails_on_errors(cli: Cli, tmp_path: Path) -> None:
    cli("register", "new", "night", tmp_path)
    rows = tmp_path / "night" / "examples.jsonl"
    rows.write_text(rows.read_text().replace('"ru-0002"', '"ru-0001"'))
    result = cli("register", "check", tmp_path / "night", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert not found["ok"]
    assert any("used 2 times" in finding["message"] for finding in found["findings"])
    assert cli("register", "check", "no_such_voice").exit_code == 1


def test_register_export_never_overwrites(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scenepipe.models import gguf_lora

    made = tmp_path / "made.gguf"
    made.write_bytes(b"GGUF adapter")
    here = LocalModel("gemma-3-270m", tmp_path / "g.gguf", "0" * 64, None, "0" * 64)
    monkeypatch.setattr(fetch, "local", lambda id: here)
    monkeypatch.setattr(gguf_lora, "gguf_adapter", lambda register, model: made)
    target = tmp_path / "poet.gguf"
    assert cli("register", "export", "poet", "--output", target, "--no-prove").exit_code == 0
    assert target.read_bytes() == b"GGUF adapter"
    target.write_bytes(b"mine")
    assert cli("register", "export", "poet", "--output", target, "--no-prove").exit_code == 2
    assert target.read_bytes() == b"mine"


# --- memory ---


@pytest.fixture
def remembered(cli: Cli, pipeline: Path) -> Path:
    for text in (RUSSIAN, RUSSIAN, "Why not feel the step?"):
        assert cli("run", pipeline, text, "--json").exit_code == 0
    return pipeline.parent / "archive.db"


def test_memory_stats_counts_and_ranks(cli: Cli, pipeline: Path, remembered: Path) -> None:
    found = json.loads(cli("memory", "stats", remembered, "--json").stdout)
    assert (found["scenes"], found["encounters"], found["kinds"]) == (2, 6, {"met": 3, "spoken": 3})
    assert [(row["text"], row["encounters"]) for row in found["resonant"]] == [
        (RUSSIAN, 2),
        ("Why not feel the step?", 1),
    ]
    assert found["resonant"][0]["strength"] > found["resonant"][1]["strength"]
    assert found["first"] <= found["last"]
    assert len(json.loads(cli("memory", "stats", remembered, "--json", "--top", "1").stdout)["resonant"]) == 1
    assert RUSSIAN in cli("memory", "stats", pipeline).stdout


def test_memory_show_prints_the_scene_with_its_encounters(cli: Cli, pipeline: Path, remembered: Path) -> None:
    scene_id = json.loads(cli("memory", "stats", remembered, "--json").stdout)["resonant"][0]["id"]
    found = json.loads(cli("memory", "show", scene_id, remembered, "--json").stdout)
    assert found["scene"]["text"] == RUSSIAN
    assert [encounter["kind"] for encounter in found["encounters"]].count("met") == 2
    shown = cli("memory", "show", scene_id[:8], pipeline).stdout
    assert f"текст: {RUSSIAN}" in shown
    assert "2 встречи" in shown
    assert "    Почему " in shown


def test_memory_of_what_is_not_there_is_refused_and_nothing_is_made(
    cli: Cli, pipeline: Path, remembered: Path, tmp_path: Path
) -> None:
    assert cli("memory", "show", "0000-none", remembered).exit_code == 2
    assert cli("memory", "show", "", remembered).exit_code == 2
    absent = tmp_path / "absent.db"
    assert cli("memory", "stats", absent).exit_code == 2
    assert not absent.exists()
    remembered.unlink()
    assert cli("memory", "stats", pipeline).exit_code == 2
    assert not remembered.exists()


def test_memory_that_ends_with_the_run_is_named(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    for memory, says in (("memory: {use: memory}\n", "only while it runs"), ("", "no memory")):
        path.write_text(f"scenepipe: 1\nname: p\nencoder: null\n{memory}stages: [toy-scene]\n")
        result = cli("memory", "stats", path)
        assert result.exit_code == 2
        assert says in result.stderr


def test_memory_of_a_file_that_is_no_archive_is_exit_1(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("these are notes, not a database" * 100)
    result = cli("memory", "stats", path)
    assert result.exit_code == 1
    assert "Traceback" not in result.stderr


@pytest.mark.model
def test_register_export_writes_the_adapter_as_gguf(cli: Cli, tmp_path: Path, local_model: LocalModel) -> None:
    from scenepipe.models.gguf_header import is_gguf

    target = tmp_path / "poet.gguf"
    done = cli("register", "export", "poet", "--output", target, "--model", local_model.id)
    assert done.exit_code == 0
    assert is_gguf(target)
    assert "proven: 0.0" in done.stderr


@pytest.mark.model
def test_register_export_merged_gives_the_adapters_distribution(
    cli: Cli, tmp_path: Path, local_model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scenepipe.evaluation import parity

    target = tmp_path / "poet"
    asked = ("register", "export", "poet", "--merged", "--output", target, "--model", local_model.id)
    done = cli(*asked)
    assert done.exit_code == 0, done.stderr
    assert "proven: 0.0" in done.stderr
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {file.name for file in target.iterdir()}
    assert "never overwritten" in cli(*asked).stderr
    monkeypatch.setattr(parity, "_merged", lambda folder, prompts: [{0: 0.0} for _ in prompts])
    other = cli(*asked[:-3], tmp_path / "other", *asked[-2:])
    assert other.exit_code == 1
    assert "more than rounding" in other.stderr
