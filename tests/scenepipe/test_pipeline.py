"""The runner: what it checks, how rows flow, how errors and cancellation travel."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
import tracemalloc
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenepipe.context import Budget, Context, Failure
from scenepipe.errors import BackendError, ConfigError, DeadlineError, InputError, StageError, UnreachableError
from scenepipe.memory.memory import MemoryArchive
from scenepipe.pipeline import Pipeline
from scenepipe.scene import Language, Linkage, Origin, Scene, new_scene
from scenepipe.testing.fake_backend import FakeBackend


class Tag:
    """Writes the language; may fail, wait or misbehave on request."""

    reads: ClassVar[frozenset[str]] = frozenset()
    writes: ClassVar[frozenset[str]] = frozenset({"language"})

    def __init__(self, *, wait: float = 0.0) -> None:
        self.wait = wait
        self.running = 0
        self.most = 0
        self.cancelled = 0

    async def run(self, scene: Scene, ctx: Context) -> Scene:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if "slow" in scene.text:
                await asyncio.sleep(0.05)
            await asyncio.sleep(self.wait)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        if "raise" in scene.text:
            raise ZeroDivisionError("by zero")
        if "engine" in scene.text:
            raise BackendError("the engine is gone")
        if "sneak" in scene.text:
            return scene.with_(linkage=Linkage(chain=("x",)))
        if "none" in scene.text:
            return None  # type: ignore[return-value]
        return scene.with_(language=Language(code="en"))


class Upper:
    """A batch stage: writes outputs in a worker thread."""

    reads: ClassVar[frozenset[str]] = frozenset({"language"})
    writes: ClassVar[frozenset[str]] = frozenset({"outputs"})

    def __init__(self, batch_size: int = 8) -> None:
        self.batch_size = batch_size
        self.sizes: list[int] = []
        self.threads: set[int] = set()

    def run_batch(self, scenes: Sequence[Scene], ctx: Context) -> list[Scene]:
        self.sizes.append(len(scenes))
        self.threads.add(threading.get_ident())
        if any("spoil" in scene.text for scene in scenes):
            raise ValueError("spoilt batch")
        return [scene.with_(outputs={"text": scene.text.upper()}) for scene in scenes]


def test_run_fills_fields_and_leaves_the_text() -> None:
    with Pipeline([Tag(), Upper()]) as pipe:
        scene = pipe.run("hello")
    assert scene.text == "hello"
    assert scene.language == Language(code="en")
    assert scene.outputs == {"text": "HELLO"}


def test_all_faults_of_a_chain_come_at_once() -> None:
    class Wrong:
        reads = frozenset({"delta", "symbls"})
        writes = frozenset({"language"})
        needs = frozenset({"backend", "archive"})

        async def run(self, scene: Scene, ctx: Context) -> Scene:
            return scene

    with pytest.raises(ConfigError) as caught:
        Pipeline([Tag(), Wrong()], name="p")
    text = str(caught.value)
    assert len(caught.value.faults) == 5
    for part in ("did you mean 'symbols'", "reads 'delta'", "writes 'language'", "needs a backend", "add 'memory:'"):
        assert part in text


def test_a_read_that_is_written_later_says_so() -> None:
    with pytest.raises(ConfigError, match="but later; move it up"):
        Pipeline([Upper(), Tag()])


def test_a_pipeline_without_stages_is_refused() -> None:
    with pytest.raises(ConfigError, match="no stage"):
        Pipeline([])


def test_undeclared_writes_fail_by_name() -> None:
    with (
        Pipeline([Tag()], name="p") as pipe,
        pytest.raises(StageError, match="stage 'Tag' of pipeline 'p': changed linkage"),
    ):
        pipe.run("sneak")


def test_a_stage_that_returns_nothing_fails_by_name() -> None:
    with Pipeline([Tag()]) as pipe, pytest.raises(StageError, match="returned NoneType"):
        pipe.run("none")


def test_errors_keep_their_class_and_say_where() -> None:
    with Pipeline([("tagger", Tag())], name="p") as pipe:
        with pytest.raises(BackendError) as engine:
            pipe.run("engine")
        with pytest.raises(StageError, match="ZeroDivisionError: by zero") as broken:
            pipe.run("raise")
    assert engine.value.__notes__ == ["in stage 'tagger' of pipeline 'p'"]
    assert isinstance(broken.value.__cause__, ZeroDivisionError)


def test_map_keeps_order_length_and_failures_in_place() -> None:
    rows: list[Any] = ["a", "slow b", "raise", "\ud800", "", "c", "engine"]
    with Pipeline([Tag(), Upper()]) as pipe:
        results = list(pipe.map(rows, concurrency=3))
    assert [type(r).__name__ for r in results] == [
        "Scene",
        "Scene",
        "Failure",
        "Failure",
        "Failure",
        "Scene",
        "Failure",
    ]
    assert [r.row if isinstance(r, Failure) else r.origin.row for r in results] == list(range(7))
    failed = results[2]
    assert isinstance(failed, Failure)
    assert (failed.stage, failed.error) == ("Tag", "StageError")
    assert failed.scene is not None
    assert not failed


def test_one_bad_row_fails_alone_in_a_batch() -> None:
    with Pipeline([Tag(), Upper(batch_size=64)]) as pipe:
        results = list(pipe.map(["a", "spoil", "b"], concurrency=64))
    assert [type(r).__name__ for r in results] == ["Scene", "Failure", "Scene"]


class Unreachable(Upper):
    def run_batch(self, scenes: Sequence[Scene], ctx: Context) -> list[Scene]:
        self.sizes.append(len(scenes))
        raise UnreachableError("the server is away")


def test_a_server_that_is_away_is_asked_once_for_a_batch() -> None:
    away = Unreachable(batch_size=64)
    with Pipeline([Tag(), away]) as pipe:
        results = [row for row in pipe.map([f"t{i}" for i in range(8)], concurrency=8) if isinstance(row, Failure)]
    assert [(row.error, row.message) for row in results] == [("UnreachableError", "the server is away")] * 8
    assert away.sizes == [8]


class Abandoned(Upper):
    """Fails its first batch once every row but the last was abandoned."""

    def __init__(self) -> None:
        super().__init__(batch_size=64)
        self.started, self.abandoned = threading.Event(), threading.Event()

    def run_batch(self, scenes: Sequence[Scene], ctx: Context) -> list[Scene]:
        self.sizes.append(len(scenes))
        if len(scenes) > 1:
            self.started.set()
            assert self.abandoned.wait(30)
            raise ValueError("spoilt batch")
        return [scene.with_(outputs={"text": scene.text}) for scene in scenes]


def test_rows_that_nobody_waits_for_are_not_tried_again() -> None:
    async def main() -> None:
        stage = Abandoned()
        async with Pipeline([Tag(), stage]) as pipe:
            rows = [asyncio.create_task(pipe.arun(f"t{i}")) for i in range(4)]
            await asyncio.to_thread(stage.started.wait, 30)
            for row in rows[:-1]:
                row.cancel()
            await asyncio.wait(rows[:-1])
            stage.abandoned.set()
            assert (await rows[-1]).outputs == {"text": "t3"}
        assert stage.sizes == [4, 1]

    asyncio.run(main())


def test_a_batch_stage_that_takes_no_scene_at_once_is_refused() -> None:
    with pytest.raises(ConfigError, match="upper: batch_size: 0 was given; it must be at least 1"):
        Pipeline([Tag(), ("upper", Upper(batch_size=0))])


def test_batches_gather_what_is_waiting_off_the_loop() -> None:
    upper = Upper(batch_size=16)
    with Pipeline([Tag(), upper]) as pipe:
        list(pipe.map([f"t{i}" for i in range(64)], concurrency=32))
    assert sum(upper.sizes) == 64
    assert max(upper.sizes) > 1
    assert max(upper.sizes) <= 16
    assert threading.get_ident() not in upper.threads


def test_concurrency_is_bounded_and_used() -> None:
    tag = Tag(wait=0.001)
    with Pipeline([tag]) as pipe:
        list(pipe.map([f"t{i}" for i in range(100)], concurrency=7))
    assert tag.most == 7


def test_a_slow_row_holds_nobody_up() -> None:
    done: list[str] = []

    class Note(Tag):
        async def run(self, scene: Scene, ctx: Context) -> Scene:
            after = await super().run(scene, ctx)
            done.append(scene.text)
            return after

    with Pipeline([Note()]) as pipe:
        results = [
            r.scene.text if isinstance(r, Failure) and r.scene else r.text for r in pipe.map(["slow", "a", "b", "c"])
        ]
    assert results == ["slow", "a", "b", "c"]
    assert done == ["a", "b", "c", "slow"]


def test_a_finished_row_does_not_wait_for_the_next_to_come() -> None:
    async def main() -> list[str]:
        gate = asyncio.Event()
        order: list[str] = []

        async def rows() -> Any:
            yield "a"
            await gate.wait()
            yield "b"

        async with Pipeline([Tag()]) as pipe:
            async for result in pipe.map(rows()):
                assert isinstance(result, Scene)
                order.append(result.text)
                gate.set()
        return order

    assert asyncio.run(asyncio.wait_for(main(), 5)) == ["a", "b"]


def test_a_source_that_breaks_raises_after_what_came_before() -> None:
    def rows() -> Any:
        yield "a"
        raise OSError("the source is gone")

    seen = []
    with Pipeline([Tag()]) as pipe, pytest.raises(OSError, match="gone"):
        seen.extend(result for result in pipe.map(rows()))
    assert len(seen) == 1


def test_an_interrupt_in_a_sync_iteration_cancels_and_closes() -> None:
    tag = Tag(wait=30.0)
    with Pipeline([tag]) as pipe:
        main_thread = threading.main_thread().ident
        assert main_thread is not None
        timer = threading.Timer(0.3, lambda: signal.pthread_kill(main_thread, signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            list(pipe.map(["a", "b"]))
    assert tag.cancelled == 2


def test_abandoning_map_cancels_what_is_in_flight() -> None:
    tag = Tag(wait=30.0)
    with Pipeline([tag]) as pipe:

        async def never() -> None:
            async for _ in pipe.map(["a", "b"]):
                pass

        async def abandon() -> None:
            task = asyncio.create_task(never())
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        asyncio.run(abandon())
    assert tag.cancelled == 2
    assert tag.running == 0


def test_stream_tells_the_whole_story_in_order() -> None:
    with Pipeline([Tag(), Upper()], name="p") as pipe:
        events = list(pipe.stream("hello"))
    assert [e.type for e in events] == [
        "run_started", "stage_started", "scene_updated", "stage_finished",
        "stage_started", "scene_updated", "stage_finished", "run_finished",
    ]  # fmt: skip
    assert len({e.run for e in events}) == 1
    assert events[-1].scene.outputs == {"text": "HELLO"}  # type: ignore[union-attr]


def test_stream_reports_a_failure_then_raises_it() -> None:
    seen = []
    with Pipeline([Tag()]) as pipe, pytest.raises(BackendError):
        for event in pipe.stream("engine"):
            seen.append(event.type)
    assert seen[-1] == "failure"


def test_abandoning_a_stream_cancels_the_stage() -> None:
    tag = Tag(wait=30.0)

    async def main() -> None:
        async with Pipeline([tag]) as pipe:
            stream = aiter(pipe.stream("a"))
            assert (await anext(stream)).type == "run_started"
            assert (await anext(stream)).type == "stage_started"
            await asyncio.sleep(0.01)
            await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())
    assert tag.cancelled == 1


def test_pipelines_nest() -> None:
    inner = Pipeline([Upper()], name="inner", given={"language"}, nested=True)
    with Pipeline([Tag(), ("shout", inner)], name="outer") as pipe:
        assert pipe.run("hello").outputs == {"text": "HELLO"}
        failing = list(pipe.map(["spoil"]))[0]
    assert isinstance(failing, Failure)
    assert failing.stage == "shout/Upper"


def test_deadline_stops_a_scene_by_name() -> None:
    with Pipeline([Tag(wait=30.0)], deadline_s=0.05) as pipe, pytest.raises(DeadlineError, match="deadline_s = 0.05"):
        pipe.run("a")


def test_budget_is_shared_by_a_run() -> None:
    class Spend(Tag):
        async def run(self, scene: Scene, ctx: Context) -> Scene:
            ctx.budget.spend(calls=1)
            return await super().run(scene, ctx)

    with Pipeline([Spend()], budget=lambda: Budget(calls=2)) as pipe:
        results = list(pipe.map(["a", "b", "c"], concurrency=1))
    assert [bool(r) if isinstance(r, Failure) else True for r in results] == [True, True, False]


def test_sync_inside_a_running_loop_is_refused_with_the_way_out() -> None:
    async def main() -> None:
        async with Pipeline([Tag()]) as pipe:
            await pipe.arun("a")
            with pytest.raises(RuntimeError, match="arun"):
                pipe.run("a")

    asyncio.run(main())


def test_sync_works_from_inside_a_foreign_loop() -> None:
    async def main() -> str:
        with Pipeline([Tag()]) as pipe:
            return pipe.run("a").text

    assert asyncio.run(main()) == "a"


def test_a_preview_waits_for_the_loop_without_holding_it() -> None:
    free = threading.Event()

    class Waits(Tag):
        reads: ClassVar[frozenset[str]] = frozenset({"language"})
        writes: ClassVar[frozenset[str]] = frozenset({"reply"})
        needs: ClassVar[frozenset[str]] = frozenset({"backend"})

        def preview(self, scene: Scene, ctx: Context) -> dict[str, Any]:
            return {"free": free.wait(2)}

    async def run() -> Any:
        async with Pipeline([Tag(), ("speak", Waits())], backend=FakeBackend()) as pipe:
            asyncio.get_running_loop().call_later(0.05, free.set)
            return (await pipe.aexplain("a")).previews

    assert asyncio.run(run()) == {"speak": {"free": True}}


def test_explain_runs_no_engine() -> None:
    backend = FakeBackend(fail_on="")

    class Speak(Tag):
        reads: ClassVar[frozenset[str]] = frozenset({"language"})
        writes: ClassVar[frozenset[str]] = frozenset({"reply"})
        needs: ClassVar[frozenset[str]] = frozenset({"backend"})

        def preview(self, scene: Scene, ctx: Context) -> dict[str, Any]:
            return {"would_say": scene.text}

    with Pipeline([Tag(), ("speak", Speak())], backend=backend) as pipe:
        explanation = pipe.explain("a")
    assert explanation.ran == ("Tag",)
    assert explanation.left_out == ("speak",)
    assert explanation.previews == {"speak": {"would_say": "a"}}


def test_callers_may_fill_fields_first() -> None:
    with Pipeline([Upper()], given={"language"}) as pipe:
        scene = new_scene("hello", Origin(run="r1")).with_(language=Language(code="en"))
        assert pipe.run(scene).origin.run == "r1"


def test_a_text_may_have_its_occasion() -> None:
    with Pipeline([Upper()], given={"language"}) as pipe:
        origin = pipe.run("hello", origin=Origin(chat="a", turn=2, namespace="n")).origin
        assert (origin.chat, origin.turn, origin.namespace) == ("a", 2, "n")
        assert origin.run


def test_open_errors_reach_the_caller_and_may_be_tried_again() -> None:
    class Broken(Tag):
        tries = 0

        def open(self, resources: Any) -> None:
            Broken.tries += 1
            if Broken.tries == 1:
                raise InputError("no vocabulary")

    with Pipeline([Broken()]) as pipe:
        with pytest.raises(InputError, match="no vocabulary"):
            pipe.run("a")
        assert pipe.run("a").text == "a"


def test_closing_twice_is_nothing() -> None:
    pipe = Pipeline([Tag()])
    pipe.run("a")
    pipe.close()
    pipe.close()


def test_one_that_cannot_be_closed_leaves_none_open() -> None:
    closed: list[str] = []

    class Closes(Tag):
        async def aclose(self) -> None:
            closed.append("stage")
            raise BackendError("the connection was lost")

    class Last(Upper):
        async def aclose(self) -> None:
            closed.append("last stage")

    class Kept(MemoryArchive):
        async def aclose(self) -> None:
            closed.append("archive")

    class Remembers(Last):
        uses: ClassVar[frozenset[str]] = frozenset({"archive"})

    before = set(threading.enumerate())
    pipe = Pipeline([Closes(), Remembers()], archive=Kept())
    pipe.run("a")
    with pytest.raises(BackendError, match="the connection was lost"):
        pipe.close()
    assert closed == ["stage", "last stage", "archive"]
    assert "scenepipe" not in {thread.name for thread in set(threading.enumerate()) - before}, "its loop goes on"


def test_map_memory_does_not_grow_with_the_rows() -> None:
    def peak(n: int) -> int:
        with Pipeline([Tag(), Upper(64)]) as pipe:
            pipe.run("warm")
            gc.collect()
            tracemalloc.start()
            assert sum(1 for _ in pipe.map((f"text {i}" for i in range(n)), concurrency=16)) == n
            top = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return top

    assert peak(2000) < 1.5 * peak(400)


@given(st.lists(st.sampled_from(["a", "raise", "spoil", "", "engine", "b"]), max_size=12), st.integers(1, 5))
def test_map_equals_running_one_by_one(rows: list[str], concurrency: int) -> None:
    with Pipeline([Tag(), Upper(4)]) as pipe:
        results = list(pipe.map(rows, concurrency=concurrency))
        for row, result in zip(rows, results, strict=True):
            try:
                alone = pipe.run(row)
            except Exception as error:
                assert isinstance(result, Failure)
                assert result.error == type(error).__name__
            else:
                assert isinstance(result, Scene)
                assert result.outputs == alone.outputs
