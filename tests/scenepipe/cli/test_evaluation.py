"""``register eval`` and the model's part of ``register check``, from the command line."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from scenepipe.cli import register as register_cli
from scenepipe.cli.evaluation import _registers
from scenepipe.models.catalogue import LocalModel
from scenepipe.register import Finding, load_register
from scenepipe.testing import register_suite

Cli = Callable[..., Result]
ROOM = Path(__file__).parents[3] / "registers"


def test_the_shipped_voices_are_measured_where_none_is_named() -> None:
    names = [found.name for found in _registers(None, None)]
    voices = [card.parent for card in sorted(ROOM.glob("*/register.yaml"))]
    assert names == [folder.name for folder in voices if load_register(folder).kind == "voice"]
    assert {"poet", "body", "logician", "philosopher"} <= set(names)


def test_names_and_folders_may_be_given_once_each() -> None:
    assert [found.name for found in _registers(["poet", "poet", "body"], None)] == ["poet", "body"]


def test_two_registers_of_one_name_are_refused(cli: Cli, tmp_path: Path) -> None:
    assert cli("register", "new", "poet", tmp_path).exit_code == 0
    result = cli("register", "eval", "poet", tmp_path / "poet")
    assert result.exit_code == 2
    assert "the same name" in result.stderr


def test_results_are_never_overwritten_and_nothing_is_measured_first(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{}")
    result = cli("register", "eval", "poet", "body", "--output", tmp_path)
    assert result.exit_code == 1
    assert "never overwritten" in result.stderr


def test_a_missing_package_is_named_with_its_extra(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "peft" else found(name, *a))
    result = cli("register", "eval", "poet", "body")
    assert result.exit_code == 2
    assert 'pip install "scenepipe[transformers]"' in result.stderr


@pytest.mark.parametrize("option", ["--replies", "--prompts", "--rows", "--candidates"])
def test_counts_start_at_one(cli: Cli, option: str) -> None:
    assert cli("register", "eval", option, 0).exit_code == 2


def test_check_proves_with_a_model_and_only_then(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = LocalModel("tiny", tmp_path / "tiny.gguf", "a" * 64, None, "b" * 64)
    monkeypatch.setattr(register_cli, "local_model", lambda given: local)
    monkeypatch.setattr("scenepipe.register.check_register", lambda register, model=None: [])
    monkeypatch.setattr(
        register_suite,
        "prove_register",
        lambda register, model: [Finding("error", "parity", f"not that of {model.id}")],
    )
    result = cli("register", "check", "poet", "--model", "tiny")
    assert result.exit_code == 1
    assert "error: parity: not that of tiny" in result.stdout
    assert cli("register", "check", "poet").exit_code == 0


def test_check_does_not_prove_what_is_wrong_already(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = LocalModel("tiny", tmp_path / "tiny.gguf", "a" * 64, None, "b" * 64)
    monkeypatch.setattr(register_cli, "local_model", lambda given: local)
    monkeypatch.setattr(register_suite, "prove_register", lambda register, model: pytest.fail("it was proven"))
    result = cli("register", "check", "poet", "--model", "tiny")
    assert result.exit_code == 1
    assert "no adapter for model 'tiny'" in result.stdout


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_whole_evaluation_at_its_smallest(cli: Cli, tmp_path: Path, local_model: LocalModel) -> None:
    out = tmp_path / "out"
    sizes = ("--replies", 2, "--prompts", 1, "--rows", 1, "--swaps", 2)
    result = cli("register", "eval", "poet", "body", *sizes, "--json", "--output", out)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found == json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert found["model"]["sha256"] == local_model.sha256
    assert set(found["adapters"]) == {"poet", "body"}
    for code in ("ru", "en"):
        for name, other in (("poet", "body"), ("body", "poet")):
            row = found["matrix"][code]["perplexity"][name]
            assert row[name]["value"] < row["base"]["value"]
            assert row[name]["value"] < row[other]["value"]
    assert found["causality"]["swaps"]["changed_by_nothing"]["value"] == 0.0
    assert found["drawn"] == 8 + 6 + 6
    assert len((out / "replies.jsonl").read_text(encoding="utf-8").splitlines()) == 20
    assert {path.suffix for path in out.iterdir()} == {".json", ".jsonl", ".svg"}
