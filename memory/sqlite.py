"""The archive in one SQLite file. `sqlite_schema` makes the file and decides which files are opened."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import sqlalchemy as sa

from scenepipe.contracts import Verification
from scenepipe.errors import ArchiveError
from scenepipe.memory import sql_counters, sqlite_schema
from scenepipe.memory.sql_archive import SqlArchive

_CUT_OFF = "the file is shorter than its header says"
_DAMAGED = "the file is damaged"


class SqliteArchive(SqlArchive):
    """Scenes and encounters in one SQLite file, safe for several processes on one machine.

    One worker thread owns the only connection. Appends that wait for it are committed together: a commit costs about
    20 ms on a plain disk whether it carries one scene or a hundred. Not for network file systems.

    Args:
        path: the file; ``~`` is expanded, missing folders are made for their owner alone.
    """

    def __init__(self, *, path: str) -> None:
        super().__init__()
        self.path = path
        self.name = path
        self._file = Path(path)
        self._damage: str | None = None

    def _open(self) -> None:
        """A file that was cut off opens for reading.

        Raises:
            ArchiveError: not a SQLite file, another program's, a newer schema, or not to be opened.
        """
        if self.path == ":memory:":
            raise ArchiveError("an archive in memory is 'memory: {use: memory}'; give 'path' a file")
        self._file = Path(self.path).expanduser().absolute()
        self.name = str(self._file)
        sqlite_schema.prepare_file(self._file)
        self._engine = sqlite_schema.make_engine(self._file)
        self._damage = None if sqlite_schema.prepare(self._engine, self._file) else _CUT_OFF
        if self._damage is None:
            self._clean_later()

    def _reading(self) -> AbstractContextManager[sa.Connection]:
        return sqlite_schema.transaction(self._opened(), "BEGIN")

    def _writing(self) -> AbstractContextManager[sa.Connection]:
        return sqlite_schema.transaction(self._opened(), "BEGIN IMMEDIATE")

    def _named(self) -> AbstractContextManager[None]:
        return sqlite_schema.named(self._file)

    def _scrub(self, unclean: int) -> None:
        sqlite_schema.scrub(self._opened(), anew=unclean == sql_counters.ANEW)

    def _reindex(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql("REINDEX")

    def _check(self, connection: sa.Connection) -> list[str]:
        found = (str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check"))
        return [fault for fault in found if fault != "ok"]

    def _verify(self) -> Verification:
        known = (_CUT_OFF,) if self._damage == _CUT_OFF else ()
        found = super()._verify()
        return found.model_copy(update={"faults": (*known, *found.faults)})

    def _refuse_damaged(self) -> None:
        if self._damage:
            raise ArchiveError(
                f"archive {self._file}: {self._damage}; nothing is written to it. "
                "Export what is readable, or restore a backup"
            )

    def _note_damage(self) -> None:
        self._damage = self._damage or _DAMAGED
