"""What an archive in a SQL database proposes for a query: by structure, by symbols and by vector."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from scenepipe.contracts import Query
from scenepipe.folding.recent import Recent
from scenepipe.memory import candidates, sql_counters
from scenepipe.memory.candidates import Candidate
from scenepipe.memory.neighbours import Company
from scenepipe.memory.records import chain_json, short
from scenepipe.memory.sql_filter import Filter
from scenepipe.memory.sql_tables import SCENES, SYMBOLS
from scenepipe.memory.vectors import VectorIndex, by_scene
from scenepipe.recall import Proposals, lemma_of, query_keys

Row = tuple[str, int]

_PLAIN = SYMBOLS.alias("plain")
# A lemma that one row has plain and negated is counted once, by a lookup for the few negated rows alone.
_REPEATED = (SYMBOLS.c.key != SYMBOLS.c.lemma) & sa.exists().where(
    _PLAIN.c.namespace == SYMBOLS.c.namespace,
    _PLAIN.c.lemma == SYMBOLS.c.lemma,
    _PLAIN.c.key == SYMBOLS.c.lemma,
    _PLAIN.c.seq == SYMBOLS.c.seq,
)


class Finder:
    """Keeps the vectors of a namespace and an encoder in memory, of those used last, and reads new rows before a search."""

    def __init__(self) -> None:
        self._vectors: Recent[tuple[str, str], tuple[VectorIndex[Row], int]] = Recent()
        self._sizes: Counter[str] = Counter()
        self._counted = 0
        self._removals = 0

    def propose(self, connection: sa.Connection, query: Query) -> Proposals:
        """Ids for the query, in the order that all stores share."""
        self._renew(connection)
        limit = candidates.pool(query)
        weights = self._weights(connection, query)
        admitted = Filter(connection, query)
        return candidates.proposals(
            query,
            weights=weights,
            same=_same(connection, query, admitted, limit),
            shared=_shared(connection, query, weights, admitted, limit) if weights else (),
            near=self._near(connection, query, admitted, limit),
        )

    def company(self, connection: sa.Connection, symbols: Sequence[str], namespace: str) -> Company:
        """What stands in the texts that have one of these symbols; of very many, in those written last."""
        self._renew(connection)
        having = _having(symbols, namespace)
        newest = having.order_by(SYMBOLS.c.seq.desc()).limit(candidates.POSTINGS).subquery()
        company = (SYMBOLS.c.seq.in_(sa.select(newest.c.seq)), SYMBOLS.c.own == 1)
        together = sa.select(SYMBOLS.c.key, sa.func.count()).where(*company)
        looked_at = connection.execute(sa.select(sa.func.count()).select_from(newest)).scalar_one()
        found = looked_at
        if found == candidates.POSTINGS:
            found = connection.execute(sa.select(sa.func.count()).select_from(having.subquery())).scalar_one()
        counts = {row[0]: row[1] for row in connection.execute(together.group_by(SYMBOLS.c.key))}
        return Company(counts, looked_at, found, self._documents(connection, namespace))

    def _renew(self, connection: sa.Connection) -> None:
        """Begin anew when rows were removed, by whatever process."""
        removals = sql_counters.read(connection, "removals")
        if removals != self._removals:
            self._vectors.clear()
            self._sizes, self._counted, self._removals = Counter(), 0, removals

    def _weights(self, connection: sa.Connection, query: Query) -> dict[str, float]:
        asked = {short(lemma): lemma for lemma in candidates.asked_lemmas(query)}
        if not asked:
            return {}
        counts = (
            sa.select(SYMBOLS.c.lemma, sa.func.sum(sa.case((_REPEATED, 0), else_=1)))
            .where(SYMBOLS.c.namespace == query.namespace, SYMBOLS.c.lemma.in_(list(asked.values())))
            .group_by(SYMBOLS.c.lemma)
        )
        found = {asked[short(lemma)]: int(count) for lemma, count in connection.execute(counts)}
        return candidates.telling(found, self._documents(connection, query.namespace)) if found else {}

    def _documents(self, connection: sa.Connection, namespace: str) -> int:
        """Rows of a namespace. After the first search only those written since the last one are counted."""
        last = connection.execute(sa.select(sa.func.coalesce(sa.func.max(SCENES.c.seq), 0))).scalar_one()
        if not self._counted:
            sizes = sa.select(SCENES.c.namespace, sa.func.count()).group_by(SCENES.c.namespace)
            self._sizes = Counter({row[0]: row[1] for row in connection.execute(sizes)})
        elif last > self._counted:
            self._sizes.update(connection.scalars(sa.select(SCENES.c.namespace).where(SCENES.c.seq > self._counted)))
        self._counted = last
        return self._sizes[namespace]

    def _near(self, connection: sa.Connection, query: Query, admitted: Filter, limit: int) -> dict[str, float]:
        if query.vector is None or query.encoder is None:
            return {}
        index = self._index(connection, query.namespace, query.encoder)
        return by_scene(index.search(query.vector, limit, admitted.allowed()))

    def _index(self, connection: sa.Connection, namespace: str, encoder: str) -> VectorIndex[Row]:
        index, last = self._vectors.take((namespace, encoder)) or (VectorIndex(), 0)
        fresh = connection.execute(
            sa.select(SCENES.c.seq, SCENES.c.id, SCENES.c.vector)
            .where(SCENES.c.namespace == namespace, SCENES.c.encoder == encoder, SCENES.c.seq > last)
            .order_by(SCENES.c.seq)
        ).all()
        if fresh:
            index.add([(row.id, row.seq) for row in fresh], [row.vector for row in fresh])
            last = fresh[-1].seq
        self._vectors.put((namespace, encoder), (index, last))
        return index


def counts_of(connection: sa.Connection, keys: Sequence[str], namespace: str) -> dict[str, int]:
    """In how many rows the text has each of these symbols."""
    counts = _having(keys, namespace, SYMBOLS.c.key, sa.func.count()).group_by(SYMBOLS.c.key)
    return {row[0]: row[1] for row in connection.execute(counts)} if keys else {}


def _having(symbols: Sequence[str], namespace: str, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Numbers of the rows whose text has one of these symbols, each once, or other columns of their symbols."""
    found = sa.select(*columns) if columns else sa.select(SYMBOLS.c.seq).distinct()
    lemmas = list({lemma_of(key) for key in symbols})
    tests = (SYMBOLS.c.namespace == namespace, SYMBOLS.c.lemma.in_(lemmas), SYMBOLS.c.key.in_(list(symbols)))
    return found.where(*tests, SYMBOLS.c.own == 1)


def _same(connection: sa.Connection, query: Query, admitted: Filter, limit: int) -> list[Candidate]:
    columns = (SCENES.c.id, SCENES.c.created, SCENES.c.namespace)
    tests = [[SCENES.c.id == query.scene_id]] if query.scene_id else []
    tests += [[SCENES.c.namespace == query.namespace, SCENES.c.key == query.key]] if query.key else []
    tests += [[SCENES.c.namespace == query.namespace, *_has_chain(connection, query)]] if query.linkage else []
    found: list[Candidate] = []
    for test in tests:
        rows = sa.select(*columns).where(*test, *admitted.on(SCENES.c.seq)).order_by(SCENES.c.seq.desc()).limit(limit)
        # The namespace of an id is compared here: in SQL it would draw the planner to an index on it.
        mine = (row for row in connection.execute(rows) if row.namespace == query.namespace)
        found += [Candidate(row.id, row.created) for row in mine]
    return found


def _has_chain(connection: sa.Connection, query: Query) -> list[sa.ColumnElement[bool]]:
    chain = chain_json(query.linkage)
    if connection.dialect.name != "postgresql":
        return [SCENES.c.chain == chain]
    value = sa.literal(chain, SCENES.c.chain.type)
    return [sa.func.md5(SCENES.c.chain) == sa.func.md5(value), SCENES.c.chain == value]


def _shared(
    connection: sa.Connection, query: Query, weights: dict[str, float], admitted: Filter, limit: int
) -> list[Candidate]:
    """The best rows by symbols and by weight, of the newest rows that have one of the lemmas."""
    postings = (
        sa.select(SYMBOLS.c.seq, SYMBOLS.c.key)
        .where(SYMBOLS.c.namespace == query.namespace, SYMBOLS.c.lemma.in_(weights), *admitted.on(SYMBOLS.c.seq))
        .order_by(SYMBOLS.c.seq.desc())
        .limit(2 * candidates.POSTINGS)
    )
    names = {short(key): key for key in query_keys(query)}
    keys: dict[int, list[str]] = {}
    for seq, key in connection.execute(postings).all():
        keys.setdefault(seq, []).append(names.get(key, key))
    best = _best(query, weights, keys, limit)
    named = sa.select(SCENES.c.seq, SCENES.c.id, SCENES.c.created).where(SCENES.c.seq.in_(best))
    return [Candidate(row.id, row.created, keys[row.seq]) for row in connection.execute(named)]


def _best(query: Query, weights: dict[str, float], keys: dict[int, list[str]], limit: int) -> set[int]:
    """Rows that lead by symbols or by weight. Few different sets of keys stand in thousands of rows."""
    alike: dict[tuple[str, ...], list[int]] = {}
    for seq, found in keys.items():
        alike.setdefault(tuple(found), []).append(seq)
    by_symbols: dict[tuple[float, ...], list[int]] = {}
    by_weight: dict[tuple[float, ...], list[int]] = {}
    for kind, seqs in alike.items():
        equal, lemmas, weight = candidates.overlap(query, weights, kind)
        by_symbols.setdefault((equal, lemmas), []).extend(seqs)
        by_weight.setdefault((weight,), []).extend(seqs)
    return {*_leaders(by_symbols, limit), *_leaders(by_weight, limit)}


def _leaders(rows: dict[tuple[float, ...], list[int]], limit: int) -> list[int]:
    """The rows of the greatest scores, the newest first among equals."""
    leaders: list[int] = []
    for score in sorted(rows, reverse=True):
        if len(leaders) >= limit:
            break
        leaders += sorted(rows[score], reverse=True)
    return leaders[:limit]
