"""The pipeline: stages in a row over shared resources. Check, run, map, stream, explain.

One asynchronous core with a thin synchronous face: ``run``, ``explain``, and the iterators of ``map`` and ``stream``
work in ordinary code; ``arun``, ``aexplain`` and ``async for`` over the same iterators work in asynchronous code.
"""

from __future__ import annotations

import asyncio
import atexit
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, ClassVar, overload

from pydantic import BaseModel, ConfigDict

from scenepipe import events as ev
from scenepipe.ask import NOTHING, Ask
from scenepipe.context import Budget, Context, Failure, Resources, offload
from scenepipe.contracts import Archive, Backend, Encoder
from scenepipe.errors import ConfigError, DeadlineError, Fault, InputError, ScenepipeError
from scenepipe.portal import Portal, Results
from scenepipe.scene import Origin, Scene, new_scene
from scenepipe.steps import StageFailed, Step, check_steps

if TYPE_CHECKING:
    from types import TracebackType

    from scenepipe.models.catalogue import LocalModel
    from scenepipe.register import Register

Row = str | Scene | Failure
MAP_WINDOW = 4
"""How many times ``concurrency`` rows may be started before the oldest has to be finished: bounds memory."""


def _ignore(event: ev.Event) -> None:
    """The listener of runs that nobody listens to."""


class Explanation(BaseModel):
    """What would happen to a text, found without calling a model.

    ``previews`` holds, by stage, what each left-out stage says it would do (the exact prompt, the mixture plan).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scene: Scene
    ran: tuple[str, ...]
    left_out: tuple[str, ...]
    previews: dict[str, dict[str, Any]] = {}


class Pipeline:
    """Stages in a row; itself a stage, so pipelines nest.

    Args:
        stages: stages, or (name, stage) pairs where a name other than the class's is wanted.
        name: in messages and events.
        backend, archive, encoder: what stages share; opened before the first scene that needs them.
        model: returns the local model, fetching it if need be; called in a worker thread.
        registers: by name, for the backend to open.
        deadline_s: seconds that one scene may take.
        budget: limits of one run.
        given: fields that are filled before the first stage: by the caller's Scene, or by the pipeline around this one.
        nested: this pipeline is a stage of another, which owns backend and archive.
        fingerprint: what must be equal for a stopped run to be resumed, see `scenepipe.build`.

    Raises:
        ConfigError: the stages do not fit each other; all faults at once.
    """

    explains: ClassVar[bool] = True

    def __init__(
        self,
        stages: Sequence[Any],
        *,
        name: str = "pipeline",
        backend: Backend | None = None,
        archive: Archive | None = None,
        encoder: Encoder | None = None,
        model: Callable[[], LocalModel] | None = None,
        registers: dict[str, Register] | None = None,
        deadline_s: float | None = None,
        budget: Callable[[], Budget] = Budget,
        given: Iterable[str] = (),
        nested: bool = False,
        fingerprint: Callable[[], dict[str, str]] | None = None,
    ) -> None:
        self.name = name
        self.resources = Resources(backend=backend, archive=archive, encoder=encoder, registers=registers)
        self.deadline_s = deadline_s
        self.steps = [_step(stage, name) for stage in stages]
        self.fingerprint = fingerprint or dict
        self._model = model
        self._budget = budget
        self._portal: Portal | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening: asyncio.Task[None] | None = None
        self._backend: asyncio.Task[None] | None = None
        self.reads = frozenset(given)
        self.writes = frozenset[str]().union(*(s.writes for s in self.steps))
        self.needs = frozenset[str]().union(*(s.needs for s in self.steps))
        self.uses = frozenset[str]().union(*(s.uses for s in self.steps))
        has = {"backend", "archive"} if nested else {n for n in ("backend", "archive") if getattr(self.resources, n)}
        faults = self._faults(frozenset(has), self.reads)
        if faults:
            raise ConfigError(faults, name)

    def _faults(self, has: frozenset[str], given: frozenset[str]) -> list[Fault]:
        if not self.steps:
            return [Fault("stages", "no stage was given; a pipeline has at least one")]
        return check_steps(self.steps, has=has, given=given)

    # --- opening and closing -----------------------------------------------------------------------------------------

    async def aopen(self, *, backend: bool = True) -> None:
        """Open everything the stages need; the engine goes on loading in the background until a stage asks for it."""
        self._loop = asyncio.get_running_loop()
        if self._opening is None or (self._opening.done() and self._opening.exception() is not None):
            self._opening = asyncio.create_task(self._open_stages(backend), name="open stages")
        await asyncio.shield(self._opening)
        self._load(backend)

    def _load(self, backend: bool) -> None:
        if backend and self._backend is None and "backend" in self.needs:
            self._backend = asyncio.create_task(self._open_backend(), name="open backend")

    async def _open_stages(self, backend: bool) -> None:
        if self._model is not None and self.needs & {"model", "backend"}:
            self.resources.model = await asyncio.to_thread(self._model)
        self._load(backend)
        if self.resources.archive is not None and "archive" in self.needs | self.uses:
            await self.resources.archive.open()
        encoder_open = getattr(self.resources.encoder, "open", None)
        if encoder_open is not None and "encoder" in self.needs:
            await asyncio.to_thread(encoder_open)
        await asyncio.to_thread(self.open, self.resources)

    async def _open_backend(self) -> None:
        backend = self.resources.backend
        assert backend is not None
        proofs = await backend.open(self.resources.model, list(self.resources.registers.values()))
        self.resources.proofs = {proof.register_name: proof for proof in proofs}

    def open(self, resources: Resources) -> None:
        """Open every stage (blocking); part of the Stage contract, so that a nested pipeline opens with its parent."""
        for step in self.steps:
            hook = getattr(step.stage, "open", None)
            if hook is not None:
                hook(resources)

    async def aclose(self) -> None:
        """Close stages, archive and engine; a second call does nothing."""
        opening, self._opening = self._opening, None
        loading, self._backend = self._backend, None
        for task in (opening, loading):
            if task is not None:
                await asyncio.gather(task, return_exceptions=True)
        if opening is None and loading is None:
            return
        async with AsyncExitStack() as closing:  # each is closed even where another raises
            if self.resources.backend is not None and loading is not None:
                closing.push_async_callback(self.resources.backend.aclose)
            if self.resources.archive is not None and "archive" in self.needs | self.uses:
                closing.push_async_callback(self.resources.archive.aclose)
            for step in reversed(self.steps):
                hook = getattr(step.stage, "aclose", None)
                if hook is not None:
                    closing.push_async_callback(hook)

    def close(self) -> None:
        """The synchronous `aclose`."""
        portal, self._portal = self._portal, None
        if portal is not None:
            atexit.unregister(self.close)
            try:
                portal.call(self.aclose())
            finally:
                portal.close()

    async def __aenter__(self) -> Pipeline:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # --- running -----------------------------------------------------------------------------------------------------

    @overload
    def run(self, scene: str | Scene, *, origin: Origin | None = None) -> Scene: ...

    @overload
    def run(self, scene: Scene, ctx: Context) -> Awaitable[Scene]: ...

    def run(
        self, scene: str | Scene, ctx: Context | None = None, *, origin: Origin | None = None
    ) -> Scene | Awaitable[Scene]:
        """One text (or a scene with fields already filled, such as ``registers``) through every stage.

        ``origin`` is the occasion of a text: its chat and turn, its namespace.

        With a context it is the Stage contract: a coroutine, for a pipeline inside a pipeline.

        Raises:
            ScenepipeError: what the failing stage raised, with a note that names stage and pipeline.
        """
        if ctx is not None:
            assert isinstance(scene, Scene)
            return self._walk(scene, ctx)
        return self._sync().call(self.arun(scene, origin=origin))

    async def arun(
        self,
        scene: str | Scene,
        *,
        origin: Origin | None = None,
        ask: Ask = NOTHING,
        emit: Callable[[ev.Event], None] | None = None,
    ) -> Scene:
        """The asynchronous `run`.

        Args:
            ask: what the caller wishes, over what the stages are set to.
            emit: called with what the stages tell and when each begins and ends, as it happens; `stream` tells more.
        """
        await self.aopen()
        start = _scene_of(scene, origin)
        ctx = self._context(start.origin.run, emit=emit or _ignore, ask=ask, fields=False)
        try:
            return await self._one(start, ctx)
        except StageFailed as failed:
            raise _noted(failed, self.name) from failed.error.__cause__

    def map(
        self,
        rows: Iterable[Row] | AsyncIterable[Row],
        *,
        concurrency: int = 32,
        run: str | None = None,
        first_row: int = 0,
    ) -> Results[Scene | Failure]:
        """Many texts, results in order: a Scene, or a Failure in the place of its row. Iterate it either way.

        Args:
            concurrency: scenes in flight.
            run: id of the run, part of every operation id: repeating a run under its id doubles no encounter.
            first_row: number of the first row.
        """
        return Results(lambda: self._map(rows, concurrency, run or _run_id(), first_row), self._sync)

    def stream(self, scene: str | Scene, *, origin: Origin | None = None, ask: Ask = NOTHING) -> Results[ev.Event]:
        """The events of one run as they happen. Abandoning the iterator aborts the engine's call."""
        return Results(lambda: self._stream(scene, origin, ask), self._sync)

    def explain(self, scene: str | Scene) -> Explanation:
        """What would happen to a text; no model is called, nothing is written."""
        return self._sync().call(self.aexplain(scene))

    async def aexplain(self, scene: str | Scene) -> Explanation:
        """The asynchronous `explain`."""
        await self.aopen(backend=False)
        current = _scene_of(scene, None)
        ctx = self._context(current.origin.run)
        ran, left_out, previews = [], [], {}
        for step in self.steps:
            missing = any(getattr(current, name) is None for name in step.reads)
            if step.explains and "backend" not in step.needs and not missing:
                try:
                    current = await step.run(current, ctx)
                except StageFailed as failed:
                    raise _noted(failed, self.name) from failed.error.__cause__
                ran.append(step.name)
            else:
                left_out.append(step.name)
                if hasattr(step.stage, "preview"):
                    previews[step.name] = await offload(step.stage.preview, current, ctx)
        return Explanation(scene=current, ran=tuple(ran), left_out=tuple(left_out), previews=previews)

    # --- the core ----------------------------------------------------------------------------------------------------

    async def _walk(self, scene: Scene, ctx: Context) -> Scene:
        if ctx.emit is not _ignore:
            return await self._walk_loudly(scene, ctx)
        for step in self.steps:
            scene = await step.run(scene, ctx)
        return scene

    async def _walk_loudly(self, scene: Scene, ctx: Context) -> Scene:
        for step in self.steps:
            at, before = time.monotonic(), scene
            ctx.emit(ev.StageStarted(run=ctx.run, scene_id=scene.id, stage=step.name))
            scene = await step.run(scene, ctx)
            changed = {name for name in step.writes if getattr(before, name) is not getattr(scene, name)}
            if changed and ctx.fields:
                fields = scene.model_dump(mode="json", include=changed)
                if isinstance(fields.get("field"), dict):
                    fields["field"].pop("vector", None)
                ctx.emit(ev.SceneUpdated(run=ctx.run, scene_id=scene.id, stage=step.name, fields=fields))
            ctx.emit(ev.StageFinished(run=ctx.run, scene_id=scene.id, stage=step.name, seconds=time.monotonic() - at))
        return scene

    async def _one(self, scene: Scene, ctx: Context) -> Scene:
        if self.deadline_s is None:
            return await self._walk(scene, ctx)
        try:
            async with asyncio.timeout(self.deadline_s):
                return await self._walk(scene, ctx)
        except TimeoutError as error:
            late = DeadlineError(
                f"the scene took longer than deadline_s = {self.deadline_s:g}; raise it or shorten the reply"
            )
            raise StageFailed("deadline", scene, late) from error

    async def _map(
        self, rows: Iterable[Row] | AsyncIterable[Row], concurrency: int, run: str, first_row: int
    ) -> AsyncGenerator[Scene | Failure, None]:
        await self.aopen()
        gate, budget = asyncio.Semaphore(concurrency), self._budget()
        window = asyncio.Semaphore(concurrency * MAP_WINDOW)
        started: asyncio.Queue[asyncio.Task[Scene | Failure] | None] = asyncio.Queue()

        async def feed() -> None:
            try:
                number = first_row
                async for row in _each(rows):
                    await window.acquire()
                    started.put_nowait(asyncio.create_task(self._row(row, number, run, gate, budget)))
                    number += 1
            finally:
                started.put_nowait(None)

        feeder = asyncio.create_task(feed())
        current: asyncio.Task[Scene | Failure] | None = None
        try:
            while (current := await started.get()) is not None:
                result = await current
                window.release()
                yield result
            await feeder
        finally:
            left: list[asyncio.Task[Scene | Failure]] = [current] if current is not None else []
            while not started.empty():
                left.extend(task for task in (started.get_nowait(),) if task is not None)
            for task in (feeder, *left):
                task.cancel()
            await asyncio.gather(feeder, *left, return_exceptions=True)

    async def _row(self, row: Row, number: int, run: str, gate: asyncio.Semaphore, budget: Budget) -> Scene | Failure:
        if isinstance(row, Failure):
            return row
        async with gate:
            try:
                scene = _scene_of(row, Origin(run=run, row=number))
                return await self._one(scene, self._context(run, budget=budget))
            except StageFailed as failed:
                return _failure(failed.stage, failed.error, number, scene=failed.scene)
            except InputError as error:
                return _failure("input", error, number, text=row if isinstance(row, str) else row.text)

    async def _stream(self, scene: str | Scene, origin: Origin | None, ask: Ask) -> AsyncGenerator[ev.Event, None]:
        start = _scene_of(scene, origin)
        await self.aopen()
        queue: asyncio.Queue[ev.Event | None] = asyncio.Queue()
        task = asyncio.create_task(self._emitting(start, queue, ask))
        try:
            while (event := await queue.get()) is not None:
                yield event
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _emitting(self, scene: Scene, queue: asyncio.Queue[ev.Event | None], ask: Ask) -> None:
        run, at = scene.origin.run, time.monotonic()
        queue.put_nowait(ev.RunStarted(run=run, scene_id=scene.id, pipeline=self.name, scene=scene))
        try:
            done = await self._one(scene, self._context(run, emit=queue.put_nowait, ask=ask))
            queue.put_nowait(ev.RunFinished(run=run, scene_id=scene.id, scene=done, seconds=time.monotonic() - at))
        except StageFailed as failed:
            kind, message = type(failed.error).__name__, str(failed.error)
            queue.put_nowait(ev.Failed(run=run, scene_id=scene.id, stage=failed.stage, error=kind, message=message))
            raise _noted(failed, self.name) from failed.error.__cause__
        finally:
            queue.put_nowait(None)

    def _context(
        self,
        run: str,
        *,
        emit: Callable[[ev.Event], None] = _ignore,
        budget: Budget | None = None,
        ask: Ask = NOTHING,
        fields: bool = True,
    ) -> Context:
        deadline = time.monotonic() + self.deadline_s if self.deadline_s is not None else None
        return Context(
            self.resources,
            run=run,
            pipeline=self.name,
            emit=emit,
            backend_ready=self._backend_ready,
            deadline=deadline,
            budget=budget or self._budget(),
            ask=ask,
            fields=fields,
        )

    async def ready(self) -> None:
        """Open everything and wait until the engine has loaded, too.

        Raises:
            ScenepipeError: what a stage, the archive or the engine raised while it opened.
        """
        await self.aopen()
        if self._backend is not None:
            await asyncio.shield(self._backend)

    async def _backend_ready(self) -> None:
        assert self._backend is not None, "opened before the first scene"
        await asyncio.shield(self._backend)

    def _sync(self) -> Portal:
        if self._portal is None:
            if self._loop is not None and self._loop.is_running():
                raise RuntimeError("this pipeline runs on an event loop: await pipe.arun(...) or use 'async for'")
            self._portal = Portal()
            atexit.register(self.close)
        return self._portal


def _step(stage: Any, pipeline: str) -> Step:
    name, stage = stage if isinstance(stage, tuple) else (getattr(stage, "name", type(stage).__name__), stage)
    return Step(name, stage, pipeline)


def _run_id() -> str:
    return uuid.uuid4().hex


def _scene_of(row: str | Scene, origin: Origin | None) -> Scene:
    """The scene of a row, with an origin that names a run: operation ids are made from it."""
    given = row.origin if isinstance(row, Scene) and row.origin.run else origin or Origin()
    if isinstance(row, Scene) and not row.origin.run:
        given = row.origin.model_copy(update={"run": given.run, "row": given.row})
    placed = given if given.run else given.model_copy(update={"run": _run_id()})
    return row.with_(origin=placed) if isinstance(row, Scene) else new_scene(row, placed)


async def _each(rows: Iterable[Row] | AsyncIterable[Row]) -> AsyncIterator[Row]:
    if isinstance(rows, AsyncIterable):
        async for row in rows:
            yield row
    else:
        for row in rows:
            yield row


def _noted(failed: StageFailed, pipeline: str) -> BaseException:
    if isinstance(failed.error, ScenepipeError):
        failed.error.add_note(f"in stage '{failed.stage}' of pipeline '{pipeline}'")
    return failed.error


def _failure(
    stage: str, error: BaseException, row: int, *, scene: Scene | None = None, text: str | None = None
) -> Failure:
    printable = text.encode("utf-8", "replace").decode() if text is not None else None
    return Failure(scene=scene, text=printable, row=row, stage=stage, error=type(error).__name__, message=str(error))
