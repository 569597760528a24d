"""The hypertokens of an archive in a SQL database, kept in memory and brought up to date with the rows that are new."""

from __future__ import annotations

import sqlalchemy as sa

from scenepipe.folding.grammar import Grammar
from scenepipe.folding.recent import Recent
from scenepipe.memory import sql_counters
from scenepipe.memory.records import chains_from
from scenepipe.memory.sql_tables import CHAINS
from scenepipe.scene import Hypertoken


class Grammars:
    """A grammar for each namespace that was asked about lately, with the last row that it has read."""

    def __init__(self) -> None:
        self._kept: Recent[str, tuple[Grammar, int]] = Recent()
        self._removals = 0

    def hypertokens(self, connection: sa.Connection, namespace: str) -> tuple[Hypertoken, ...]:
        """Repeated chains of a namespace, by the latest analysis of each scene in this snapshot."""
        removals = sql_counters.read(connection, "removals")
        if removals != self._removals:  # by whatever process
            self._kept.clear()
            self._removals = removals
        grammar, last = self._kept.take(namespace) or (Grammar(), 0)
        fresh = sa.select(CHAINS.c.seq, CHAINS.c.scene, CHAINS.c.chains).where(
            CHAINS.c.namespace == namespace, CHAINS.c.seq > last
        )
        for seq, scene_id, chains in connection.execute(fresh.order_by(CHAINS.c.seq)):
            grammar.put(scene_id, chains_from(chains))
            last = seq
        self._kept.put(namespace, (grammar, last))
        return grammar.hypertokens()
