"""Microseconds that the runner adds per scene with four no-op stages, beside Haystack and LangChain for the same chain.

All three run the same number of values through four steps that return what they were given, in interleaved rounds in one
process; the median round counts. Asked: under 100 µs, and under both peers.
"""

from __future__ import annotations

import asyncio
import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import Any, ClassVar

from scenepipe.context import Context
from scenepipe.pipeline import Pipeline
from scenepipe.scene import Scene

CALLS = 2000
ROUNDS = 7


class Noop:
    """Returns the scene."""

    reads: ClassVar[frozenset[str]] = frozenset()
    writes: ClassVar[frozenset[str]] = frozenset()

    async def run(self, scene: Scene, ctx: Context) -> Scene:
        return scene


def scenepipe_round() -> Callable[[], None]:
    """`arun` one by one, scene creation included."""
    pipe = Pipeline([Noop(), Noop(), Noop(), Noop()])

    async def calls() -> None:
        for _ in range(CALLS):
            await pipe.arun("a text")

    return lambda: asyncio.run(_own_loop(pipe, calls))


async def _own_loop(pipe: Pipeline, calls: Callable[[], Any]) -> None:
    await calls()
    await pipe.aclose()


def langchain_round() -> Callable[[], None]:
    """`ainvoke` of four RunnableLambdas in a sequence."""
    from langchain_core.runnables import RunnableLambda

    async def same(value: Any) -> Any:
        return value

    chain = RunnableLambda(same) | RunnableLambda(same) | RunnableLambda(same) | RunnableLambda(same)

    async def calls() -> None:
        for _ in range(CALLS):
            await chain.ainvoke({"text": "a text"})

    return lambda: asyncio.run(calls())


def haystack_round() -> Callable[[], None]:
    """`run` of four connected components."""
    import haystack

    @haystack.component
    class Same:
        @haystack.component.output_types(value=str)  # type: ignore[untyped-decorator]
        def run(self, value: str) -> dict[str, str]:
            return {"value": value}

    pipe = haystack.Pipeline()
    for name in "abcd":
        pipe.add_component(name, Same())
    for one, other in ("ab", "bc", "cd"):
        pipe.connect(f"{one}.value", f"{other}.value")

    def calls() -> None:
        for _ in range(CALLS):
            pipe.run({"a": {"value": "a text"}})

    return calls


def main() -> None:
    """Print microseconds per scene of each, and the ratios."""
    rounds = {"scenepipe": scenepipe_round()}
    if importlib.util.find_spec("langchain_core"):
        rounds["langchain"] = langchain_round()
    if importlib.util.find_spec("haystack"):
        rounds["haystack"] = haystack_round()
    times: dict[str, list[float]] = {name: [] for name in rounds}
    for _ in range(ROUNDS):
        for name, once in rounds.items():
            start = time.perf_counter()
            once()
            times[name].append((time.perf_counter() - start) / CALLS * 1e6)
    own = statistics.median(times["scenepipe"])
    for name, measured in times.items():
        median = statistics.median(measured)
        print(
            f"{name:10} {median:8.1f} µs per scene   {median / own:5.1f} x scenepipe   (asked of scenepipe: under 100 µs)"
        )


if __name__ == "__main__":
    main()
