"""The wheel holds every file of every room, installs into an empty environment, and runs a pipeline from there."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scenepipe.models.catalogue import LocalModel

ROOT = Path(__file__).resolve().parents[2]
ROOMS = {"scenepipe": "scenepipe", "modules": "scenepipe/modules", "memory": "scenepipe/memory",
         "registers": "scenepipe/registers", "pipelines": "scenepipe/pipelines"}  # fmt: skip
PIPELINE = """
scenepipe: 1
name: wheel
model: gemma-3-270m
backend: {use: fake}
registers: [philosopher, poet]
memory: {use: sqlite, path: archive.db}
stages: [sentencepiece, rule-scene, route, recall, {use: decode, seed: 1}, remember, render]
"""
CODE = """
import json, pathlib, sys, scenepipe
assert "site-packages" in scenepipe.__file__, scenepipe.__file__
import importlib.util
assert importlib.util.find_spec("modules") is None and importlib.util.find_spec("memory") is None
with scenepipe.load("pipeline.yaml") as pipe:
    scene = pipe.run("Почему я не чувствую шаг в себе?")
print(json.dumps([scene.reply.text, list(scene.outputs), scene.registers.weights], ensure_ascii=False))
"""


def run(*command: str, cwd: Path, **more: str) -> str:
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")} | more
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as a release is: source distribution first, the wheel from it."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--quiet", "--outdir", str(out), str(ROOT), cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.mark.slow
def test_every_file_of_every_room_is_in_the_wheel(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    missing = []
    for room, place in ROOMS.items():
        tracked = run("git", "ls-files", room, cwd=ROOT).splitlines()
        for name in tracked:
            path = Path(name)
            if (ROOT / path).is_symlink() or path.name.startswith(".") or not (ROOT / path).exists():
                continue
            target = f"{place}/{path.relative_to(room).as_posix()}"
            if target not in inside:
                missing.append(target)
    assert not missing
    tops = {name.split("/")[0] for name in inside}
    assert tops == {"scenepipe", next(t for t in tops if t.endswith(".dist-info"))}


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An empty environment with the wheel and no extra."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "env", cwd=folder)
    executable = str(folder / "env" / ("Scripts" if os.name == "nt" else "bin") / "python")
    run(executable, "-m", "pip", "install", "--quiet", str(wheel), cwd=folder)
    return executable


@pytest.mark.slow
@pytest.mark.model
def test_an_empty_environment_runs_a_pipeline_from_the_wheel(
    python: str, tmp_path: Path, local_model: LocalModel
) -> None:
    (tmp_path / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
    printed = run(python, "-c", CODE, cwd=tmp_path, PYTHONUTF8="1")
    assert '"text", "symbol", "emoji", "delta"' in printed
    assert "philosopher" in printed


@pytest.mark.slow
def test_a_missing_extra_names_the_command_with_its_line(python: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [python, "-m", "scenepipe", "check", "quickstart"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    said = done.stdout + done.stderr
    assert 'pip install "scenepipe[local]"' in said.replace("\n", " ")
    assert "quickstart.yaml:7:" in said.replace("\n", "")
