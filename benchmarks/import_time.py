"""`import scenepipe`: seconds, and whether anything heavy came along. Peers: langchain_core and haystack, where installed."""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys
import time

HEAVY = ("torch", "transformers", "numpy", "sqlalchemy", "xllamacpp")
ROUNDS = 7


def seconds(statement: str) -> float:
    """Median wall time of a fresh interpreter that runs the statement, less one that runs nothing."""

    def once(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    pairs = [(once(statement), once("pass")) for _ in range(ROUNDS)]
    return statistics.median(a - b for a, b in pairs)


def main() -> None:
    """Print one line per package."""
    loaded = subprocess.run(
        [sys.executable, "-c", f"import sys, scenepipe; print([m for m in {HEAVY!r} if m in sys.modules])"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    print(
        f"import scenepipe                      {seconds('import scenepipe'):6.3f} s   (asked: under 0.3 s) heavy: {loaded}"
    )
    statement = "import scenepipe; scenepipe.Pipeline; scenepipe.Scene"
    print(f"import scenepipe, use of Pipeline     {seconds(statement):6.3f} s")
    peers = {
        "langchain_core": "from langchain_core.runnables import RunnableLambda",
        "haystack": "from haystack import Pipeline",
    }
    for module, peer in peers.items():
        if importlib.util.find_spec(module):
            print(f"{peer:37} {seconds(peer):6.3f} s")


if __name__ == "__main__":
    main()
