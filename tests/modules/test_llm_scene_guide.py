"""The guide's section on readers of scenes: its row is one, its code drafts rows that the check takes, its pipelines are whole."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scenepipe.config import parse_config
from scenepipe.models.catalogue import LocalModel
from scenepipe.register import SceneExample, check_register, load_register, scene_examples

GUIDES = sorted((Path(__file__).parents[2] / "docs/guide").glob("add-a-register*.md"))
CARD = """\
register: 1
kind: scene
name: reader
titles: {ru: Чтец, en: Reader}
description: {ru: Читает сцены., en: Reads scenes.}
symbol: "◎"
emoji: "🔎"
licence: CC0-1.0
"""


def blocks(page: Path, kind: str) -> list[str]:
    section = page.read_text(encoding="utf-8").partition("`kind: scene`")[2]
    return re.findall(rf"^```{kind}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


def reader(parent: Path, rows: str) -> Path:
    folder = parent / "reader"
    folder.mkdir()
    (folder / "register.yaml").write_text(CARD, encoding="utf-8")
    (folder / "examples.jsonl").write_text(rows, encoding="utf-8")
    return folder


@pytest.mark.parametrize("page", GUIDES, ids=lambda p: p.name)
def test_its_row_is_a_row_that_the_stage_would_take_whole(page: Path, tmp_path: Path) -> None:
    (row,) = blocks(page, "jsonl")
    SceneExample.model_validate_json(row)
    register = load_register(reader(tmp_path, row))
    assert not [f for f in check_register(register) if f.where.startswith("examples.jsonl") and "-0001" in f.where]


@pytest.mark.parametrize("page", GUIDES, ids=lambda p: p.name)
def test_its_pipelines_are_whole(page: Path) -> None:
    drafts, read = (parse_config(body, source=page.name) for body in blocks(page, "yaml"))
    assert [stage.use for stage in drafts.stages] == ["sentencepiece", "rule-scene"]
    assert read.stages[1].options["adapter"] == "reader"


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("page", GUIDES, ids=lambda p: p.name)
def test_its_code_drafts_rows_that_the_check_takes(page: Path, tmp_path: Path, local_model: LocalModel) -> None:
    (tmp_path / "drafts.yaml").write_text(blocks(page, "yaml")[0], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", blocks(page, "python")[0]], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    register = load_register(reader(tmp_path, (tmp_path / "drafts.jsonl").read_text(encoding="utf-8")))
    assert [row.split for row in scene_examples(register)] == ["train", "dev", "test"]
    assert not [finding for finding in check_register(register) if finding.level == "error"]
