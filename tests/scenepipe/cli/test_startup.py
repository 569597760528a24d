"""What is imported before the first token counts; heavy packages come with the command that uses them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "sqlalchemy", "xllamacpp", "numpy", "httpx", "rich.live", "gguf")
PROBE = """
import json, sys
try:
    from scenepipe.cli import main
    sys.argv = ["scenepipe", *json.loads(sys.argv[1])]
    main()
finally:
    print(json.dumps([m for m in json.loads({heavy!r}) if m in sys.modules]))
"""


def imported(*args: str) -> list[str]:
    code = PROBE.format(heavy=json.dumps(HEAVY))
    done = subprocess.run([sys.executable, "-c", code, json.dumps(args)], capture_output=True, text=True, timeout=60)
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("args", [("--version",), ("--help",), ("run", "--help"), ("run", "no-such-pipeline", "text")])
def test_the_command_line_itself_imports_nothing_heavy(args: tuple[str, ...]) -> None:
    assert imported(*args) == []


def test_drawing_a_small_pipeline_imports_no_engine_and_no_database(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("scenepipe: 1\nname: p\nencoder: null\nmemory: {use: memory}\nstages: [remember]\n")
    assert not {"torch", "transformers", "sqlalchemy", "xllamacpp", "httpx", "gguf"} & set(imported("draw", str(path)))


def test_python_m_is_the_same_command_line() -> None:
    done = subprocess.run([sys.executable, "-m", "scenepipe", "--version"], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("scenepipe ")
    assert done.returncode == 0
