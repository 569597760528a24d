"""The archive in one SQLite file. `sqlite_schema` holds its tables and decides which files are opened."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError

from scenepipe.contracts import Appended, Encounter, Hit, Query, Verification
from scenepipe.errors import ArchiveError
from scenepipe.memory import sqlite_rows as rows
from scenepipe.memory.sqlite_find import Finder
from scenepipe.memory.sqlite_schema import (
    ENCOUNTERS,
    SCENES,
    is_damage,
    make_engine,
    named,
    prepare,
    prepare_file,
    transaction,
)
from scenepipe.recall import rank, repeated
from scenepipe.scene import Hypertoken, Scene

R = TypeVar("R")

_CUT_OFF = "the file is shorter than its header says"
_PAGE = 200


class _Ticket:
    """One append that waits for the writer; its future is set after the commit."""

    def __init__(self, scenes: Sequence[Scene], encounters: Sequence[Encounter]) -> None:
        self.scenes = scenes
        self.encounters = encounters
        self.done: Future[Appended] = Future()


class SqliteArchive:
    """Scenes and encounters in one SQLite file, safe for several processes on one machine.

    One worker thread owns the only connection. Appends that wait for it are committed together: a commit costs about
    20 ms on a plain disk whether it carries one scene or a hundred. An append that has been handed over is written
    even when its caller is cancelled. Not for network file systems; do not fork with an open archive.

    Args:
        path: the file; ``~`` is expanded, missing folders are made for their owner alone.
    """

    def __init__(self, *, path: str) -> None:
        self.path = path
        self._file = Path(path)
        self._engine: sa.Engine | None = None
        self._worker: ThreadPoolExecutor | None = None
        self._finder = Finder(words=False)
        self._waiting: list[_Ticket] = []
        self._lock = threading.Lock()
        self._damage: str | None = None
        self._process = 0

    async def open(self) -> None:
        """Open the file, or make it. A file that was cut off opens for reading.

        Raises:
            ArchiveError: not a SQLite file, another program's, a newer schema, or not to be opened.
        """
        if self._worker is not None:
            return
        self._process = os.getpid()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="scenepipe-sqlite")
        try:
            await self._work(self._open)
        except BaseException:
            await self.aclose()
            raise

    def _open(self) -> None:
        if self.path == ":memory:":
            raise ArchiveError("an archive in memory is 'memory: {use: memory}'; give 'path' a file")
        self._file = Path(self.path).expanduser().absolute()
        prepare_file(self._file)
        self._engine = make_engine(self._file)
        whole, words = prepare(self._engine, self._file)
        self._damage = None if whole else _CUT_OFF
        self._finder = Finder(words=words)

    async def aclose(self) -> None:
        """Write what waits, then close the file."""
        worker, self._worker = self._worker, None
        if worker is not None:
            await asyncio.to_thread(self._close, worker)

    def _close(self, worker: ThreadPoolExecutor) -> None:
        worker.submit(self._drain).result()
        engine, self._engine = self._engine, None
        if engine is not None:
            worker.submit(engine.dispose).result()
        worker.shutdown()

    # --- Writing -----------------------------------------------------------------------------------------------------

    async def append(self, scenes: Sequence[Scene], encounters: Sequence[Encounter]) -> Appended:
        """Write what is new, in one transaction, scenes first; on disk when this returns.

        Raises:
            ArchiveError: an encounter's scene is not stored, or the file cannot be written; nothing was kept.
        """
        ticket = _Ticket(scenes, encounters)
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

    def _commit(self, tickets: Sequence[_Ticket]) -> None:
        try:
            results = self._guarded(self._write, tickets)
        except Exception as error:
            if len(tickets) == 1 or isinstance(error.__cause__, OperationalError):
                for ticket in tickets:
                    ticket.done.set_exception(error)
                return
            for ticket in tickets:
                self._commit([ticket])
            return
        for ticket, result in zip(tickets, results, strict=True):
            ticket.done.set_result(result)

    def _write(self, tickets: Sequence[_Ticket]) -> list[Appended]:
        if self._damage:
            raise ArchiveError(
                f"archive {self._file}: {self._damage}; nothing is written to it. "
                "Export what is readable, or restore a backup"
            )
        with transaction(self._opened(), "BEGIN IMMEDIATE") as connection:
            return [self._write_one(connection, ticket) for ticket in tickets]

    def _write_one(self, connection: sa.Connection, ticket: _Ticket) -> Appended:
        scenes = rows.insert_scenes(connection, ticket.scenes, words=self._finder.words)
        return Appended(scenes=scenes, encounters=rows.insert_encounters(connection, ticket.encounters))

    # --- Reading -----------------------------------------------------------------------------------------------------

    async def get(self, ids: Sequence[str]) -> Sequence[Scene]:
        """The latest analysis of each known scene, in the order asked.

        Raises:
            ArchiveError: one of them is damaged; names it. The others can be asked for without it.
        """
        return await self._work(self._get, ids)

    def _get(self, ids: Sequence[str]) -> tuple[Scene, ...]:
        with transaction(self._opened(), "BEGIN") as connection:
            found, broken = rows.latest(connection, ids)
        self._refuse_broken("scene", broken)
        return tuple(found[i] for i in ids if i in found)

    async def find(self, query: Query) -> Sequence[Hit]:
        """Stored scenes that answer a query, best first. Damaged ones are left out."""
        return await self._work(self._find, query)

    def _find(self, query: Query) -> tuple[Hit, ...]:
        with transaction(self._opened(), "BEGIN") as connection:
            proposals = self._finder.propose(connection, query)
            return rank(query, proposals, lambda ids: rows.latest(connection, ids)[0])

    async def encounters(self, scene_ids: Sequence[str] | None = None) -> Sequence[Encounter]:
        """Oldest first; all of them for None.

        Raises:
            ArchiveError: one of them is damaged; names it. Those of other scenes can be asked for without it.
        """
        return await self._work(self._encounters, scene_ids)

    def _encounters(self, scene_ids: Sequence[str] | None) -> tuple[Encounter, ...]:
        with transaction(self._opened(), "BEGIN") as connection:
            found, broken = rows.encounters(connection, rows.encounter_ids(connection, scene_ids))
        self._refuse_broken("encounter", broken)
        return tuple(sorted(found.values(), key=lambda e: (e.at, e.id)))

    async def hypertokens(self, namespace: str = "default") -> Sequence[Hypertoken]:
        """Chains that are the linkage of two scenes or more, commonest first."""
        return await self._work(self._hypertokens, namespace)

    def _hypertokens(self, namespace: str) -> tuple[Hypertoken, ...]:
        newest = sa.select(sa.func.max(SCENES.c.seq)).where(SCENES.c.namespace == namespace).group_by(SCENES.c.id)
        with transaction(self._opened(), "BEGIN") as connection:
            chains = connection.execute(sa.select(SCENES.c.chain).where(SCENES.c.seq.in_(newest))).scalars().all()
        return repeated(tuple(json.loads(chain)) for chain in chains)

    async def export(self) -> AsyncIterator[Scene | Encounter]:
        """Every analysis of every scene, then every encounter, in the order of their ids, as of this moment.

        Raises:
            ArchiveError: after all that is readable, when something was not.
        """
        seqs, operations = await self._work(self._index)
        broken: list[Any] = []
        for page in _pages(seqs):
            scenes, bad = await self._work(self._page, rows.analyses, page)
            broken += bad
            for seq in page:
                if seq in scenes:
                    yield scenes[seq]
        for names in _pages(operations):
            encounters, bad = await self._work(self._page, rows.encounters, names)
            broken += bad
            for operation in names:
                if operation in encounters:
                    yield encounters[operation]
        self._refuse_broken("record", broken)

    def _index(self) -> tuple[list[int], list[str]]:
        with transaction(self._opened(), "BEGIN") as connection:
            seqs = connection.execute(sa.select(SCENES.c.seq).order_by(SCENES.c.id, SCENES.c.seq)).scalars().all()
            operations = connection.execute(sa.select(ENCOUNTERS.c.id).order_by(ENCOUNTERS.c.id)).scalars().all()
        return list(seqs), list(operations)

    def _page(self, read: Callable[[sa.Connection, Sequence[Any]], R], keys: Sequence[Any]) -> R:
        with transaction(self._opened(), "BEGIN") as connection:
            return read(connection, keys)

    async def verify(self) -> Verification:
        """Read every page and every record: SQLite's own check, each digest, each scene behind an encounter."""
        return await self._work(self._verify)

    def _verify(self) -> Verification:
        faults = [self._damage] if self._damage == _CUT_OFF else []
        try:
            with transaction(self._opened(), "BEGIN") as connection:
                faults += rows.check_file(connection)
            seqs, operations = self._index()
        except DBAPIError as error:
            if not is_damage(error):
                raise
            return Verification(scenes=0, encounters=0, faults=(*faults, str(error.orig)))
        for page in _pages(seqs):
            faults += [f"scene row {seq}: damaged" for seq in self._page(rows.analyses, page)[1]]
        for names in _pages(operations):
            faults += [f"encounter {name}: damaged" for name in self._page(rows.encounters, names)[1]]
        return Verification(scenes=len(seqs), encounters=len(operations), faults=tuple(faults))

    # --- The worker --------------------------------------------------------------------------------------------------

    async def _work(self, function: Callable[..., R], *args: Any) -> R:
        return await asyncio.wrap_future(self._ready().submit(self._guarded, function, *args))

    def _guarded(self, function: Callable[..., R], *args: Any) -> R:
        try:
            with named(self._file):
                return function(*args)
        except ArchiveError as error:
            if is_damage(error.__cause__):
                self._damage = self._damage or "the file is damaged"
            raise

    def _ready(self) -> ThreadPoolExecutor:
        if self._worker is None:
            raise ArchiveError(f"archive {self.path} is not open; await open() first")
        if self._process != os.getpid():
            raise ArchiveError(f"archive {self.path} was opened before a fork; open another one in this process")
        return self._worker

    def _opened(self) -> sa.Engine:
        if self._engine is None:
            raise ArchiveError(f"archive {self.path} is closed; await open() first")
        return self._engine

    def _refuse_broken(self, what: str, broken: Sequence[Any]) -> None:
        if broken:
            self._damage = self._damage or "the file is damaged"
            raise ArchiveError(
                f"archive {self._file}: {len(broken)} {what}(s) cannot be read, the first is {broken[0]}; "
                "the others can be asked for without it. Run 'scenepipe memory verify'"
            )


def _pages(keys: Sequence[R]) -> Iterator[Sequence[R]]:
    for start in range(0, len(keys), _PAGE):
        yield keys[start : start + _PAGE]
