"""The thin synchronous face over the asynchronous core: one event loop in one background thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Portal:
    """Runs coroutines of one loop from ordinary code; the loop lives in a daemon thread until `close`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="scenepipe", daemon=True)
        self._thread.start()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run to the end and return the result; an interrupt of the caller cancels it."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Stop the loop and wait for its thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


class Results(Generic[T]):
    """An asynchronous generator that ordinary code can iterate too. Abandoning it cancels the work behind it."""

    def __init__(self, make: Callable[[], AsyncGenerator[T, None]], portal: Callable[[], Portal]) -> None:
        self._make = make
        self._portal = portal

    def __aiter__(self) -> AsyncIterator[T]:
        return self._make()

    def __iter__(self) -> Iterator[T]:
        portal = self._portal()
        generator = self._make()
        try:
            while True:
                try:
                    yield portal.call(_next(generator))
                except StopAsyncIteration:
                    return
        finally:
            portal.call(_close(generator))


async def _close(generator: AsyncGenerator[T, None]) -> None:
    """Close, also after an interrupt: the step that it cancelled may still be unwinding on the loop."""
    while True:
        try:
            return await generator.aclose()
        except RuntimeError as error:
            if "already running" not in str(error):
                raise
            await asyncio.sleep(0.01)


async def _next(generator: AsyncGenerator[T, None]) -> T:
    return await generator.__anext__()
