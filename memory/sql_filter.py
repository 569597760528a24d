"""The filters of a query as conditions on scene rows.

A filter that few records pass is asked as a list of them; one that many pass is checked for each candidate, of which a
search has a few thousand at most. Asking which it is stops after a few thousand records.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any

import sqlalchemy as sa

from scenepipe.contracts import Query
from scenepipe.facets import Condition, asks_encounters, conditions_of
from scenepipe.memory import candidates
from scenepipe.memory import sql_rows as rows
from scenepipe.memory.sql_tables import ENCOUNTERS, FACETS, SCENES

_OWN = SCENES.alias("own")
Column = sa.ColumnElement[Any]


class Filter:
    """Which scene rows a query admits, by its encounters and by its facets."""

    def __init__(self, connection: sa.Connection, query: Query) -> None:
        self._connection = connection
        self._namespace = query.namespace
        self._few: list[sa.Select[Any]] = []
        self._many: list[Callable[[Column], Column]] = []
        if asks_encounters(query):
            self._add_encounters(query)
        for condition in conditions_of(query):
            self._add_facets(condition)

    def on(self, seq: Column) -> list[Column]:
        """Conditions on the column of a row's number; none when the query has no filter."""
        return [seq.in_(few) for few in self._few] + [check(seq) for check in self._many]

    def allowed(self) -> Callable[[Sequence[tuple[str, int]]], Container[tuple[str, int]]] | None:
        """Which of some rows, given with their scene's id, are admitted; None when all are."""
        if self._few:
            admitted = self._admitted(SCENES.c.namespace == self._namespace)
            return lambda keys: admitted
        return self._among if self._many else None

    def _among(self, keys: Sequence[tuple[str, int]]) -> set[tuple[str, int]]:
        return self._admitted(SCENES.c.seq.in_([seq for _, seq in keys]))

    def _admitted(self, which: Column) -> set[tuple[str, int]]:
        found = sa.select(SCENES.c.id, SCENES.c.seq).where(which, *self.on(SCENES.c.seq))
        return {(row.id, row.seq) for row in self._connection.execute(found)}

    def _add_encounters(self, query: Query) -> None:
        met = sa.select(ENCOUNTERS.c.scene_id).where(*_encounter_tests(query))
        if self._are_few(met):
            self._few.append(sa.select(_OWN.c.seq).where(_OWN.c.id.in_(met)))
            return
        mine = sa.select(sa.literal(1)).join_from(_OWN, ENCOUNTERS, ENCOUNTERS.c.scene_id == _OWN.c.id)
        mine = mine.where(*_encounter_tests(query, _unindexed))
        self._many.append(lambda seq: mine.where(_OWN.c.seq == seq).exists())

    def _add_facets(self, condition: Condition) -> None:
        tests = [FACETS.c.namespace == self._namespace, FACETS.c.facet.in_(condition.names)]
        if condition.is_bounded:
            tests.append(FACETS.c.value.between(condition.low, condition.high))
        having = sa.select(FACETS.c.seq).where(*tests)
        if self._are_few(having):
            self._few.append(having)
        else:
            self._many.append(lambda seq: having.where(FACETS.c.seq == seq).exists())

    def _are_few(self, found: sa.Select[Any]) -> bool:
        limit = 2 * candidates.POSTINGS
        some = found.limit(limit).subquery()
        return int(self._connection.execute(sa.select(sa.func.count()).select_from(some)).scalar_one()) < limit


def _unindexed(column: Column) -> Column:
    """The column in a form that leads a planner without statistics to no index on it."""
    return column.op("||")("")


def _encounter_tests(query: Query, seen: Callable[[Column], Column] = lambda column: column) -> list[Column]:
    """What one encounter has to be; ``seen`` is how the columns are written."""
    tests: list[Column] = [seen(ENCOUNTERS.c.namespace) == query.namespace]
    if query.chat is not None:
        tests.append(seen(ENCOUNTERS.c.chat) == query.chat)
    if query.kinds:
        tests.append(seen(ENCOUNTERS.c.kind).in_(query.kinds))
    if query.since is not None:
        tests.append(ENCOUNTERS.c.at >= rows.time_text(query.since))
    if query.until is not None:
        tests.append(ENCOUNTERS.c.at <= rows.time_text(query.until))
    return tests
