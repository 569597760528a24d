"""What is in ``benchmarks/`` can be run, stands in the table, and `make bench` runs all of it whatever one of them says."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.benchmarks.conftest import FOLDER

ROOT = FOLDER.parent
SCRIPTS = sorted(path.name for path in FOLDER.glob("[a-z]*.py"))
FAKE_PYTHON = """#!/bin/sh
case "$1" in *router.py) exit 1;; esac
"""


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_script_is_a_command_that_the_page_names(name: str) -> None:
    assert '__name__ == "__main__"' in (FOLDER / name).read_text("utf-8")
    assert f"benchmarks/{name}" in (ROOT / "docs" / "benchmarks.md").read_text("utf-8")


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A virtual environment for the Makefile whose Python fails for one script and does nothing for the others."""
    place = tmp_path / "venv"
    (place / "bin").mkdir(parents=True)
    for name, text in (("python", FAKE_PYTHON), ("pip", "#!/bin/sh\n"), ("scenepipe", "#!/bin/sh\n")):
        (place / "bin" / name).write_text(text, "utf-8")
        (place / "bin" / name).chmod(0o755)
    (place / ".test").touch()
    return place


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_a_script_that_fails_keeps_none_from_running_and_is_named(environment: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", "bench", f"VENV={environment}"], cwd=ROOT, env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert [line.removeprefix("== benchmarks/") for line in done.stdout.splitlines() if "==" in line] == SCRIPTS
    assert done.stdout.splitlines()[-1] == "failed, or short of what is asked: benchmarks/router.py"
