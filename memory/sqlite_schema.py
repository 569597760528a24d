"""The SQLite file of an archive: its tables, how it is opened, which files are refused, what its errors mean."""

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

APPLICATION_ID = 0x53434E50
SCHEMA = 1
BUSY_SECONDS = 60

META = sa.MetaData()

SCENES = sa.Table(
    "scenes",
    META,
    sa.Column("seq", sa.Integer, primary_key=True, comment="order of writing; survives VACUUM"),
    sa.Column("id", sa.Text, sa.CheckConstraint("id <> ''"), nullable=False),
    sa.Column("analysis", sa.Text, nullable=False),
    sa.Column("namespace", sa.Text, nullable=False),
    sa.Column("key", sa.Text, sa.CheckConstraint("key <> ''"), nullable=False),
    sa.Column("linkage", sa.Text, nullable=False),
    sa.Column("chain", sa.Text, nullable=False),
    sa.Column("code", sa.Text),
    sa.Column("created", sa.Text, nullable=False),
    sa.Column("encoder", sa.Text),
    sa.Column("vector", sa.LargeBinary),
    sa.Column("digest", sa.LargeBinary, sa.CheckConstraint("length(digest) = 16"), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("json", sa.Text, nullable=False),
    sa.UniqueConstraint("id", "analysis"),
    sa.CheckConstraint("(vector IS NULL) = (encoder IS NULL)"),
    sa.Index("scenes_key", "namespace", "key"),
    sa.Index("scenes_chain", "namespace", "chain"),
    sa.Index("scenes_encoder", "namespace", "encoder", "seq"),
    sqlite_strict=True,
)

SYMBOLS = sa.Table(
    "symbols",
    META,
    sa.Column("namespace", sa.Text, primary_key=True),
    sa.Column("lemma", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("seq", sa.Integer, sa.ForeignKey("scenes.seq"), primary_key=True),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

ENCOUNTERS = sa.Table(
    "encounters",
    META,
    sa.Column("id", sa.Text, sa.CheckConstraint("id <> ''"), primary_key=True),
    sa.Column("scene_id", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, sa.CheckConstraint("kind IN ('met', 'spoken', 'linked', 'forgotten')"), nullable=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("namespace", sa.Text, nullable=False),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("user", sa.Text),
    sa.Column("chat", sa.Text),
    sa.Column("turn", sa.Integer),
    sa.Column("analysis", sa.Text),
    sa.Column("data", sa.Text, nullable=False),
    sa.Column("digest", sa.LargeBinary, sa.CheckConstraint("length(digest) = 16"), nullable=False),
    sa.Index("encounters_scene", "scene_id", "at", "id"),
    sa.Index("encounters_chat", "namespace", "chat", "scene_id"),
    sqlite_strict=True,
)

# A scene has a row per analysis, so its id is no key that a foreign key could name; the trigger stands for one.
_TRIGGERS = (
    """CREATE TRIGGER encounter_names_scene BEFORE INSERT ON encounters
       WHEN NOT EXISTS (SELECT 1 FROM scenes WHERE id = NEW.scene_id)
       BEGIN SELECT RAISE(ABORT, 'encounter names a scene that is not stored'); END""",
    *(
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        "BEGIN SELECT RAISE(ABORT, 'the archive is append-only'); END"
        for table in ("scenes", "encounters")
        for verb in ("UPDATE", "DELETE")
    ),
)

_WORDS = """CREATE VIRTUAL TABLE words USING fts5(
    lemmas, content='', tokenize="unicode61 remove_diacritics 0 tokenchars '_'")"""

_UNINDEXED = "SELECT EXISTS (SELECT 1 FROM scenes WHERE seq NOT IN (SELECT rowid FROM words))"

_PRAGMAS = (
    "foreign_keys=ON",
    "synchronous=FULL",
    "mmap_size=0",
    "cache_size=-16384",
    "trusted_schema=OFF",
    "cell_size_check=ON",
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


def is_damage(error: BaseException | None) -> bool:
    """Does this error say that the file itself is broken?"""
    cause = getattr(error, "orig", None)
    code = str(getattr(cause, "sqlite_errorname", ""))
    return code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or "Could not decode to UTF-8" in str(cause)


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

    Only a write is committed, and only when the block does not raise. A COMMIT after reading would let the word index
    look at its pages once more, which fails on a damaged file that could be read.
    """
    with engine.connect() as connection:
        connection.exec_driver_sql(begin)
        yield connection
        if begin != "BEGIN":
            connection.commit()


def prepare(engine: sa.Engine, path: Path) -> tuple[bool, bool]:
    """Set the connection up, check whose file it is, create the tables in a new one.

    Returns:
        Whether the file is whole, and whether it has a word index.

    Raises:
        ArchiveError: another program's file, or a newer schema.
    """
    whole = _readable(engine, path)
    with engine.connect() as connection:
        for pragma in _PRAGMAS:
            connection.exec_driver_sql(f"PRAGMA {pragma}")
    with transaction(engine, "BEGIN") as connection:
        new = _identify(connection, path)
    if not whole:
        return False, False
    _set_journal(engine, path)
    if new:
        with transaction(engine, "BEGIN IMMEDIATE") as connection:
            if _identify(connection, path):
                _create(connection)
    return True, _word_index(engine, path)


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


def _identify(connection: sa.Connection, path: Path) -> bool:
    """True for an empty file."""
    application = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    tables = connection.exec_driver_sql("SELECT count(*) FROM sqlite_schema").scalar_one()
    if application == 0 and version == 0 and tables == 0:
        return True
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
    if version < SCHEMA:
        raise ArchiveError(f"archive {path}: schema {version} is unknown; {_MEANINGS['SQLITE_CORRUPT']}")
    return False


def _set_journal(engine: sa.Engine, path: Path) -> None:
    if not os.access(path, os.W_OK):
        return
    with engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA journal_mode={journal_mode(sqlite3.sqlite_version_info[:3])}")


def _create(connection: sa.Connection) -> None:
    META.create_all(connection)
    for trigger in _TRIGGERS:
        connection.exec_driver_sql(trigger)
    connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
    connection.exec_driver_sql(f"PRAGMA user_version={SCHEMA}")


def _word_index(engine: sa.Engine, path: Path) -> bool:
    """Create the FTS5 index where this SQLite has it, and add rows that a build without it wrote."""
    with transaction(engine, "BEGIN") as connection:
        if not any(row[0] == "fts5" for row in connection.exec_driver_sql("PRAGMA module_list")):
            return False
        present = sa.inspect(connection).has_table("words")
        if present and not connection.exec_driver_sql(_UNINDEXED).scalar_one():
            return True
    if not os.access(path, os.W_OK):
        return present
    with transaction(engine, "BEGIN IMMEDIATE") as connection:
        if not sa.inspect(connection).has_table("words"):
            connection.exec_driver_sql(_WORDS)
        _index_missing(connection)
    return True


def _index_missing(connection: sa.Connection) -> None:
    rows = connection.exec_driver_sql(
        "SELECT seq, scenes.namespace, lemma FROM scenes LEFT JOIN symbols USING (seq) "
        "WHERE seq NOT IN (SELECT rowid FROM words)"
    ).all()
    documents: dict[int, list[str]] = {}
    for seq, namespace, lemma in rows:
        words = documents.setdefault(seq, [namespace_token(namespace)])
        words += [word_token(lemma)] if lemma is not None else []
    for seq, words in documents.items():
        connection.exec_driver_sql("INSERT INTO words (rowid, lemmas) VALUES (?, ?)", (seq, " ".join(words)))


def word_token(lemma: str) -> str:
    """One FTS5 token for a lemma, whatever characters it has."""
    return "".join(c if c.isalnum() else "_" for c in lemma.casefold()) or "_"


def namespace_token(namespace: str) -> str:
    """A token that no lemma has; it keeps namespaces apart inside one word index."""
    return "__" + namespace.encode().hex()
