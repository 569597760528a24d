"""What a stage may use for one scene beside the scene itself, and how one fails.

A stage that waits in a worker thread asks what only the loop can through `Context.wait`; one that blocks the loop hands
its work to `offload`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from scenepipe.ask import NOTHING, Ask
from scenepipe.contracts import AdapterProof, Archive, Backend, Encoder, Value
from scenepipe.errors import BackendError, DeadlineError
from scenepipe.scene import Scene

if TYPE_CHECKING:
    from scenepipe.events import Event
    from scenepipe.models.catalogue import LocalModel
    from scenepipe.register import Register

R = TypeVar("R")


class Failure(Value):
    """A scene that a stage failed: an error as a value, in the place of its row."""

    type: Literal["failure"] = "failure"
    scene: Scene | None
    text: str | None = None
    row: int = 0
    stage: str
    error: str
    message: str

    def __bool__(self) -> bool:
        return False


class Budget:
    """What one run may spend. Shared by all scenes of the run; None is unlimited."""

    def __init__(self, *, tokens: int | None = None, calls: int | None = None) -> None:
        self.tokens = tokens
        self.calls = calls

    def spend(self, *, tokens: int = 0, calls: int = 0) -> None:
        """Take from the budget.

        Raises:
            DeadlineError: nothing is left of what would be spent.
        """
        for name, amount in (("tokens", tokens), ("calls", calls)):
            left = getattr(self, name)
            if left is None:
                continue
            if amount > left:
                raise DeadlineError(
                    f"the run's budget has {left} {name} left, {amount} were asked; raise budget.{name}"
                )
            setattr(self, name, left - amount)


class Resources:
    """What a pipeline owns and its stages share: opened once, before the first scene that needs it.

    ``proofs`` says, by register, what the backend loaded; empty until it has.
    """

    def __init__(
        self,
        *,
        backend: Backend | None = None,
        archive: Archive | None = None,
        encoder: Encoder | None = None,
        model: LocalModel | None = None,
        registers: Mapping[str, Register] | None = None,
    ) -> None:
        self.backend = backend
        self.archive = archive
        self.encoder = encoder
        self.model = model
        self.registers: Mapping[str, Register] = dict(registers or {})
        self.proofs: Mapping[str, AdapterProof] = {}


class Context:
    """What a stage may use for one scene, beside the scene itself.

    ``emit`` is the only way to stream. ``backend`` waits until the engine has opened. ``ask`` is what the caller of this
    run wishes, over what the stages are set to. With ``fields`` off nobody needs `SceneUpdated`, and none is made.
    """

    def __init__(
        self,
        resources: Resources,
        *,
        run: str,
        pipeline: str,
        emit: Callable[[Event], None],
        backend_ready: Callable[[], Any] | None = None,
        deadline: float | None = None,
        budget: Budget | None = None,
        ask: Ask = NOTHING,
        fields: bool = True,
    ) -> None:
        self.resources = resources
        self.run = run
        self.pipeline = pipeline
        self.emit = emit
        self.deadline = deadline
        self.budget = budget or Budget()
        self.ask = ask
        self.fields = fields
        self._backend_ready = backend_ready
        self._loop = _running_loop()

    @property
    def archive(self) -> Archive:
        assert self.resources.archive is not None, "checked when the pipeline was built"
        return self.resources.archive

    @property
    def encoder(self) -> Encoder | None:
        return self.resources.encoder

    @property
    def registers(self) -> Mapping[str, Register]:
        return self.resources.registers

    async def backend(self) -> Backend:
        """The opened engine; the first caller waits for it to load."""
        if self._backend_ready is not None:
            await self._backend_ready()
        assert self.resources.backend is not None, "checked when the pipeline was built"
        return self.resources.backend

    def wait(self, awaitable: Awaitable[R]) -> R:
        """Block this worker thread until the pipeline's loop has run the awaitable: how ``run_batch`` asks the archive.

        A context that was made outside of a loop runs it in this thread.

        Raises:
            DeadlineError: the scene's time ran out first; the awaitable is cancelled.
            BackendError: the loop was closed meanwhile.
            RuntimeError: this is the loop's own thread, which would wait for itself; ``await`` there.
        """
        if self._loop is not None and self._loop is _running_loop():
            _discard(awaitable)
            raise RuntimeError("ctx.wait blocks, and this is the event loop's own thread; await there instead")
        if self._loop is None:
            return asyncio.run(_awaited(awaitable))
        coroutine = _awaited(awaitable)
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        while not concurrent.futures.wait([future], self._patience()).done:
            if self._loop.is_closed():
                _discard(coroutine, awaitable)
                raise BackendError("the pipeline was closed while a stage waited for its archive")
            if self.deadline is not None and time.monotonic() >= self.deadline:
                future.cancel()
                raise DeadlineError("the scene's time ran out while a stage waited for its archive; raise deadline_s")
        return future.result()

    def _patience(self) -> float:
        """Seconds until the deadline, at most one: a loop that is closed wakes nobody."""
        return 1.0 if self.deadline is None else min(1.0, max(0.0, self.deadline - time.monotonic()))


async def _awaited(awaitable: Awaitable[R]) -> R:
    return await awaitable


def _discard(*awaitables: Awaitable[Any]) -> None:
    """Coroutines that nobody will run say so unless they are closed."""
    for each in awaitables:
        if inspect.iscoroutine(each):
            each.close()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def offload(function: Callable[..., R], *args: Any) -> R:
    """Run a blocking function in a worker thread; the event loop stays free."""
    return await asyncio.to_thread(function, *args)
