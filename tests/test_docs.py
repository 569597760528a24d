"""Every example of README, README.ru, CONTRIBUTING and docs/ runs as it stands."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scenepipe.config import parse_config
from scenepipe.models.catalogue import LocalModel
from scenepipe.register import Example, Fit
from scenepipe.training.settings import TrainSettings, read_settings

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [*map(ROOT.joinpath, ("README.md", "README.ru.md", "CONTRIBUTING.md", "CHANGELOG.md")), *ROOT.glob("docs/**/*.md")]
)
READMES = [ROOT / "README.md", ROOT / "README.ru.md"]
_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
NOT_HERE = ("make ", "scenepipe register train", "scenepipe register eval")
"""Commands that other tests run: continuous integration is `make test`, training has its own test."""


def blocks(page: Path, kind: str) -> list[str]:
    return [
        re.sub(rf"^{indent}", "", body, flags=re.MULTILINE)
        for indent, name, body in _BLOCK.findall(page.read_text(encoding="utf-8"))
        if name == kind
    ]


def in_folder(folder: Path, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"SCENEPIPE_HOME": str(folder / "home"), "PYTHONUTF8": "1"} | more
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_yaml_examples_are_valid_pipelines(page: Path) -> None:
    for body in blocks(page, "yaml"):
        if body.lstrip().startswith(("scenepipe:", "# yaml-language-server")):
            assert parse_config(body, source=page.name).stages


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), target


GUIDES = sorted(ROOT.glob("docs/guide/add-a-register*.md"))


@pytest.mark.parametrize("page", GUIDES, ids=lambda p: p.name)
def test_the_register_guide_starts_checks_and_configures_a_register(page: Path, tmp_path: Path) -> None:
    """Its commands but training and evaluation, which have tests of their own; its settings; its row in a new folder."""
    (tmp_path / "registers").mkdir()
    commands = [line for line in "".join(blocks(page, "sh")).splitlines() if not line.startswith(NOT_HERE)]
    assert [c.split()[2] for c in commands] == ["new", "check", "check"]
    for command in commands[:2]:
        done = in_folder(tmp_path, sys.executable, "-m", *shlex.split(command))
        assert done.returncode == 0, (command, done.stdout[-1000:], done.stderr[-2000:])
    (settings,) = (body for body in blocks(page, "yaml") if body.startswith("rank:"))
    (tmp_path / "train.yaml").write_text(settings, encoding="utf-8")
    assert read_settings(tmp_path / "train.yaml") == TrainSettings(rate=3e-4, epochs=2)


@pytest.mark.parametrize("page", [*READMES, ROOT / "CONTRIBUTING.md", *GUIDES], ids=lambda p: p.name)
def test_example_rows_are_examples(page: Path) -> None:
    rows = blocks(page, "json")
    assert rows
    for row in rows:
        (Example if '"reply"' in row else Fit).model_validate_json(row)


@pytest.mark.parametrize("page", READMES, ids=lambda p: p.name)
def test_every_example_is_one_that_the_tests_below_and_above_run(page: Path) -> None:
    kinds = re.findall(r"^```(.+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert kinds == ["sh", "python", "yaml", "sh", "sh", "json"]


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("page", READMES, ids=lambda p: p.name)
def test_python_examples_run(page: Path, tmp_path: Path, local_model: LocalModel) -> None:
    (body,) = blocks(page, "python")
    done = in_folder(tmp_path, sys.executable, "-c", body)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert "exact" in lines
    assert len(lines) >= 7


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("page", READMES, ids=lambda p: p.name)
def test_shell_examples_run(page: Path, tmp_path: Path, local_model: LocalModel) -> None:
    (tmp_path / "mine.yaml").write_text(blocks(page, "yaml")[0], encoding="utf-8")
    (tmp_path / "texts.jsonl").write_text('{"text": "Один."}\n{"text": "Two."}\n', encoding="utf-8")
    (tmp_path / "registers").mkdir()
    ran = 0
    for line in "".join(blocks(page, "sh")).splitlines():
        command = line.partition(" #")[0].strip()
        if not command or command.startswith(NOT_HERE):
            continue
        done = in_folder(tmp_path, sys.executable, "-m", *shlex.split(command))
        assert done.returncode == 0, (command, done.stdout[-1000:], done.stderr[-2000:])
        ran += 1
    assert ran == 9
    assert len((tmp_path / "scenes.jsonl").read_text(encoding="utf-8").splitlines()) == 2


ARCHIVE_GUIDES = sorted(ROOT.glob("docs/guide/archive*.md"))
_SHOWN_ID = "3f2a91c0"
"""Stands in the guide where a scene's id has to be."""


@pytest.mark.parametrize("page", ARCHIVE_GUIDES, ids=lambda p: p.name)
def test_the_archive_guide_configures_stores(page: Path) -> None:
    memories = [body for body in blocks(page, "yaml") if body.startswith("memory:")]
    assert memories
    for body in memories:
        text = f"scenepipe: 1\nname: t\nencoder: null\n{body}\nstages: [remember]\n"
        assert parse_config(text, source=page.name).memory


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("page", ARCHIVE_GUIDES, ids=lambda p: p.name)
def test_the_archive_guide_runs_as_it_stands(page: Path, tmp_path: Path, local_model: LocalModel) -> None:
    """Its pipeline, its document, every command in order with the id of a scene that is there, its Python."""
    (tmp_path / "mine.yaml").write_text(blocks(page, "yaml")[0], encoding="utf-8")
    (tmp_path / "notes.md").write_text(blocks(page, "markdown")[0], encoding="utf-8")
    said: dict[str, str] = {}
    for kind, body in _parts(page):
        if kind == "python":
            said["python"] = _ran(tmp_path, "-c", body)
        for command in body.splitlines() if kind == "sh" else ():
            if _SHOWN_ID in command:
                found = json.loads(_ran(tmp_path, "-m", "scenepipe", "memory", "stats", "mine.yaml", "--json"))
                command = command.replace(_SHOWN_ID, found["resonant"][0]["id"][:8])
            said[command] = _ran(tmp_path, "-m", *shlex.split(command))
    assert said["scenepipe memory ingest notes.md mine.yaml"] == "notes.md: 2 parts, 2 new\n"
    first, cited, *branches = said["python"].splitlines()
    assert first == "notes.md 2 0"
    assert cited.startswith("notes.md (0, ")
    assert len(branches) == 3
    assert said["scenepipe memory verify mine.yaml"].endswith("no faults\n")
    assert "прочитано в notes.md" in "".join(said.values()) or "read in notes.md" in "".join(said.values())
    assert len(said) == 19


def _parts(page: Path) -> list[tuple[str, str]]:
    return [(name, body) for _, name, body in _BLOCK.findall(page.read_text(encoding="utf-8"))]


def _ran(folder: Path, *arguments: str) -> str:
    done = in_folder(folder, sys.executable, *arguments)
    assert done.returncode == 0, (arguments, done.stdout[-1000:], done.stderr[-2000:])
    return done.stdout


SERVE_GUIDES = sorted(ROOT.glob("docs/guide/serve*.md"))


@pytest.mark.parametrize("page", SERVE_GUIDES, ids=lambda p: p.name)
def test_the_serve_guide_names_what_there_is(page: Path) -> None:
    """Its commands' options, its routes, its messages."""
    from scenepipe.server.app import routes, sockets
    from scenepipe.server.bridge_types import Run

    text = page.read_text(encoding="utf-8")
    shown = subprocess.run(
        [sys.executable, "-m", "scenepipe", "serve", "--help"],
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "PYTHONUTF8": "1"},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for option in set(re.findall(r"`(--[a-z-]+)", text)) - {"--namespace"}:
        assert option in shown, option
    paths = {route.path for route in (*routes(), *sockets())}
    for path in re.findall(r"`(/(?:v1/|health|ready|metrics|openapi)[\w/.]*)`", text):
        assert path in paths, path
    for path in {path.partition("/{")[0] for path in paths if path.startswith("/v1/")} | {"/"}:
        assert re.search(rf"`(?:ws://127.0.0.1:8000)?{path}`", text), path
    (row,) = re.findall(r"^\| `run`: (.*?) \|", text, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", row)) == set(Run.model_fields) - {"type"}


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("page", SERVE_GUIDES, ids=lambda p: p.name)
def test_the_serve_guide_runs_as_it_stands(page: Path, tmp_path: Path, local_model: LocalModel) -> None:
    """Its pipeline is served at any free port; every Python example asks it there."""
    command = [sys.executable, "-m", "scenepipe", "serve", "quickstart", "--port", "0"]
    env = os.environ | {"SCENEPIPE_HOME": str(tmp_path / "home"), "PYTHONUTF8": "1"}
    with subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            said = next(json.loads(line) for line in server.stderr if '"listening"' in line)
            chat, bridge = (
                _ran(tmp_path, "-c", body.replace("127.0.0.1:8000", f"127.0.0.1:{said['port']}"))
                for body in blocks(page, "python")
            )
        finally:
            server.terminate()
            server.communicate(timeout=60)
    assert chat.splitlines()[-1].startswith("[")
    assert bridge.splitlines()[-1] == "done"
    assert len(bridge) > len("\ndone\n")


@pytest.mark.slow
def test_a_stage_is_added_as_contributing_says(tmp_path: Path) -> None:
    """The steps of CONTRIBUTING in a copy of the tree: one file, one line, one test on the shipped suite."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in listed.splitlines():
        if name.startswith(("scenepipe/", "modules/", "memory/", "pipelines/", "pyproject.toml", "tests/conftest.py")):
            if (ROOT / name).exists() or (ROOT / name).is_symlink():
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, tmp_path / name, follow_symlinks=False)
    stage, line, test = blocks(ROOT / "CONTRIBUTING.md", "python")
    (tmp_path / "modules/shout.py").write_text(stage, encoding="utf-8")
    index = tmp_path / "modules/__init__.py"
    index.write_text(index.read_text(encoding="utf-8").replace("STAGES = {\n", "STAGES = {\n" + line), encoding="utf-8")
    (tmp_path / "tests/modules").mkdir(parents=True)
    (tmp_path / "tests/modules/test_shout.py").write_text(test, encoding="utf-8")
    done = in_folder(
        tmp_path, sys.executable, "-m", "pytest", "-q", "tests/modules/test_shout.py", PYTHONPATH=str(tmp_path)
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
    code = (
        "from scenepipe.registry import default_registry as r; print(r().options('stage', 'shout').model_fields.keys())"
    )
    shown = in_folder(tmp_path, sys.executable, "-c", code, PYTHONPATH=str(tmp_path))
    assert "mark" in shown.stdout, shown.stderr
