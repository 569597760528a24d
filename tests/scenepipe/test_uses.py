"""A stage that uses an archive where the pipeline has one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import ClassVar

from scenepipe.context import Context
from scenepipe.drawing.pipeline import describe
from scenepipe.memory.memory import MemoryArchive
from scenepipe.pipeline import Pipeline
from scenepipe.scene import Scene


class Counting(MemoryArchive):
    """Counts how often it was opened and closed, and on which thread it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = self.closed = 0
        self.threads: set[int] = set()

    async def open(self) -> None:
        self.opened += 1

    async def aclose(self) -> None:
        self.closed += 1

    async def get(self, ids: Sequence[str]) -> Sequence[Scene]:
        self.threads.add(threading.get_ident())
        await asyncio.sleep(0)
        return await super().get(ids)


class Looks:
    """Says in a worker thread how many of its scenes the archive knows."""

    reads: ClassVar[frozenset[str]] = frozenset()
    writes: ClassVar[frozenset[str]] = frozenset({"outputs"})
    uses: ClassVar[frozenset[str]] = frozenset({"archive"})
    batch_size = 4

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def run_batch(self, scenes: Sequence[Scene], ctx: Context) -> list[Scene]:
        self.threads.add(threading.get_ident())
        archive = ctx.resources.archive
        found = len(ctx.wait(archive.get([scene.id for scene in scenes]))) if archive else -1
        return [scene.with_(outputs={"found": str(found)}) for scene in scenes]


def outputs(scene: Scene) -> dict[str, str]:
    assert scene.outputs is not None
    return scene.outputs


def test_an_archive_that_is_used_is_opened_asked_on_the_loop_and_closed() -> None:
    archive, stage = Counting(), Looks()
    with Pipeline([stage], archive=archive) as pipe:
        assert outputs(pipe.run("текст")) == {"found": "0"}
        assert archive.opened == 1
    assert archive.closed == 1
    assert not archive.threads & stage.threads, "a worker waits, the loop asks"


def test_an_archive_that_is_used_is_not_missed() -> None:
    with Pipeline([Looks()]) as pipe:
        assert outputs(pipe.run("текст")) == {"found": "-1"}


def test_an_archive_that_nobody_uses_is_not_opened() -> None:
    class Blind(Looks):
        uses: ClassVar[frozenset[str]] = frozenset()

        def run_batch(self, scenes: Sequence[Scene], ctx: Context) -> list[Scene]:
            return [scene.with_(outputs={}) for scene in scenes]

    archive = Counting()
    with Pipeline([Blind()], archive=archive) as pipe:
        pipe.run("текст")
    assert (archive.opened, archive.closed) == (0, 0)


def test_a_nested_pipeline_uses_the_archive_around_it() -> None:
    archive = Counting()
    with Pipeline([Pipeline([Looks()], name="inner", nested=True)], archive=archive) as pipe:
        assert outputs(pipe.run("текст")) == {"found": "0"}
    assert (archive.opened, archive.closed) == (1, 1)


def test_a_drawn_pipeline_shows_what_a_stage_uses() -> None:
    (box,) = describe(Pipeline([Looks()], archive=Counting())).boxes
    assert box.uses == ("archive",)
    (alone,) = describe(Pipeline([Looks()])).boxes
    assert alone.uses == ()


def test_many_rows_ask_without_holding_each_other_up() -> None:
    archive = Counting()
    with Pipeline([Looks()], archive=archive) as pipe:
        assert [outputs(s)["found"] for s in pipe.map([f"текст {n}" for n in range(40)]) if isinstance(s, Scene)] == [
            "0"
        ] * 40
