"""The SQLite file of an archive: how it is made and opened, which files are refused, what its errors mean."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from scenepipe.errors import ArchiveError
from scenepipe.memory import sql_counters
from scenepipe.memory.sql_rebuild import rebuild
from scenepipe.memory.sql_rows import is_damage
from scenepipe.memory.sql_tables import ENCOUNTERS, META

APPLICATION_ID = 0x53434E50
SCHEMA = 2
BUSY_SECONDS = 60

# A scene has a row per analysis, so its id is no key that a foreign key could name; the trigger stands for one.
# Rows go only where a tombstone stands for their scene.
_TRIGGERS = (
    """CREATE TRIGGER encounter_names_scene BEFORE INSERT ON encounters
       WHEN NEW.kind <> 'forgotten' AND NOT EXISTS (SELECT 1 FROM scenes WHERE id = NEW.scene_id)
       BEGIN SELECT RAISE(ABORT, 'encounter names a scene that is not stored'); END""",
    *(
        f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} "
        "BEGIN SELECT RAISE(ABORT, 'the archive is append-only'); END"
        for table in ("scenes", "encounters")
    ),
    """CREATE TRIGGER scenes_no_delete BEFORE DELETE ON scenes
       WHEN NOT EXISTS (SELECT 1 FROM encounters WHERE kind = 'forgotten' AND scene_id = OLD.id)
       BEGIN SELECT RAISE(ABORT, 'the archive is append-only'); END""",
    """CREATE TRIGGER encounters_no_delete BEFORE DELETE ON encounters
       WHEN NOT EXISTS (SELECT 1 FROM encounters AS stone
                        WHERE stone.kind = 'forgotten' AND stone.scene_id = OLD.scene_id AND stone.id <> OLD.id)
       BEGIN SELECT RAISE(ABORT, 'the archive is append-only'); END""",
)

_PRAGMAS = (
    "foreign_keys=ON",
    "synchronous=FULL",
    "mmap_size=0",
    "cache_size=-16384",
    "trusted_schema=OFF",
    "cell_size_check=ON",
    "secure_delete=ON",
)

_MEANINGS = {
    "SQLITE_FULL": "the disk is full; nothing of this write was kept. Free space and write again",
    "SQLITE_READONLY": "it is read-only here; change its permissions or give 'path' a folder you may write to",
    "SQLITE_CANTOPEN": "it cannot be opened; check that the folder exists and that you may read and write it",
    "SQLITE_BUSY": f"another process kept it locked for {BUSY_SECONDS} s; end that process or try again",
    "SQLITE_NOTADB": "it is not a SQLite file; give 'path' another name",
    "SQLITE_CORRUPT": "it is damaged; run 'scenepipe memory verify', then export what is readable or restore a backup",
    "SQLITE_IOERR": "the disk reported an error; nothing of this write was kept. Check the disk, then verify",
}


def journal_mode(version: tuple[int, int, int]) -> str:
    """TRUNCATE for the SQLite versions whose WAL can corrupt a file that two connections write, WAL otherwise.

    SQLite 3.7.0 to 3.51.2 have the WAL-reset bug (fixed in 3.51.3).
    """
    return "TRUNCATE" if (3, 7, 0) <= version <= (3, 51, 2) else "WAL"


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and of the file system into `ArchiveError` with the file and what to do."""
    try:
        yield
    except DBAPIError as error:
        code = str(getattr(error.orig, "sqlite_errorname", ""))
        meaning = next((text for name, text in _MEANINGS.items() if code.startswith(name)), str(error.orig))
        raise ArchiveError(f"archive {path}: {meaning} ({code or type(error.orig).__name__})") from error
    except (OSError, UnicodeEncodeError, OverflowError) as error:
        raise ArchiveError(f"archive {path}: {error}") from error


def prepare_file(path: Path) -> None:
    """Make the folders (0700) and the file (0600), or refuse what is there and is no SQLite file.

    Raises:
        ArchiveError: a folder, or a file of another kind.
    """
    if sqlite3.sqlite_version_info < (3, 37, 0):
        raise ArchiveError(f"SQLite 3.37 or newer is needed, this Python has {sqlite3.sqlite_version}")
    for folder in reversed(path.parents):
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
    if path.is_dir():
        raise ArchiveError(f"archive {path}: it is a folder; give 'path' the name of a file in it")
    if not path.exists():
        path.touch(mode=0o600)
    with path.open("rb") as file:
        head = file.read(16)
    if head and head != b"SQLite format 3\0":
        raise ArchiveError(f"archive {path}: {_MEANINGS['SQLITE_NOTADB']}")


def make_engine(path: Path) -> sa.Engine:
    """One connection, transactions begun by hand so that writers can take their lock first."""
    options = {"check_same_thread": False, "isolation_level": None, "timeout": BUSY_SECONDS}
    return sa.create_engine(sa.URL.create("sqlite", database=str(path)), poolclass=StaticPool, connect_args=options)


@contextmanager
def transaction(engine: sa.Engine, begin: str) -> Iterator[sa.Connection]:
    """``BEGIN`` for one snapshot to read, ``BEGIN IMMEDIATE`` to write.

    Only a write is committed, and only when the block does not raise: reading never writes.
    """
    with engine.connect() as connection:
        connection.exec_driver_sql(begin)
        yield connection
        if begin != "BEGIN":
            connection.commit()


def prepare(engine: sa.Engine, path: Path) -> bool:
    """Set the connection up, check whose file it is, create the tables in a new one.

    Returns:
        Whether the file is whole.

    Raises:
        ArchiveError: another program's file, or a newer schema.
    """
    whole = _readable(engine, path)
    with engine.connect() as connection:
        for pragma in _PRAGMAS:
            connection.exec_driver_sql(f"PRAGMA {pragma}")
    with transaction(engine, "BEGIN") as connection:
        version = _identify(connection, path)
    if not whole:
        _refuse_old(version, path)
        return False
    _set_journal(engine, path)
    if version < SCHEMA:
        with transaction(engine, "BEGIN IMMEDIATE") as connection:
            _make(connection, _identify(connection, path))
    return True


def _refuse_old(version: int, path: Path) -> None:
    if version < SCHEMA:
        raise ArchiveError(
            f"archive {path}: it is damaged and has schema {version}, which cannot be upgraded as it is; export what is "
            "readable with the scenepipe that wrote it, or restore a backup"
        )


def _make(connection: sa.Connection, version: int) -> None:
    """Create the tables, or upgrade those of an older schema; another process may have done so meanwhile."""
    if version == 0:
        _create(connection)
    elif version == 1:
        _upgrade(connection)


def scrub(engine: sa.Engine, *, anew: bool) -> None:
    """Empty the journal, which keeps pages as they were; in the file ``secure_delete`` has overwritten what went.

    Args:
        anew: write the file anew, for one whose pages were split by a connection without ``secure_delete``: a split
            then leaves a copy of the rows that moved.
    """
    with engine.connect() as connection:
        if anew:
            connection.exec_driver_sql("VACUUM")
        busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").first()
    if busy is not None and busy[0]:
        raise ArchiveError(
            "what was forgotten is gone from the archive, but another process still reads the journal that has its "
            "bytes; close it and forget once more"
        )


def _readable(engine: sa.Engine, path: Path) -> bool:
    """False for a file shorter than its header says. It is then read as far as it goes and never written."""
    try:
        with transaction(engine, "BEGIN") as connection:
            connection.exec_driver_sql("SELECT count(*) FROM sqlite_schema")
            whole = _complete(connection, path)
    except DBAPIError as error:
        if not is_damage(error):
            raise
        whole = False
    if not whole:
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA query_only=ON")
            # SQLite refuses every statement on a file that was cut off, except under this pragma.
            connection.exec_driver_sql("PRAGMA writable_schema=ON")
    return whole


def _complete(connection: sa.Connection, path: Path) -> bool:
    """Does the file end where its last page does? SQLite itself lets a cut inside the last page pass."""
    pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    size = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
    log = path.with_name(path.name + "-wal")
    return path.stat().st_size >= pages * size or (log.exists() and log.stat().st_size > 0)


def _identify(connection: sa.Connection, path: Path) -> int:
    """The schema of the file; 0 for an empty one."""
    application = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    tables = connection.exec_driver_sql("SELECT count(*) FROM sqlite_schema").scalar_one()
    if application == 0 and version == 0 and tables == 0:
        return 0
    if application != APPLICATION_ID:
        raise ArchiveError(
            f"archive {path}: the file belongs to another program (application_id {application}); "
            "give 'path' another name"
        )
    if version > SCHEMA:
        raise ArchiveError(
            f"archive {path}: it was written by a newer scenepipe (schema {version}, this one knows {SCHEMA}); "
            "upgrade scenepipe"
        )
    if version < 1:
        raise ArchiveError(f"archive {path}: schema {version} is unknown; {_MEANINGS['SQLITE_CORRUPT']}")
    return int(version)


def _set_journal(engine: sa.Engine, path: Path) -> None:
    if not os.access(path, os.W_OK):
        return
    with engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA journal_mode={journal_mode(sqlite3.sqlite_version_info[:3])}")


def _upgrade(connection: sa.Connection) -> None:
    """Schema 1 to 2: encounters of kind ``read``, tombstones, facets, counters.

    A table constraint of SQLite cannot be changed, so the encounters move to a new table. Symbols are derived anew.
    """
    for name in ("encounters_scene", "encounters_chat"):
        connection.exec_driver_sql(f"DROP INDEX {name}")
    for name in ("scenes_no_update", "scenes_no_delete"):
        connection.exec_driver_sql(f"DROP TRIGGER {name}")
    connection.exec_driver_sql("ALTER TABLE encounters RENAME TO encounters_1")
    connection.exec_driver_sql("DROP TABLE symbols")
    META.create_all(connection)
    names = ENCOUNTERS.columns.keys()
    old = sa.table("encounters_1", *map(sa.column, names))
    connection.execute(sa.insert(ENCOUNTERS).from_select(names, sa.select(old)))
    connection.exec_driver_sql("DROP TABLE encounters_1")
    rebuild(connection)
    sql_counters.write(connection, "unclean", sql_counters.ANEW)
    _finish(connection)


def _create(connection: sa.Connection) -> None:
    META.create_all(connection)
    _finish(connection)


def _finish(connection: sa.Connection) -> None:
    for trigger in _TRIGGERS:
        connection.exec_driver_sql(trigger)
    connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
    connection.exec_driver_sql(f"PRAGMA user_version={SCHEMA}")
