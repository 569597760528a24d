"""What an archive in a SQL database knows of itself: see `scenepipe.memory.sql_tables.COUNTERS`."""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa

from scenepipe.memory.sql_tables import COUNTERS

Name = Literal["seq", "removals", "unclean"]
ANEW = 2
"""Value of ``unclean``: the file itself has to be written anew."""


def value_of(name: Name) -> sa.ColumnElement[int]:
    """A counter in a statement; 0 before it is first set."""
    found = sa.select(COUNTERS.c.value).where(COUNTERS.c.name == name).scalar_subquery()
    return sa.func.coalesce(found, 0)


def read(connection: sa.Connection, name: Name) -> int:
    return int(connection.execute(sa.select(value_of(name))).scalar_one())


def write(connection: sa.Connection, name: Name, value: int) -> None:
    """Set a counter; call it as the only writer."""
    connection.execute(sa.delete(COUNTERS).where(COUNTERS.c.name == name))
    connection.execute(sa.insert(COUNTERS), [{"name": name, "value": value}])
