"""``scenepipe run``: one text, exit codes, what is on stdout and what is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from scenepipe.scene import Scene

RUSSIAN = "Почему я не чувствую шаг в себе?"
Cli = Callable[..., Result]


def test_json_prints_one_scene_and_nothing_else(cli: Cli, pipeline: Path) -> None:
    result = cli("run", pipeline, RUSSIAN, "--json")
    assert result.exit_code == 0
    assert result.stdout.count("\n") == 1
    scene = Scene.from_json(result.stdout)
    assert scene.text == RUSSIAN
    assert scene.reply is not None
    assert scene.reply.receipt.asked == {"poet": 0.6, "philosopher": 0.3}


def test_a_piped_run_prints_plain_lines_in_the_language_of_the_text(cli: Cli, pipeline: Path) -> None:
    result = cli("run", pipeline, RUSSIAN)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert f"текст: {RUSSIAN}" in lines
    assert "регистры: Поэт 0.60, Философ 0.30, основа 0.10" in lines
    assert "сцепка: почему·не:чувствую·тишина" in lines
    assert not set("╭│━\x1b") & set(result.stdout)
    assert "registers: Poet 0.60" in cli("run", pipeline, "Why not feel the step?").stdout


def test_register_overrides_the_router(cli: Cli, pipeline: Path) -> None:
    result = cli("run", pipeline, RUSSIAN, "--json", "--register", "poet=0.5", "--register", "philosopher=0.2")
    scene = Scene.from_json(result.stdout)
    assert scene.registers is not None
    assert scene.registers.weights == {"poet": 0.5, "philosopher": 0.2}
    assert scene.reply is not None
    assert scene.reply.receipt.asked == {"poet": 0.5, "philosopher": 0.2}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--register", "poe=0.5"], "did you mean 'poet'"),
        (["--register", "poet=much"], "NAME=WEIGHT"),
        (["--register", "poet=0.7", "--register", "philosopher=0.7"], "at most 1"),
        (["--register", "poet=-1"], "--register"),
        (["--register", "poet=nan"], "--register"),
        (["--register", "poet=0.1", "--register", "poet=0.1"], "twice"),
        (["--resume"], "--output FILE"),
        (["--input", "rows.txt"], "one of them"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_wrong_usage_is_exit_2_and_says_what_to_do(cli: Cli, pipeline: Path, args: list[str], says: str) -> None:
    result = cli("run", pipeline, RUSSIAN, *args)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stdout == ""


def test_nothing_to_run_and_no_such_pipeline_are_exit_2(cli: Cli, pipeline: Path, tmp_path: Path) -> None:
    assert cli("run", pipeline).exit_code == 2
    nameless = cli("run", "quickstat", RUSSIAN)
    assert nameless.exit_code == 2
    assert "did you mean 'quickstart'" in nameless.stderr
    assert cli("run", tmp_path / "none.yaml", RUSSIAN).exit_code == 2
    assert cli("run", tmp_path, RUSSIAN).exit_code == 2


def test_every_fault_of_the_yaml_is_listed_with_its_line(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("scenepipe: 1\nname: bad\nstages:\n  - use: toy-scene\n    fail: x\n  - use: recal\n")
    result = cli("run", path, RUSSIAN)
    assert result.exit_code == 2
    assert f"{path}:5:" in result.stderr
    assert f"{path}:6:" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_failed_run_is_exit_1_with_a_note_and_no_traceback(cli: Cli, pipeline: Path) -> None:
    result = cli("run", pipeline, "this is BOOM")
    assert result.exit_code == 1
    assert "error: the toy fails on 'BOOM'" in result.stderr
    assert "in stage 'toy-scene' of pipeline 'toy'" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_failed_run_with_json_is_one_failure_object(cli: Cli, pipeline: Path) -> None:
    result = cli("run", pipeline, "this is BOOM", "--json")
    assert result.exit_code == 1
    failure = json.loads(result.stdout)
    assert (failure["type"], failure["stage"], failure["error"]) == ("failure", "toy-scene", "BackendError")


@pytest.mark.parametrize("text", ["", "  ", "\udc80"])
def test_a_text_that_is_none_fails_alone(cli: Cli, pipeline: Path, text: str) -> None:
    result = cli("run", pipeline, text, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["stage"] == "input"
    assert cli("run", pipeline, text).exit_code == 1


def test_debug_shows_the_traceback_wherever_it_stands(cli: Cli, pipeline: Path) -> None:
    for args in (["--debug", "run", pipeline, "BOOM"], ["run", pipeline, "BOOM", "--debug"]):
        result = cli(*args)
        assert type(result.exception).__name__ == "BackendError"
    assert type(cli("run", pipeline, "BOOM").exception).__name__ == "SystemExit"


def test_after_two_dashes_debug_is_a_text(cli: Cli, pipeline: Path) -> None:
    assert Scene.from_json(cli("run", "--json", pipeline, "--", "--debug").stdout).text == "--debug"


def test_control_characters_of_a_text_never_reach_the_terminal(cli: Cli, pipeline: Path) -> None:
    result = cli("run", pipeline, "step\x1b]0;title\x07 and \u202eback")
    assert result.exit_code == 0
    assert not set("\x1b\x07\u202e") & set(result.stdout)


def test_a_reader_that_leaves_ends_the_run_quietly(
    pipeline: Path, start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    rows = tmp_path / "rows.txt"
    rows.write_text("".join(f"row number {n}\n" for n in range(2000)))
    process = start("run", pipeline, "--input", rows, "--json")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) != 0
    assert process.stderr is not None
    assert b"Traceback" not in process.stderr.read()


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
@pytest.mark.parametrize("columns", [60, 200])
def test_a_terminal_gets_the_card_and_no_line_is_too_long(
    pipeline: Path, start: Callable[..., subprocess.Popen[bytes]], columns: int
) -> None:
    out = _on_a_terminal(start, columns, "run", pipeline, RUSSIAN)
    assert "╭─" in out
    assert "Поэт" in out
    assert "ответ" in out
    from rich.cells import cell_len
    from rich.text import Text

    plain = Text.from_ansi(out).plain
    assert max(cell_len(line) for line in plain.splitlines()) <= columns


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_no_color_leaves_marks_and_takes_colours(pipeline: Path, start: Callable[..., subprocess.Popen[bytes]]) -> None:
    out = _on_a_terminal(start, 80, "run", pipeline, RUSSIAN, env=os.environ | {"NO_COLOR": "1", "TERM": "xterm"})
    assert "\x1b[31m" not in out
    assert "\x1b[36m" not in out
    assert "\x1b[1;3;4mчувствую" in out


def _on_a_terminal(
    start: Callable[..., subprocess.Popen[bytes]], columns: int, *args: object, env: dict[str, str] | None = None
) -> str:
    import pty

    master, slave = pty.openpty()
    environment = {**(env or os.environ | {"TERM": "xterm-256color"}), "COLUMNS": str(columns), "LINES": "60"}
    process = start(*args, stdout=slave, env=environment)
    os.close(slave)
    out = b""
    try:
        while block := os.read(master, 65536):
            out += block
    except OSError:  # Linux says EIO when the last writer has gone
        pass
    finally:
        os.close(master)
    assert process.wait(timeout=60) == 0
    return out.decode().replace("\r\n", "\n")
