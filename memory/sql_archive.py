"""An archive in a SQL database. A subclass says how to connect and what the database's errors mean."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError

from scenepipe.contracts import Appended, Encounter, Hit, Query, Verification
from scenepipe.errors import ArchiveError
from scenepipe.memory import sql_rows as rows
from scenepipe.memory.sql_find import Finder
from scenepipe.memory.worker import Batch, WorkerArchive, pages
from scenepipe.recall import rank, repeated
from scenepipe.scene import Hypertoken, Scene

R = TypeVar("R")


class SqlArchive(WorkerArchive):
    """Scenes and encounters in the tables of `scenepipe.memory.sql_tables`."""

    def __init__(self) -> None:
        super().__init__()
        self._engine: sa.Engine | None = None
        self._finder = Finder()

    @abstractmethod
    def _reading(self) -> AbstractContextManager[sa.Connection]:
        """One snapshot of the database, to read."""

    @abstractmethod
    def _writing(self) -> AbstractContextManager[sa.Connection]:
        """A transaction as the only writer; on disk when it ends, unless it raises."""

    @abstractmethod
    def _named(self) -> AbstractContextManager[None]:
        """Turns the database's errors into `ArchiveError`."""

    @abstractmethod
    def _check(self, connection: sa.Connection) -> list[str]:
        """Faults that the database itself finds."""

    def _refuse_damaged(self) -> None:
        """Raise when nothing may be written."""

    def _note_damage(self) -> None:
        """Something that was written cannot be read."""

    def _close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()

    def _opened(self) -> sa.Engine:
        if self._engine is None:
            raise ArchiveError(f"archive {self.name} is closed; await open() first")
        return self._engine

    def _guarded(self, function: Callable[..., R], *args: Any) -> R:
        try:
            with self._named():
                return function(*args)
        except ArchiveError as error:
            if rows.is_damage(error.__cause__):
                self._note_damage()
            raise

    def _is_outage(self, error: Exception) -> bool:
        return isinstance(error.__cause__, OperationalError)

    # --- Writing -----------------------------------------------------------------------------------------------------

    def _write(self, batches: Sequence[Batch]) -> list[Appended]:
        self._refuse_damaged()
        with self._writing() as connection:
            return [self._write_one(connection, batch) for batch in batches]

    def _write_one(self, connection: sa.Connection, batch: Batch) -> Appended:
        scenes = rows.insert_scenes(connection, batch.scenes)
        return Appended(scenes=scenes, encounters=rows.insert_encounters(connection, batch.encounters))

    # --- Reading -----------------------------------------------------------------------------------------------------

    def _get(self, ids: Sequence[str]) -> tuple[Scene, ...]:
        with self._reading() as connection:
            found, broken = rows.latest(connection, ids)
        self._refuse_broken("scene", broken)
        return tuple(found[i] for i in ids if i in found)

    def _find(self, query: Query) -> tuple[Hit, ...]:
        with self._reading() as connection:
            proposals = self._finder.propose(connection, query)
            return rank(query, proposals, lambda ids: rows.latest(connection, ids)[0])

    def _encounters(self, scene_ids: Sequence[str] | None) -> tuple[Encounter, ...]:
        with self._reading() as connection:
            found, broken = rows.encounters(connection, rows.encounter_ids(connection, scene_ids))
        self._refuse_broken("encounter", broken)
        return tuple(sorted(found.values(), key=lambda e: (e.at, e.id)))

    def _hypertokens(self, namespace: str) -> tuple[Hypertoken, ...]:
        with self._reading() as connection:
            return repeated(rows.chains(connection, namespace))

    def _index(self) -> tuple[list[int], list[str]]:
        with self._reading() as connection:
            return rows.index(connection)

    def _scenes_at(self, handles: Sequence[int]) -> tuple[list[Scene], list[Any]]:
        with self._reading() as connection:
            found, broken = rows.analyses(connection, handles)
        return [found[seq] for seq in handles if seq in found], broken

    def _encounters_at(self, handles: Sequence[str]) -> tuple[list[Encounter], list[Any]]:
        with self._reading() as connection:
            found, broken = rows.encounters(connection, handles)
        return [found[name] for name in handles if name in found], broken

    def _verify(self) -> Verification:
        faults: list[str] = []
        try:
            with self._reading() as connection:
                faults += self._check(connection)
                faults += [f"encounter {name}: its scene is missing" for name in rows.orphans(connection)]
            seqs, operations = self._index()
        except DBAPIError as error:
            if not rows.is_damage(error):
                raise
            return Verification(scenes=0, encounters=0, faults=(*faults, str(error.orig)))
        for page in pages(seqs):
            faults += [f"scene row {seq}: damaged" for seq in self._scenes_at(page)[1]]
        for names in pages(operations):
            faults += [f"encounter {name}: damaged" for name in self._encounters_at(names)[1]]
        return Verification(scenes=len(seqs), encounters=len(operations), faults=tuple(faults))

    def _refuse_broken(self, what: str, broken: Sequence[Any]) -> None:
        if broken:
            self._note_damage()
        super()._refuse_broken(what, broken)
