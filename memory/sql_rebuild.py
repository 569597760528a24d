"""Everything that a SQL archive derives, made anew from the stored records: on demand, and when a schema is upgraded."""

from __future__ import annotations

import sqlalchemy as sa

from scenepipe.memory import sql_counters, sql_derived
from scenepipe.memory import sql_rows as rows
from scenepipe.memory.worker import pages


def rebuild(connection: sa.Connection) -> int:
    """Derive symbols and facets of every scene row that can be read; how many could. Call it as the only writer."""
    count = 0
    for seqs in pages(rows.index(connection)[0]):
        found, _ = rows.analyses(connection, seqs)
        sql_derived.delete(connection, seqs)
        sql_derived.insert(connection, found)
        count += len(found)
    sql_counters.write(connection, "removals", 1 + sql_counters.read(connection, "removals"))
    return count
