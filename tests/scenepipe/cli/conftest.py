"""A pipeline of the toy stage and the fake engine, in this process and in others."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from scenepipe.registry import default_registry

TOY_FILE = Path(__file__).with_name("toy.py")


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scenepipe_cli_toy", TOY_FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _toy_registry(toy: ModuleType) -> Iterator[None]:
    default_registry.cache_clear()
    toy.register()
    yield
    default_registry.cache_clear()


@pytest.fixture
def write_pipeline(toy: ModuleType, tmp_path: Path) -> Callable[..., Path]:
    def write(*, delay: float = 0.0, fail_on: str = "BOOM", seed: int = 1, name: str = "toy.yaml") -> Path:
        path = tmp_path / name
        path.write_text(toy.PIPELINE.format(delay=delay, folder=tmp_path, fail_on=fail_on, seed=seed), encoding="utf-8")
        return path

    return write


@pytest.fixture
def pipeline(write_pipeline: Callable[..., Path]) -> Path:
    return write_pipeline()


@pytest.fixture
def cli() -> Callable[..., Result]:
    """Run the command line in this process; results have ``exit_code``, ``stdout`` and ``stderr``."""
    from scenepipe.cli.app import app

    def run(*args: object, **options: Any) -> Result:
        return CliRunner().invoke(app, [str(arg) for arg in args], prog_name="scenepipe", **options)

    return run


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start the command line as a process of its own."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(*args: object, **options: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(TOY_FILE), *map(str, args)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL} | options
        process = subprocess.Popen(command, **pipes)
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
