"""The tables of an archive in a SQL database: two append-only collections and what is derived from them.

Schema 2. Derived: ``symbols`` (inverted index), ``facets`` (what is filtered by), ``chains`` (what hypertokens are found
in). ``counters`` holds the state of the archive itself.
"""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa

from scenepipe.memory.records import short

META = sa.MetaData()

_ESCAPED = re.compile("[\x00\x1b]")
_ESCAPE = re.compile("\x1b([01])")


class Exact(sa.types.TypeDecorator[str]):
    """Text that PostgreSQL keeps exactly: it has no NUL character, which is written as escape and 0 here.

    Compared by code point, as Python and SQLite do, not by the database's language.
    """

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        return dialect.type_descriptor(sa.Text(collation="C"))

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        if value is None:
            return None
        return _ESCAPED.sub(lambda match: "\x1b0" if match[0] == "\x00" else "\x1b1", value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        if value is None:
            return None
        return _ESCAPE.sub(lambda match: "\x00" if match[1] == "0" else "\x1b", value)


class Lookup(Exact):
    """Text that is only compared: long values are kept as a hash, since an index row of PostgreSQL ends at 2.7 kB."""

    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else super().process_bind_param(short(value), dialect)


TEXT = sa.Text().with_variant(Exact(), "postgresql")
LOOKUP = sa.Text().with_variant(Lookup(), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
FIGURE: sa.Double[float] = sa.Double().with_variant(sa.REAL(), "sqlite")

SCENES = sa.Table(
    "scenes",
    META,
    sa.Column("seq", NUMBER, primary_key=True, autoincrement=False, comment="order of writing; survives VACUUM"),
    sa.Column("id", TEXT, sa.CheckConstraint("id <> ''"), nullable=False),
    sa.Column("analysis", TEXT, nullable=False),
    sa.Column("namespace", TEXT, nullable=False),
    sa.Column("key", TEXT, sa.CheckConstraint("key <> ''"), nullable=False),
    sa.Column("linkage", TEXT, nullable=False),
    sa.Column("chain", TEXT, nullable=False),
    sa.Column("code", TEXT),
    sa.Column("created", TEXT, nullable=False),
    sa.Column("encoder", TEXT),
    sa.Column("vector", sa.LargeBinary),
    sa.Column("digest", sa.LargeBinary, sa.CheckConstraint("length(digest) = 16"), nullable=False),
    sa.Column("text", TEXT, nullable=False),
    sa.Column("json", TEXT, nullable=False),
    sa.UniqueConstraint("id", "analysis"),
    sa.CheckConstraint("(vector IS NULL) = (encoder IS NULL)"),
    sa.Index("scenes_key", "namespace", "key"),
    sa.Index("scenes_encoder", "namespace", "encoder", "seq"),
    sqlite_strict=True,
)
sa.Index("scenes_chain", SCENES.c.namespace, SCENES.c.chain).ddl_if(dialect="sqlite")
sa.Index("scenes_chain_md5", SCENES.c.namespace, sa.func.md5(SCENES.c.chain)).ddl_if(dialect="postgresql")

SYMBOLS = sa.Table(
    "symbols",
    META,
    sa.Column("namespace", LOOKUP, primary_key=True),
    sa.Column("lemma", LOOKUP, primary_key=True),
    sa.Column("key", LOOKUP, primary_key=True),
    sa.Column("seq", NUMBER, sa.ForeignKey("scenes.seq"), primary_key=True, autoincrement=False),
    sa.Column("own", NUMBER, nullable=False, comment="1 for a symbol of the text, 0 for one of its linkage alone"),
    sa.Index("symbols_seq", "seq"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

FACETS = sa.Table(
    "facets",
    META,
    sa.Column("seq", NUMBER, sa.ForeignKey("scenes.seq"), primary_key=True, autoincrement=False),
    sa.Column("facet", LOOKUP, primary_key=True),
    sa.Column("namespace", LOOKUP, nullable=False),
    sa.Column("value", FIGURE, nullable=False),
    sa.Index("facets_value", "namespace", "facet", "value", "seq"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

CHAINS = sa.Table(
    "chains",
    META,
    sa.Column("seq", NUMBER, sa.ForeignKey("scenes.seq"), primary_key=True, autoincrement=False),
    sa.Column("namespace", LOOKUP, nullable=False),
    sa.Column("scene", TEXT, nullable=False),
    sa.Column("chains", TEXT, nullable=False),
    sa.Index("chains_namespace", "namespace", "seq"),
    sqlite_strict=True,
)

ENCOUNTERS = sa.Table(
    "encounters",
    META,
    sa.Column("id", TEXT, sa.CheckConstraint("id <> ''"), primary_key=True),
    sa.Column("scene_id", TEXT, nullable=False),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("at", TEXT, nullable=False),
    sa.Column("namespace", TEXT, nullable=False),
    sa.Column("run", TEXT, nullable=False),
    sa.Column("user", TEXT),
    sa.Column("chat", TEXT),
    sa.Column("turn", sa.Integer),
    sa.Column("analysis", TEXT),
    sa.Column("data", TEXT, nullable=False),
    sa.Column("digest", sa.LargeBinary, sa.CheckConstraint("length(digest) = 16"), nullable=False),
    sa.Index("encounters_scene", "scene_id", "at", "id"),
    sa.Index("encounters_chat", "namespace", "chat", "scene_id"),
    sa.Index("encounters_at", "namespace", "at", "kind", "scene_id"),
    sa.CheckConstraint("kind IN ('met', 'spoken', 'read', 'linked', 'forgotten')", name="encounters_kind"),
    sqlite_strict=True,
)
_IS_TOMBSTONE = ENCOUNTERS.c.kind == sa.literal_column("'forgotten'")
sa.Index(
    "encounters_forgotten",
    ENCOUNTERS.c.scene_id,
    ENCOUNTERS.c.at,
    sqlite_where=_IS_TOMBSTONE,
    postgresql_where=_IS_TOMBSTONE,
)

COUNTERS = sa.Table(
    "counters",
    META,
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("value", NUMBER, nullable=False),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
"""``seq``: the greatest number ever given to a scene that was removed. ``removals``: how often something was.
``unclean``: not 0 while bytes of what was removed may still be in a file."""
