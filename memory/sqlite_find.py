"""What the SQLite archive proposes for a query: by structure, by words (FTS5) and by vector."""

from __future__ import annotations

import json
from itertools import accumulate
from typing import Any

import sqlalchemy as sa

from scenepipe.contracts import Query
from scenepipe.memory.sqlite_schema import ENCOUNTERS, SCENES, SYMBOLS, namespace_token, word_token
from scenepipe.memory.vectors import VectorIndex
from scenepipe.recall import Proposals, lemma_of, query_keys

_POOL = 48
_ASKED = 64
_POSTINGS = 2000
_WORDS = sa.table("words", sa.column("rowid", sa.Integer), sa.column("words", sa.Text), sa.column("rank", sa.Float))


class Finder:
    """Keeps the vectors of each namespace and encoder in memory and reads new rows before each search.

    Args:
        words: whether the file has a word index.
    """

    def __init__(self, *, words: bool) -> None:
        self.words = words
        self._vectors: dict[tuple[str, str], tuple[VectorIndex, int]] = {}

    def propose(self, connection: sa.Connection, query: Query) -> Proposals:
        """Ids for the query. Of very many symbols the first 64 are searched."""
        pool = max(_POOL, 2 * query.limit) + len(query.exclude)
        lemmas = self._telling(connection, query)
        symbols = self._symbols(connection, query, lemmas, pool) if lemmas else []
        words = self._by_words(connection, query, lemmas, pool) if lemmas and self.words else []
        names = _names(connection, {*symbols, *words})
        return Proposals(
            same=self._same(connection, query, pool),
            symbols=list(dict.fromkeys(names[seq] for seq in symbols if seq in names)),
            words=list(dict.fromkeys(names[seq] for seq in words if seq in names)),
            near=self._near(connection, query, pool),
        )

    def _telling(self, connection: sa.Connection, query: Query) -> list[str]:
        """The query's rarest lemmas, as many as `_POSTINGS` rows hold together, at least one.

        A lemma that a large part of the archive has tells scenes apart hardly at all, and reading its rows would be
        most of the cost of a search.
        """
        asked = dict.fromkeys(lemma_of(key) for key in query_keys(query)[:_ASKED])
        counts = (
            sa.select(SYMBOLS.c.lemma, sa.func.count())
            .where(SYMBOLS.c.namespace == query.namespace, SYMBOLS.c.lemma.in_(asked))
            .group_by(SYMBOLS.c.lemma)
        )
        found = sorted(connection.execute(counts), key=lambda row: int(row[1])) if asked else []
        totals = accumulate(count for _, count in found)
        return [row[0] for row, total in zip(found, totals, strict=True) if total <= _POSTINGS or row is found[0]]

    def _same(self, connection: sa.Connection, query: Query, pool: int) -> list[str]:
        found: list[str] = []
        here = [SCENES.c.namespace == query.namespace, *_in_chat(query)]
        if query.scene_id:
            # The namespace is compared here: in SQL it would draw the planner to an index on it.
            itself = sa.select(SCENES.c.id, SCENES.c.namespace).where(SCENES.c.id == query.scene_id, *here[1:])
            found += [row.id for row in connection.execute(itself) if row.namespace == query.namespace]
        tests = [SCENES.c.key == query.key] if query.key else []
        if query.linkage:
            tests.append(SCENES.c.chain == json.dumps(query.linkage, ensure_ascii=False))
        for test in tests:
            statement = sa.select(SCENES.c.id).where(*here, test).order_by(SCENES.c.seq.desc()).limit(pool)
            found += connection.scalars(statement)
        return list(dict.fromkeys(found))

    def _symbols(self, connection: sa.Connection, query: Query, lemmas: list[str], pool: int) -> list[int]:
        keys = [key for key in query_keys(query) if lemma_of(key) in lemmas]
        equal = sa.func.sum(sa.case((SYMBOLS.c.key.in_(keys), 1), else_=0))
        shared = (
            sa.select(SYMBOLS.c.seq, equal.label("equal"), sa.func.count().label("shared"))
            .where(SYMBOLS.c.namespace == query.namespace, SYMBOLS.c.lemma.in_(lemmas))
            .group_by(SYMBOLS.c.seq)
            .order_by(sa.desc("equal"), sa.desc("shared"), SYMBOLS.c.seq.desc())
            .limit(pool)
        )
        if query.chat is not None:
            shared = shared.where(SYMBOLS.c.seq.in_(sa.select(SCENES.c.seq).where(*_in_chat(query))))
        return [row.seq for row in connection.execute(shared)]

    def _by_words(self, connection: sa.Connection, query: Query, lemmas: list[str], pool: int) -> list[int]:
        words = " OR ".join(dict.fromkeys(f'"{word_token(lemma)}"' for lemma in lemmas))
        phrase = f'"{namespace_token(query.namespace)}" AND ({words})'
        statement = sa.select(_WORDS.c.rowid).where(_WORDS.c.words.op("MATCH")(phrase)).order_by(_WORDS.c.rank)
        if query.chat is not None:
            statement = statement.where(_WORDS.c.rowid.in_(sa.select(SCENES.c.seq).where(*_in_chat(query))))
        return list(connection.scalars(statement.limit(pool)))

    def _near(self, connection: sa.Connection, query: Query, pool: int) -> dict[str, float]:
        if query.vector is None or query.encoder is None:
            return {}
        index = self._index(connection, query.namespace, query.encoder)
        allowed = None if query.chat is None else set(connection.scalars(_chat_scenes(query)))
        return index.search(query.vector, pool, allowed)

    def _index(self, connection: sa.Connection, namespace: str, encoder: str) -> VectorIndex:
        index, last = self._vectors.get((namespace, encoder), (VectorIndex(), 0))
        fresh = connection.execute(
            sa.select(SCENES.c.seq, SCENES.c.id, SCENES.c.vector)
            .where(SCENES.c.namespace == namespace, SCENES.c.encoder == encoder, SCENES.c.seq > last)
            .order_by(SCENES.c.seq)
        ).all()
        if fresh:
            index.add([row.id for row in fresh], [row.vector for row in fresh])
            last = fresh[-1].seq
        self._vectors[namespace, encoder] = index, last
        return index


def _names(connection: sa.Connection, seqs: set[int]) -> dict[int, str]:
    """Scene ids of rows."""
    if not seqs:
        return {}
    found = sa.select(SCENES.c.seq, SCENES.c.id).where(SCENES.c.seq.in_(seqs))
    return {row.seq: row.id for row in connection.execute(found)}


def _in_chat(query: Query) -> list[sa.ColumnElement[bool]]:
    return [] if query.chat is None else [SCENES.c.id.in_(_chat_scenes(query))]


def _chat_scenes(query: Query) -> sa.Select[Any]:
    return sa.select(ENCOUNTERS.c.scene_id).where(
        ENCOUNTERS.c.namespace == query.namespace, ENCOUNTERS.c.chat == query.chat
    )
