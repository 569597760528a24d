"""The PostgreSQL schema of an archive: how it is made, which schemas are refused, what the server's errors mean."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from scenepipe.errors import ArchiveError
from scenepipe.memory.sql_tables import META

VERSION = 1

_MARK = sa.Table("archive", sa.MetaData(), sa.Column("version", sa.Integer, nullable=False))

_CHECK_SCENE = """CREATE FUNCTION {schema}.refuse_orphan() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM {schema}.scenes WHERE id = NEW.scene_id) THEN
        RAISE EXCEPTION 'encounter names a scene that is not stored';
    END IF;
    RETURN NEW;
END $$"""

_REFUSE = """CREATE FUNCTION {schema}.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the archive is append-only';
END $$"""

# A scene has a row per analysis, so its id is no key that a foreign key could name; the first trigger stands for one.
_TRIGGERS = (
    "CREATE TRIGGER encounter_names_scene BEFORE INSERT ON {schema}.encounters "
    "FOR EACH ROW EXECUTE FUNCTION {schema}.refuse_orphan()",
    *(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {{schema}}.{table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION {schema}.refuse_change()"
        for table in ("scenes", "encounters")
    ),
)

# An archive that was acknowledged must survive a crash of the server, whatever its default is; stronger stays.
_LOCK = sa.text(
    "SELECT CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) "
    "END, pg_advisory_xact_lock(:key)"
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
        new = _identify(connection, schema)
    if new:
        with writing(engine, schema) as connection:
            if _identify(connection, schema):
                _create(connection, schema)


def _identify(connection: sa.Connection, schema: str) -> bool:
    """True for an empty schema, or none."""
    tables = set(sa.inspect(connection).get_table_names(schema=schema))
    if not tables:
        return True
    if not tables >= {_MARK.name, *META.tables}:
        raise ArchiveError(
            f"PostgreSQL schema '{schema}' holds tables of another program ({', '.join(sorted(tables)[:5])}); "
            "give 'schema' another name"
        )
    version = connection.execute(sa.select(_MARK.c.version)).scalar_one()
    if version > VERSION:
        raise ArchiveError(
            f"PostgreSQL schema '{schema}' was written by a newer scenepipe (version {version}, this one knows "
            f"{VERSION}); upgrade scenepipe"
        )
    return False


def _create(connection: sa.Connection, schema: str) -> None:
    connection.execute(sa.schema.CreateSchema(schema, if_not_exists=True))
    META.create_all(connection)
    _MARK.create(connection)
    connection.execute(sa.insert(_MARK), [{"version": VERSION}])
    quoted = connection.dialect.identifier_preparer.quote(schema)
    for statement in (_CHECK_SCENE, _REFUSE, *_TRIGGERS):
        connection.exec_driver_sql(statement.format(schema=quoted))
