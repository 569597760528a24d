"""The pipeline that the server is measured with, and a server of it in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

PIPELINE = """\
scenepipe: 1
name: bench
model: gemma-3-270m
backend: {backend}
registers: [philosopher, poet, body, logician]
memory: {{use: sqlite, path: {home}/archive.db}}
stages: [sentencepiece, rule-scene, route, recall, {{use: decode, mixture: {mixture}, seed: 1, max_tokens: 48}}, remember, render]
"""


class Served(NamedTuple):
    """Where it listens, and the process that it is."""

    url: str
    pid: int

    def resident(self) -> int:
        """Bytes of memory that the process holds; Linux."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))


@contextmanager
def served(pipeline: Path, *options: str) -> Iterator[Served]:
    """A server of this pipeline that answers.

    Args:
        options: of ``scenepipe serve``.
    """
    command = [sys.executable, "-m", "scenepipe", "serve", str(pipeline), "--port", "0"]
    command += options or ("--waiting", "4096", "--per-key", "8192")
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        told: dict[str, Any] = {}
        while not {"ready", "listening"} <= told.keys():
            line = json.loads(process.stderr.readline())
            told[line["message"]] = line
        drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
        yield Served(told["listening"]["url"], process.pid)
    finally:
        process.terminate()
        process.wait(30)
        drain.wait(5)
