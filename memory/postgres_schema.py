"""The PostgreSQL schema of an archive: how it is made, which schemas are refused, what the server's errors mean."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from scenepipe.errors import ArchiveError
from scenepipe.memory.sql_rebuild import rebuild
from scenepipe.memory.sql_tables import ENCOUNTERS, META

VERSION = 2

_MARK = sa.Table("archive", sa.MetaData(), sa.Column("version", sa.Integer, nullable=False))

_CHECK_SCENE = """CREATE OR REPLACE FUNCTION {schema}.refuse_orphan() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.kind <> 'forgotten' AND NOT EXISTS (SELECT 1 FROM {schema}.scenes WHERE id = NEW.scene_id) THEN
        RAISE EXCEPTION 'encounter names a scene that is not stored';
    END IF;
    RETURN NEW;
END $$"""

_REFUSE = """CREATE OR REPLACE FUNCTION {schema}.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the archive is append-only';
END $$"""

# Rows go only where a tombstone stands for their scene.
_REFUSE_SCENE = """CREATE OR REPLACE FUNCTION {schema}.refuse_scene_removal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM {schema}.encounters WHERE kind = 'forgotten' AND scene_id = OLD.id) THEN
        RAISE EXCEPTION 'the archive is append-only';
    END IF;
    RETURN OLD;
END $$"""

_REFUSE_ENCOUNTER = """CREATE OR REPLACE FUNCTION {schema}.refuse_encounter_removal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM {schema}.encounters AS stone WHERE stone.kind = 'forgotten'
                   AND stone.scene_id = OLD.scene_id AND stone.id <> OLD.id) THEN
        RAISE EXCEPTION 'the archive is append-only';
    END IF;
    RETURN OLD;
END $$"""

_FUNCTIONS = (_CHECK_SCENE, _REFUSE, _REFUSE_SCENE, _REFUSE_ENCOUNTER)

# A scene has a row per analysis, so its id is no key that a foreign key could name; the first trigger stands for one.
_TRIGGERS = (
    "CREATE TRIGGER encounter_names_scene BEFORE INSERT ON {schema}.encounters "
    "FOR EACH ROW EXECUTE FUNCTION {schema}.refuse_orphan()",
    *(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR TRUNCATE ON {{schema}}.{table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION {schema}.refuse_change()"
        for table in ("scenes", "encounters")
    ),
    *(
        f"CREATE TRIGGER {one}s_no_delete BEFORE DELETE ON {{schema}}.{one}s "
        f"FOR EACH ROW EXECUTE FUNCTION {{schema}}.refuse_{one}_removal()"
        for one in ("scene", "encounter")
    ),
)

# An archive that was acknowledged must survive a crash of the server, whatever its default is; stronger stays.
_LOCK = sa.text(
    "SELECT CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) "
    "END, pg_advisory_xact_lock(:key)"
)

_FIRST_TABLES = ("scenes", "symbols", "encounters")

_TO_2 = (
    "ALTER TABLE {schema}.encounters DROP CONSTRAINT encounters_kind_check",
    "ALTER TABLE {schema}.encounters ADD CONSTRAINT encounters_kind "
    "CHECK (kind IN ('met', 'spoken', 'read', 'linked', 'forgotten'))",
    "DROP TRIGGER encounter_names_scene ON {schema}.encounters",
    "DROP TRIGGER scenes_append_only ON {schema}.scenes",
    "DROP TRIGGER encounters_append_only ON {schema}.encounters",
    "DROP TABLE {schema}.symbols",
)

_MEANINGS = {
    "08": "the server cannot be reached, or went away; check that it runs and that 'url' names it",
    "28": "the server refused the user or the password in 'url'",
    "3D": "there is no such database; create it or correct 'url'",
    "25006": "the database is read-only here; write to the primary server",
    "42501": "this user may not do that; grant it usage and create on the schema, or name another schema",
    "53100": "the server's disk is full; nothing of this write was kept. Free space and write again",
    "53": "the server is out of resources; nothing of this write was kept. Try again",
    "54000": "an id, namespace, chat or encoder name is longer than the 2,700 bytes that PostgreSQL can index",
    "57": "the server is shutting down or starting up; try again",
    "XX": "the server reports damaged data; check its log and restore a backup",
}


@contextmanager
def named(name: str) -> Iterator[None]:
    """Turn the server's errors into `ArchiveError` with the archive's name and what to do."""
    try:
        yield
    except DBAPIError as error:
        raise ArchiveError(f"archive {name}: {_meaning(error)}") from error
    except (UnicodeEncodeError, OverflowError) as error:
        raise ArchiveError(f"archive {name}: {error}") from error


def is_outage(error: BaseException | None) -> bool:
    """Whether the server itself is the reason, not what was written."""
    return isinstance(error, DBAPIError) and _state(error)[:2] in ("", "08", "25", "28", "3D", "42", "53", "57", "XX")


def _state(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or "")


def _meaning(error: DBAPIError) -> str:
    state = _state(error)
    if not state:  # no answer of a server: it could not be reached, or the connection broke
        detail = str(error.orig).strip().splitlines()
        return f"{_MEANINGS['08']} ({detail[0] if detail else type(error.orig).__name__})"
    for code in (state, state[:2]):
        if code in _MEANINGS:
            return f"{_MEANINGS[code]} ({state})"
    return f"{str(error.orig).strip().splitlines()[0]} ({state})"


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One snapshot; nothing can be written in it."""
    snapshot = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with snapshot.begin() as connection:
        yield connection


@contextmanager
def writing(engine: sa.Engine, schema: str) -> Iterator[sa.Connection]:
    """A transaction as the only writer of this schema: row numbers follow the order in which writes become visible."""
    key = int.from_bytes(hashlib.sha256(f"scenepipe {schema}".encode()).digest()[:8], "big", signed=True)
    with engine.begin() as connection:
        connection.execute(_LOCK, {"key": key})
        yield connection


def prepare(engine: sa.Engine, schema: str) -> None:
    """Check whose schema it is, and create the tables in a new one.

    Raises:
        ArchiveError: another program's schema, or a newer version.
    """
    with reading(engine) as connection:
        version = _identify(connection, schema)
    if version < VERSION:
        with writing(engine, schema) as connection:
            _make(connection, schema, _identify(connection, schema))


def _make(connection: sa.Connection, schema: str, version: int) -> None:
    """Create the tables, or upgrade those of an older version; another process may have done so meanwhile."""
    if version == 0:
        _create(connection, schema)
    elif version == 1:
        _upgrade(connection, schema)


def _identify(connection: sa.Connection, schema: str) -> int:
    """The version of a schema; 0 for an empty one, or none."""
    tables = set(sa.inspect(connection).get_table_names(schema=schema))
    if not tables:
        return 0
    if not tables >= {_MARK.name, *_FIRST_TABLES}:
        raise ArchiveError(
            f"PostgreSQL schema '{schema}' holds tables of another program ({', '.join(sorted(tables)[:5])}); "
            "give 'schema' another name"
        )
    version = int(connection.execute(sa.select(_MARK.c.version)).scalar_one())
    if version > VERSION:
        raise ArchiveError(
            f"PostgreSQL schema '{schema}' was written by a newer scenepipe (version {version}, this one knows "
            f"{VERSION}); upgrade scenepipe"
        )
    return version


def _create(connection: sa.Connection, schema: str) -> None:
    connection.execute(sa.schema.CreateSchema(schema, if_not_exists=True))
    META.create_all(connection)
    _MARK.create(connection)
    connection.execute(sa.insert(_MARK), [{"version": VERSION}])
    _execute(connection, schema, (*_FUNCTIONS, *_TRIGGERS))


def _upgrade(connection: sa.Connection, schema: str) -> None:
    """Version 1 to 2: encounters of kind ``read``, tombstones, facets, counters."""
    _execute(connection, schema, _TO_2)
    META.create_all(connection)
    for index in ENCOUNTERS.indexes:
        index.create(connection, checkfirst=True)
    _execute(connection, schema, (*_FUNCTIONS, *_TRIGGERS))
    rebuild(connection)
    connection.execute(sa.update(_MARK).values(version=VERSION))


def _execute(connection: sa.Connection, schema: str, statements: Iterable[str]) -> None:
    quoted = connection.dialect.identifier_preparer.quote(schema)
    for statement in statements:
        connection.exec_driver_sql(statement.format(schema=quoted))


def scrub(engine: sa.Engine, schema: str) -> None:
    """Write the tables anew without what was removed. The server's write-ahead log forgets it in its own time."""
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        place = connection.dialect.identifier_preparer.quote(schema)
        for table in META.tables:
            connection.exec_driver_sql(f"VACUUM (FULL) {place}.{table}")
