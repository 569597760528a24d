"""The asynchronous face of a store whose calls block: one worker thread, appends that wait are written together."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from scenepipe.contracts import Appended, Encounter, Forgotten, Hit, Neighbour, Query, Verification
from scenepipe.errors import ArchiveError
from scenepipe.scene import Hypertoken, Scene

R = TypeVar("R")

_LOG = logging.getLogger("scenepipe.memory")
PAGE = 200


class Batch(NamedTuple):
    """What one append hands over."""

    scenes: Sequence[Scene]
    encounters: Sequence[Encounter]


class _Ticket(NamedTuple):
    """One append that waits for the writer; its future is set when the store has it on disk."""

    batch: Batch
    done: Future[Appended]


class WorkerArchive(ABC):
    """An archive in a store whose client blocks. Subclasses say what is done; here stands in which thread and when.

    One worker thread owns the store. Appends that wait for it are handed over together: a durable write costs the
    same whether it carries one scene or a hundred. An append that has been handed over is written even when its
    caller is cancelled. Do not fork with an open archive.
    """

    def __init__(self) -> None:
        self.name = ""
        self._worker: ThreadPoolExecutor | None = None
        self._waiting: list[_Ticket] = []
        self._lock = threading.Lock()
        self._process = 0

    # --- The store's part, called in the worker thread ---------------------------------------------------------------

    @abstractmethod
    def _open(self) -> None:
        """Connect and prepare; set ``name``, which messages call the archive by."""

    @abstractmethod
    def _close(self) -> None:
        """Undo `_open`, as far as it came."""

    @abstractmethod
    def _write(self, batches: Sequence[Batch]) -> list[Appended]:
        """Write all batches or none; on disk when this returns. An error refuses all of them."""

    @abstractmethod
    def _get(self, ids: Sequence[str]) -> tuple[Scene, ...]: ...

    @abstractmethod
    def _find(self, query: Query) -> tuple[Hit, ...]: ...

    @abstractmethod
    def _encounters(self, scene_ids: Sequence[str] | None) -> tuple[Encounter, ...]: ...

    @abstractmethod
    def _chat(self, name: str, namespace: str) -> tuple[Encounter, ...]: ...

    @abstractmethod
    def _hypertokens(self, namespace: str) -> tuple[Hypertoken, ...]: ...

    @abstractmethod
    def _neighbours(self, symbols: Sequence[str], namespace: str, limit: int) -> tuple[Neighbour, ...]: ...

    @abstractmethod
    def _forget(self, scene_ids: Sequence[str], at: datetime) -> Forgotten:
        """Remove scenes and their encounters, tombstones first; gone from disk when this returns."""

    @abstractmethod
    def _rebuild(self) -> int: ...

    @abstractmethod
    def _index(self) -> tuple[Sequence[Any], Sequence[Any]]:
        """Handles of every scene and every encounter, in the order of their ids."""

    @abstractmethod
    def _scenes_at(self, handles: Sequence[Any]) -> tuple[list[Scene], list[Any]]:
        """The scenes of these handles, in their order, and the handles that cannot be read."""

    @abstractmethod
    def _encounters_at(self, handles: Sequence[Any]) -> tuple[list[Encounter], list[Any]]: ...

    @abstractmethod
    def _verify(self) -> Verification: ...

    def _tidy(self) -> None:  # noqa: B027  (most stores have nothing to tidy)
        """Housekeeping after a write was acknowledged; later calls wait for it."""

    def _guarded(self, function: Callable[..., R], *args: Any) -> R:
        """Run one of the above; the place where a store turns its client's errors into `ArchiveError`."""
        return function(*args)

    def _is_outage(self, error: Exception) -> bool:
        """Whether a write failed for a reason that no single batch has, so that writing them one by one is no use."""
        return False

    # --- Opening and closing -----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the store, or make it.

        Raises:
            ArchiveError: it cannot be opened, belongs to another program or has a newer schema.
        """
        if self._worker is not None:
            return
        self._process = os.getpid()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=f"scenepipe-{type(self).__name__}")
        try:
            await self._work(self._open)
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Write what waits, then close the store."""
        worker, self._worker = self._worker, None
        if worker is not None:
            await asyncio.to_thread(self._stop, worker)

    def _stop(self, worker: ThreadPoolExecutor) -> None:
        with worker:
            try:
                worker.submit(self._drain).result()
            finally:
                worker.submit(self._close).result()

    # --- Writing -----------------------------------------------------------------------------------------------------

    async def append(self, scenes: Sequence[Scene], encounters: Sequence[Encounter]) -> Appended:
        """Write what is new, scenes first; on disk when this returns.

        Raises:
            ArchiveError: an encounter's scene is not stored, or the store cannot be written; nothing was acknowledged.
        """
        ticket = _Ticket(Batch(scenes, encounters), Future())
        with self._lock:
            worker = self._ready()
            self._waiting.append(ticket)
            worker.submit(self._drain)
        return await asyncio.shield(asyncio.wrap_future(ticket.done))

    def _drain(self) -> None:
        with self._lock:
            tickets, self._waiting = self._waiting, []
        if tickets:
            self._commit(tickets)
            try:
                self._guarded(self._tidy)
            except ArchiveError as error:
                _LOG.warning("%s", error)  # nobody waits for it, and what was written is written

    def _commit(self, tickets: Sequence[_Ticket]) -> None:
        try:
            results = self._guarded(self._write, [ticket.batch for ticket in tickets])
        except Exception as error:
            if len(tickets) == 1 or self._is_outage(error):
                for ticket in tickets:
                    ticket.done.set_exception(error)
                return
            for ticket in tickets:
                self._commit([ticket])
            return
        for ticket, result in zip(tickets, results, strict=True):
            ticket.done.set_result(result)

    async def forget(self, scene_ids: Sequence[str], *, at: datetime) -> Forgotten:
        """Remove scenes with their encounters; a tombstone for each stays.

        Raises:
            ArchiveError: the store cannot be written. Forgetting again goes on where this stopped.
        """
        return await self._work(self._forget, scene_ids, at)

    async def rebuild(self) -> int:
        """Make everything derived anew from the stored records that can be read; how many scenes were.

        Raises:
            ArchiveError: the store cannot be written, or is damaged.
        """
        return await self._work(self._rebuild)

    # --- Reading -----------------------------------------------------------------------------------------------------

    async def get(self, ids: Sequence[str]) -> Sequence[Scene]:
        """The latest analysis of each known scene, in the order asked.

        Raises:
            ArchiveError: one of them is damaged; names it. The others can be asked for without it.
        """
        return await self._work(self._get, ids)

    async def find(self, query: Query) -> Sequence[Hit]:
        """Stored scenes that answer a query, best first. Damaged ones are left out."""
        return await self._work(self._find, query)

    async def encounters(self, scene_ids: Sequence[str] | None = None) -> Sequence[Encounter]:
        """Oldest first; all of them for None.

        Raises:
            ArchiveError: one of them is damaged; names it. Those of other scenes can be asked for without it.
        """
        return await self._work(self._encounters, scene_ids)

    async def chat(self, name: str, *, namespace: str = "default") -> Sequence[Encounter]:
        """Every encounter of one chat, oldest first.

        Raises:
            ArchiveError: one of them is damaged; names it.
        """
        return await self._work(self._chat, name, namespace)

    async def hypertokens(self, namespace: str = "default") -> Sequence[Hypertoken]:
        """Chains that scenes have again and again, those that save most first."""
        return await self._work(self._hypertokens, namespace)

    async def neighbours(
        self, symbols: Sequence[str], *, namespace: str = "default", limit: int = 10
    ) -> Sequence[Neighbour]:
        """Symbols that stand in scenes with these, strongest first; see `scenepipe.memory.neighbours`."""
        return await self._work(self._neighbours, symbols, namespace, limit)

    async def export(self) -> AsyncIterator[Scene | Encounter]:
        """Every analysis of every scene, then every encounter, in the order of their ids, as of this moment.

        Raises:
            ArchiveError: after all that is readable, when something was not.
        """
        scenes, log = await self._work(self._index)
        broken: list[Any] = []
        for page in pages(scenes):
            found, bad = await self._work(self._scenes_at, page)
            broken += bad
            for scene in found:
                yield scene
        for page in pages(log):
            entries, bad = await self._work(self._encounters_at, page)
            broken += bad
            for encounter in entries:
                yield encounter
        self._refuse_broken("record", broken)

    async def verify(self) -> Verification:
        """Read every record: the store's own check, each digest, each scene behind an encounter."""
        return await self._work(self._verify)

    def _refuse_broken(self, what: str, broken: Sequence[Any]) -> None:
        if broken:
            raise ArchiveError(
                f"archive {self.name}: {len(broken)} {what}(s) cannot be read, the first is {broken[0]}; "
                "the others can be asked for without it. Run 'scenepipe memory verify'"
            )

    # --- The worker --------------------------------------------------------------------------------------------------

    async def _work(self, function: Callable[..., R], *args: Any) -> R:
        return await asyncio.wrap_future(self._ready().submit(self._guarded, function, *args))

    def _ready(self) -> ThreadPoolExecutor:
        if self._worker is None:
            raise ArchiveError(f"archive {self.name} is not open; await open() first")
        if self._process != os.getpid():
            raise ArchiveError(f"archive {self.name} was opened before a fork; open another one in this process")
        return self._worker


def pages(items: Sequence[R], size: int = PAGE) -> Iterator[Sequence[R]]:
    """The items in slices of at most ``size``."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
