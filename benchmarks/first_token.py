"""Seconds from process start to the first token of a second `scenepipe run`, model on disk.

The peer in the same run is bare xllamacpp: import, load, first token of the same prompt. Asked of scenepipe: under 3 s.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

TEXT = "Почему я не чувствую шаг в себе?"
ROUNDS = 5
OWN = f"""
import sys, scenepipe
with scenepipe.load("quickstart") as pipe:
    for event in pipe.stream({TEXT!r}):
        if event.type == "token":
            print("first", flush=True)
            break
"""
BARE = """
import sys, xllamacpp as x
from scenepipe.models.fetch import local
p = x.CommonParams(); p.model.path = str(local("gemma-3-270m").gguf); p.n_ctx = 2048; p.verbosity = -1
s = x.Server(p)
def first(chunk):
    print("first", flush=True)
    return True
s.handle_completions({"prompt": "Сцена: Почему я не чувствую шаг в себе?\\nОтвет:", "max_tokens": 8, "stream": True}, first)
"""


def first_token(code: str) -> float:
    """Seconds until the child prints its first line."""
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert child.stdout is not None
    line = child.stdout.readline()
    seconds = time.perf_counter() - start
    child.communicate()
    assert line.strip() == b"first", line
    return seconds


def main() -> None:
    """Print medians of both."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["SCENEPIPE_HOME"] = home
        first_token(OWN)
        times = [(first_token(OWN), first_token(BARE)) for _ in range(ROUNDS)]
    own, bare = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"quickstart, process start to first token   {own:6.2f} s   (asked: under 3 s)")
    print(f"bare xllamacpp, the same                   {bare:6.2f} s")


if __name__ == "__main__":
    main()
