"""Many rows: order, output files, and stops of every kind."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from scenepipe.cli import output as out
from scenepipe.scene import Scene

Cli = Callable[..., Result]
Start = Callable[..., "subprocess.Popen[bytes]"]
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and files")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.txt"
    path.write_text("".join(f"step number {n}\n" for n in range(40)))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def replies(path: Path) -> list[tuple[str, str]]:
    return [(row["text"], row["reply"]["text"]) for row in read(path)]


def test_results_come_in_order_with_failures_in_their_place(cli: Cli, pipeline: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(
        b'{"text": "first", "chat": "c"}\n{"txt": 1}\n\n{"text": "a BOOM"}\n{"text": "\xff"}\n{"text": "last"}\n'
    )
    result = cli("run", pipeline, "--input", source, "--json")
    assert result.exit_code == 1
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row.get("type", "scene") for row in found] == ["scene", "failure", "failure", "failure", "failure", "scene"]
    assert [row.get("stage") for row in found] == [None, "input", "input", "toy-scene", "input", None]
    assert [row["row"] for row in found[1:5]] == [1, 2, 3, 4]
    assert found[0]["origin"]["chat"] == "c"
    assert found[5]["origin"]["row"] == 5
    assert "6 rows, 4 failed" in result.stderr


def test_standard_input_without_json_is_short_plain_text(cli: Cli, pipeline: Path, start: Start) -> None:
    process = start("run", pipeline, "--input", "-", stdin=subprocess.PIPE)
    written, said = process.communicate("Шаг\nBOOM\n".encode(), timeout=60)
    assert process.returncode == 1
    lines = written.decode().splitlines()
    assert lines[0] == "0  Шаг  [poet@0.6+philosopher@0.3]"
    assert lines[1].startswith("   Шаг ")
    assert lines[2] == "1  ! toy-scene: the toy fails on 'BOOM'"
    assert b"2 rows, 1 failed" in said


def test_output_goes_to_the_file_and_its_record_beside_it(cli: Cli, pipeline: Path, rows: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    result = cli("run", pipeline, "--input", rows, "--output", target)
    assert (result.exit_code, result.stdout) == (0, "")
    assert [Scene.from_json(line).text for line in target.read_bytes().splitlines()] == rows.read_text().splitlines()
    record = json.loads((tmp_path / "out.jsonl.run.json").read_text())
    assert record["input"] == "rows.txt"
    assert record["input_size"] == rows.stat().st_size
    assert {row["origin"]["run"] for row in read(target)} == {record["run"]}
    assert {"scenepipe", "pipeline", "register poet", "register philosopher"} <= set(record["fingerprint"])


def test_an_output_that_exists_is_never_overwritten(cli: Cli, pipeline: Path, rows: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    target.write_text("mine\n")
    result = cli("run", pipeline, "--input", rows, "--output", target)
    assert result.exit_code == 2
    assert "--resume" in result.stderr
    assert target.read_text() == "mine\n"
    unknown = cli("run", pipeline, "--input", rows, "--output", target, "--resume")
    assert unknown.exit_code == 2
    assert "out.jsonl.run.json" in unknown.stderr
    assert target.read_text() == "mine\n"


def test_resume_cuts_a_torn_line_and_goes_on_as_if_nothing_had_happened(
    cli: Cli, write_pipeline: Callable[..., Path], rows: Path, tmp_path: Path
) -> None:
    whole, target = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    pipe = write_pipeline()
    assert cli("run", pipe, "--input", rows, "--output", whole).exit_code == 0
    assert cli("run", pipe, "--input", rows, "--output", target).exit_code == 0
    lines = target.read_bytes().splitlines(keepends=True)
    run = read(target)[0]["origin"]["run"]
    target.write_bytes(b"".join(lines[:7]) + lines[7][:100])
    result = cli("run", pipe, "--input", rows, "--output", target, "--resume")
    assert result.exit_code == 0
    assert "7 rows are there, cut 100 bytes" in result.stderr
    assert [text for text, _ in replies(target)] == [text for text, _ in replies(whole)]
    assert target.read_bytes().splitlines(keepends=True)[:7] == lines[:7]
    assert {row["origin"]["run"] for row in read(target)} == {run}
    assert [row["origin"]["row"] for row in read(target)] == list(range(40))


def test_resume_of_a_finished_run_does_nothing_and_keeps_its_exit_code(
    cli: Cli, pipeline: Path, tmp_path: Path
) -> None:
    source, target = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("good\nBOOM\n")
    assert cli("run", pipeline, "--input", source, "--output", target).exit_code == 1
    before = target.read_bytes()
    again = cli("run", pipeline, "--input", source, "--output", target, "--resume")
    assert again.exit_code == 1
    assert target.read_bytes() == before


def test_resume_before_the_first_row_starts_the_run(cli: Cli, pipeline: Path, rows: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    assert cli("run", pipeline, "--input", rows, "--output", target, "--resume").exit_code == 0
    assert len(read(target)) == 40


def test_a_line_that_the_disk_lost_is_done_again(cli: Cli, pipeline: Path, rows: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    cli("run", pipeline, "--input", rows, "--output", target)
    lines = target.read_bytes().splitlines(keepends=True)
    lines[20] = b"\0" * len(lines[20])
    target.write_bytes(b"".join(lines))
    assert cli("run", pipeline, "--input", rows, "--output", target, "--resume").exit_code == 0
    assert [row["origin"]["row"] for row in read(target)] == list(range(40))


def test_resume_refuses_when_anything_changed_and_names_it(
    cli: Cli, write_pipeline: Callable[..., Path], rows: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.jsonl"
    pipe = write_pipeline()
    cli("run", pipe, "--input", rows, "--output", target)
    before = target.read_bytes()

    other = cli("run", pipe, "--input", rows, "--output", target, "--resume", "--register", "poet=1")
    assert (other.exit_code, "--register: was absent, is poet@1" in other.stderr) == (2, True)
    with rows.open("a") as stream:
        stream.write("one more\n")
    longer = cli("run", pipe, "--input", rows, "--output", target, "--resume")
    assert (longer.exit_code, "input size: was" in longer.stderr) == (2, True)
    changed = cli("run", write_pipeline(seed=2), "--input", rows, "--output", target, "--resume")
    assert (changed.exit_code, "pipeline: was" in changed.stderr) == (2, True)
    assert target.read_bytes() == before


@posix
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_is_resumed_without_redoing_or_losing_a_row(
    cli: Cli, start: Start, write_pipeline: Callable[..., Path], rows: Path, tmp_path: Path, stop: signal.Signals
) -> None:
    target = tmp_path / "out.jsonl"
    pipe = write_pipeline(delay=0.02)
    chance = random.Random(stop)
    kept = b""
    for _ in range(int(os.environ.get("SCENEPIPE_SOAK", "2"))):
        process = start("run", pipe, "--input", rows, "--output", target, "--resume", "--concurrency", 2)
        _wait_for_rows(process, target, min(kept.count(b"\n") + chance.randint(1, 9), 40))
        time.sleep(chance.random() * 0.1)
        process.send_signal(stop)
        process.wait(timeout=30)
        now = target.read_bytes()
        assert now.startswith(kept)
        kept = now[: now.rfind(b"\n") + 1]
        assert [json.loads(line)["origin"]["row"] for line in kept.splitlines()] == list(range(kept.count(b"\n")))
    assert cli("run", pipe, "--input", rows, "--output", target, "--resume").exit_code == 0
    assert target.read_bytes().startswith(kept)
    assert [(row["text"], row["origin"]["row"]) for row in read(target)] == [(f"step number {n}", n) for n in range(40)]
    stats = json.loads(cli("memory", "stats", pipe, "--json").stdout)
    assert {kind: stats["kinds"][kind] for kind in ("met", "spoken")} == {"met": 40, "spoken": 40}


@posix
def test_ctrl_c_is_exit_130_and_says_how_to_go_on(
    cli: Cli, start: Start, write_pipeline: Callable[..., Path], rows: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.jsonl"
    pipe = write_pipeline(delay=0.02)
    process = start("run", pipe, "--input", rows, "--output", target, "--concurrency", 2)
    _wait_for_rows(process, target, 3)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"--resume" in said
    assert b"Traceback" not in said
    assert cli("run", pipe, "--input", rows, "--output", target, "--resume").exit_code == 0
    assert [row["origin"]["row"] for row in read(target)] == list(range(40))


@posix
def test_ctrl_c_while_waiting_for_standard_input_ends_at_once(start: Start, pipeline: Path) -> None:
    process = start("run", pipeline, "--input", "-", "--json", stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"a first row\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["text"] == "a first row"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130


@posix
def test_two_runs_never_write_one_file(
    cli: Cli, start: Start, write_pipeline: Callable[..., Path], rows: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.jsonl"
    pipe = write_pipeline(delay=0.05)
    process = start("run", pipe, "--input", rows, "--output", target, "--concurrency", 1)
    _wait_for_rows(process, target, 1)
    second = cli("run", pipe, "--input", rows, "--output", target, "--resume")
    assert second.exit_code == 2
    assert "another run" in second.stderr


def test_a_full_disk_leaves_whole_rows_and_the_run_goes_on_later(
    cli: Cli, pipeline: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr(out.os, "write", _disk_of(20_000))
        result = cli("run", pipeline, "--input", rows, "--output", target)
    assert result.exit_code == 1
    assert "the disk is full" in result.stderr
    assert "--resume" in result.stderr
    kept = target.read_bytes()
    assert kept.endswith(b"}\n")
    assert 0 < len(read(target)) < 40
    assert cli("run", pipeline, "--input", rows, "--output", target, "--resume").exit_code == 0
    assert target.read_bytes().startswith(kept)
    assert [row["origin"]["row"] for row in read(target)] == list(range(40))


def _disk_of(size: int) -> Callable[[int, Any], int]:
    """A ``write`` that takes ``size`` bytes in all, the last of them as half a line, and then has no space left."""
    real, left = os.write, size

    def write(fd: int, data: Any) -> int:
        nonlocal left
        if left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = real(fd, bytes(data)[:left])
        left -= written
        return written

    return write


def test_a_row_is_on_disk_within_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(out.os, "fsync", lambda fd: synced.append(os.fstat(fd).st_size))
    clock = [100.0]
    monkeypatch.setattr(out.time, "monotonic", lambda: clock[0])
    file = out.JsonlFile(tmp_path / "out.jsonl", new=True)
    file.write('{"a": 1}')
    assert not file.due
    clock[0] += 1.0
    assert file.due
    file.sync()
    assert not file.due
    file.write('{"b": 2}')
    file.close()
    assert synced == [9, 18]


def test_input_and_output_that_cannot_be_opened_are_exit_2(
    cli: Cli, pipeline: Path, rows: Path, tmp_path: Path
) -> None:
    assert cli("run", pipeline, "--input", tmp_path / "none").exit_code == 2
    assert cli("run", pipeline, "--input", tmp_path).exit_code == 2
    nowhere = cli("run", pipeline, "--input", rows, "--output", tmp_path / "no" / "out.jsonl")
    assert (nowhere.exit_code, "--output" in nowhere.stderr) == (2, True)


def test_a_text_with_an_output_is_one_row(cli: Cli, pipeline: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    assert cli("run", pipeline, '{"text": "as it is"}', "--output", target).exit_code == 0
    assert [row["text"] for row in read(target)] == ['{"text": "as it is"}']


def _wait_for_rows(process: subprocess.Popen[bytes], path: Path, count: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError(f"{path} has not reached {count} rows")
