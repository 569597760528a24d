"""An archive in a SQL database. A subclass says how to connect and what the database's errors mean."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Container, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError

from scenepipe.contracts import Appended, Encounter, Forgotten, Hit, Neighbour, Query, Verification
from scenepipe.errors import ArchiveError
from scenepipe.memory import sql_counters, sql_derived, sql_forget
from scenepipe.memory import sql_rows as rows
from scenepipe.memory.neighbours import keys_to_count, strongest
from scenepipe.memory.sql_find import Finder, counts_of
from scenepipe.memory.sql_grammar import Grammars
from scenepipe.memory.sql_rebuild import rebuild
from scenepipe.memory.worker import Batch, WorkerArchive, pages
from scenepipe.recall import rank
from scenepipe.scene import Hypertoken, Scene

R = TypeVar("R")

_LOG = logging.getLogger("scenepipe.memory")


class SqlArchive(WorkerArchive):
    """Scenes and encounters in the tables of `scenepipe.memory.sql_tables`."""

    def __init__(self) -> None:
        super().__init__()
        self._engine: sa.Engine | None = None
        self._finder = Finder()
        self._grammars = Grammars()

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

    @abstractmethod
    def _scrub(self, unclean: int) -> None:
        """Let no file keep bytes of what was removed.

        Args:
            unclean: the counter of this name, 1 or more.
        """

    def _reindex(self, connection: sa.Connection) -> None:
        """Make the database's own indexes anew."""

    def _refuse_damaged(self) -> None:
        """Raise when nothing may be written."""

    def _note_damage(self) -> None:
        """Something that was written cannot be read."""

    def _close(self) -> None:
        engine, self._engine = self._engine, None
        self._finder, self._grammars = Finder(), Grammars()
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
            done = [self._write_one(connection, batch) for batch in batches]
        if any(stones for _, stones in done):
            self._clean()
        return [appended for appended, _ in done]

    def _write_one(self, connection: sa.Connection, batch: Batch) -> tuple[Appended, int]:
        """What was new, and how many tombstones of it."""
        admitted, stones = sql_forget.admit(connection, batch)
        scenes = rows.insert_scenes(connection, admitted.scenes)
        met = rows.insert_encounters(connection, admitted.encounters)
        return Appended(scenes=scenes, encounters=met + stones), stones

    def _forget(self, scene_ids: Sequence[str], at: datetime) -> Forgotten:
        self._refuse_damaged()
        with self._writing() as connection:
            done = sql_forget.forget(connection, scene_ids, at)
        self._clean()
        return done

    def _clean(self) -> None:
        """Let no file keep bytes of what was removed, then say so."""
        with self._reading() as connection:
            unclean = sql_counters.read(connection, "unclean")
        if unclean:
            self._scrub(unclean)
            with self._writing() as connection:
                sql_counters.write(connection, "unclean", 0)

    def _clean_later(self) -> None:
        """Finish what a crash or a full disk interrupted; where it fails again, the next `forget` tries."""
        try:
            self._guarded(self._clean)
        except ArchiveError as error:
            _LOG.warning("what was forgotten may still be in a file: %s", error)

    def _rebuild(self) -> int:
        self._refuse_damaged()
        with self._writing() as connection:
            self._reindex(connection)
            return rebuild(connection)

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

    def _chat(self, name: str, namespace: str) -> tuple[Encounter, ...]:
        with self._reading() as connection:
            found, broken = rows.encounters(connection, rows.chat_ids(connection, name, namespace))
        self._refuse_broken("encounter", broken)
        return tuple(sorted(found.values(), key=lambda e: (e.at, e.id)))

    def _hypertokens(self, namespace: str) -> tuple[Hypertoken, ...]:
        with self._reading() as connection:
            return self._grammars.hypertokens(connection, namespace)

    def _neighbours(self, symbols: Sequence[str], namespace: str, limit: int) -> tuple[Neighbour, ...]:
        with self._reading() as connection:
            company = self._finder.company(connection, symbols, namespace)
            counts = counts_of(connection, keys_to_count(company, symbols), namespace)
        return strongest(company, counts, limit)

    def _index(self) -> tuple[list[int], list[str]]:
        with self._reading() as connection:
            return rows.index(connection)

    def _scenes_at(self, handles: Sequence[int]) -> tuple[list[Scene], list[Any]]:
        with self._reading() as connection:
            found, broken = rows.analyses(connection, handles)
        return [found[seq] for seq in handles if seq in found], broken + self._lost(0, handles, found, broken)

    def _encounters_at(self, handles: Sequence[str]) -> tuple[list[Encounter], list[Any]]:
        with self._reading() as connection:
            found, broken = rows.encounters(connection, handles)
        return [found[name] for name in handles if name in found], broken + self._lost(1, handles, found, broken)

    def _lost(self, kind: int, handles: Sequence[Any], found: Container[Any], broken: Container[Any]) -> list[Any]:
        """Handles that are listed still and yet not found; others were forgotten since the list was made."""
        missing = [handle for handle in handles if handle not in found and handle not in broken]
        return sorted(set(missing) & set(self._index()[kind])) if missing else []

    def _verify(self) -> Verification:
        faults: list[str] = []
        try:
            with self._reading() as connection:
                faults += self._check(connection)
                faults += [f"encounter {name}: its scene is missing" for name in rows.orphans(connection)]
                faults += sql_forget.buried(connection)
            seqs, operations = self._index()
        except DBAPIError as error:
            if not rows.is_damage(error):
                raise
            return Verification(scenes=0, encounters=0, faults=(*faults, str(error.orig)))
        for page in pages(seqs):
            faults += self._scene_faults(page)
        for names in pages(operations):
            faults += [f"encounter {name}: damaged" for name in self._encounters_at(names)[1]]
        return Verification(scenes=len(seqs), encounters=len(operations), faults=tuple(faults))

    def _scene_faults(self, seqs: Sequence[int]) -> list[str]:
        with self._reading() as connection:
            found, broken = rows.checked(connection, seqs)
            try:
                underived = sql_derived.faults(connection, found)
            except DBAPIError as error:
                if not rows.is_damage(error):
                    raise
                underived = []  # the database's own check names the damage
        broken += self._lost(0, seqs, found, broken)
        return [f"scene row {seq}: damaged" for seq in broken] + [
            f"scene row {seq}: its symbols, facets or chains are not what they should be; 'scenepipe memory rebuild' repairs it"
            for seq in underived
        ]

    def _refuse_broken(self, what: str, broken: Sequence[Any]) -> None:
        if broken:
            self._note_damage()
        super()._refuse_broken(what, broken)
