"""A stage inside a pipeline: its name, its contract, and one checked call."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from scenepipe.context import Context, Failure
from scenepipe.errors import ConfigError, Fault, ScenepipeError, StageError, UnreachableError, did_you_mean
from scenepipe.scene import STAGE_FIELDS, Scene

_ALL_FIELDS = tuple(Scene.model_fields)


class StageFailed(Exception):
    """Internal: which stage failed a scene, with the error it raised."""

    def __init__(self, stage: str, scene: Scene, error: BaseException) -> None:
        super().__init__(stage)
        self.stage = stage
        self.scene = scene
        self.error = error


class Step:
    """One stage with its name; ``run`` checks that only declared fields were touched."""

    def __init__(self, name: str, stage: Any, pipeline: str) -> None:
        self.name = name
        self.stage = stage
        self.pipeline = pipeline
        self.reads: frozenset[str] = frozenset(stage.reads)
        self.writes: frozenset[str] = frozenset(stage.writes)
        self.needs: frozenset[str] = frozenset(getattr(stage, "needs", ()))
        self.uses: frozenset[str] = frozenset(getattr(stage, "uses", ()))
        self.explains: bool = getattr(stage, "explains", True)
        self._batcher = Batcher(stage, name) if hasattr(stage, "run_batch") else None

    async def run(self, scene: Scene, ctx: Context) -> Scene:
        """One scene through the stage.

        Raises:
            StageFailed: the stage raised, returned a Failure, or broke its contract.
        """
        try:
            if self._batcher is not None:
                after = await self._batcher.submit(scene, ctx)
            else:
                after = await self.stage.run(scene, ctx)
            return after if after is scene else self._checked(scene, after)
        except StageFailed as failed:
            raise StageFailed(f"{self.name}/{failed.stage}", failed.scene, failed.error) from failed.error
        except ScenepipeError as error:
            raise StageFailed(self.name, scene, error) from error
        except Exception as error:
            wrapped = StageError(self.name, self.pipeline, f"{type(error).__name__}: {error}")
            wrapped.__cause__ = error
            raise StageFailed(self.name, scene, wrapped) from error

    def _checked(self, before: Scene, after: Any) -> Scene:
        if isinstance(after, Failure):
            raise StageError(self.name, self.pipeline, f"{after.error}: {after.message}")
        if not isinstance(after, Scene):
            raise StageError(self.name, self.pipeline, f"returned {type(after).__name__}; a stage returns the Scene")
        old, new = before.__dict__, after.__dict__
        touched = [f for f in _ALL_FIELDS if old[f] is not new[f] and f not in self.writes and old[f] != new[f]]
        if touched:
            raise StageError(
                self.name,
                self.pipeline,
                f"changed {', '.join(touched)}, but declares writes = {sorted(self.writes)}; declare it or leave it",
            )
        return after


class _Waiting(NamedTuple):
    scene: Scene
    ctx: Context
    future: asyncio.Future[Any]


class Batcher:
    """Feeds ``run_batch`` with whatever is waiting whenever the stage is free; never waits for a batch to fill.

    Args:
        stage: a `scenepipe.contracts.BatchStage`.
        name: of the stage in messages.

    Raises:
        ConfigError: the stage takes no scene at once.
    """

    def __init__(self, stage: Any, name: str) -> None:
        if stage.batch_size < 1:
            fault = Fault("batch_size", f"{stage.batch_size} was given; it must be at least 1")
            raise ConfigError([fault], name)
        self._stage = stage
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None
        self._thread: ThreadPoolExecutor | None = None

    async def submit(self, scene: Scene, ctx: Context) -> Any:
        """What ``run_batch`` returned for this scene; raises what it raised."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(scene, ctx, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain())
        return await future

    async def _drain(self) -> None:
        await asyncio.sleep(0)  # scenes that were started together arrive together
        while self._waiting:
            size = self._stage.batch_size
            rows, self._waiting = self._waiting[:size], self._waiting[size:]
            rows = [row for row in rows if not row.future.done()]
            if rows:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._own_thread(), contextvars.copy_context().run, self._run, rows, loop)

    def _own_thread(self) -> ThreadPoolExecutor:
        """Never one of the loop's shared threads: what a stage waits for with ``ctx.wait`` may need those."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"scenepipe-{type(self._stage).__name__}")
        return self._thread

    def _run(self, rows: Sequence[_Waiting], loop: asyncio.AbstractEventLoop) -> None:
        results = self._attempt(rows)
        loop.call_soon_threadsafe(_settle, rows, results)

    def _attempt(self, rows: Sequence[_Waiting]) -> Sequence[Any]:
        """Results or exceptions, one per row; a batch that raises is tried row by row, so one bad row fails alone.

        A server that does not answer is not asked again: each row would wait as long as the batch did.
        """
        try:
            results = self._stage.run_batch([row.scene for row in rows], rows[0].ctx)
            if len(results) != len(rows):
                raise ValueError(f"run_batch returned {len(results)} rows for {len(rows)}; one per row is expected")
            return list(results)
        except Exception as error:
            if isinstance(error, UnreachableError):
                return [UnreachableError(*error.args) for _ in rows]
            if len(rows) == 1:
                return [error]
            return [None if row.future.done() else self._attempt([row])[0] for row in rows]


def _settle(rows: Sequence[_Waiting], results: Sequence[Any]) -> None:
    for row, result in zip(rows, results, strict=True):
        if row.future.done():
            continue
        if isinstance(result, Exception):
            row.future.set_exception(result)
        else:
            row.future.set_result(result)


def check_steps(steps: Sequence[Step], *, has: frozenset[str], given: frozenset[str] = frozenset()) -> list[Fault]:
    """All faults of a chain: unknown fields, reads that nobody wrote, two writers of one field, missing resources.

    Args:
        has: which of ``backend`` and ``archive`` the pipeline owns.
        given: fields that are there before the first stage.
    """
    faults: list[Fault] = []
    writer: dict[str, str] = dict.fromkeys(given, "the caller")
    for index, step in enumerate(steps):
        where = f"stages.{index}"
        for name in sorted((step.reads | step.writes) - set(STAGE_FIELDS)):
            faults.append(
                Fault(where, f"stage '{step.name}' declares the field '{name}'; {did_you_mean(name, STAGE_FIELDS)}")
            )
        for name in sorted(step.reads & set(STAGE_FIELDS) - writer.keys()):
            later = next((s.name for s in steps[index + 1 :] if name in s.writes), None)
            hint = f"'{later}' writes it, but later; move it up" if later else "no stage writes it; add one that does"
            faults.append(Fault(where, f"stage '{step.name}' reads '{name}', which nobody wrote before it; {hint}"))
        for name in sorted(step.writes & writer.keys()):
            faults.append(
                Fault(where, f"stage '{step.name}' writes '{name}', which {writer[name]} wrote already; remove one")
            )
        for need in sorted(step.needs & {"backend", "archive"} - has):
            key = "memory" if need == "archive" else need
            faults.append(Fault(where, f"stage '{step.name}' needs a {need}; add '{key}:' to the pipeline"))
        writer |= dict.fromkeys(step.writes, f"'{step.name}'")
    return faults
