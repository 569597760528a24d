"""What the SQLite archive proposes for a query: by structure, by words (FTS5) and by vector."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from scenepipe.contracts import Query
from scenepipe.memory.sqlite_schema import ENCOUNTERS, SCENES, SYMBOLS, namespace_token, word_token
from scenepipe.memory.vectors import VectorIndex
from scenepipe.recall import Proposals, lemma_of, query_keys

_POOL = 64
_ASKED = 64
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
        keys = query_keys(query)[:_ASKED]
        pool = max(_POOL, 2 * query.limit) + len(query.exclude)
        return Proposals(
            same=self._same(connection, query, pool),
            symbols=self._symbols(connection, query, keys, pool) if keys else (),
            words=self._by_words(connection, query, keys, pool) if keys and self.words else (),
            near=self._near(connection, query, pool),
        )

    def _same(self, connection: sa.Connection, query: Query, pool: int) -> list[str]:
        chain = json.dumps(query.linkage, ensure_ascii=False)
        tests: list[sa.ColumnElement[bool]] = [SCENES.c.chain == chain] if query.linkage else []
        tests += [SCENES.c.key == query.key] if query.key else []
        tests += [SCENES.c.id == query.scene_id] if query.scene_id else []
        found: list[str] = []
        for test in reversed(tests):
            statement = sa.select(SCENES.c.id).where(SCENES.c.namespace == query.namespace, test, *_in_chat(query))
            found += connection.execute(statement.order_by(SCENES.c.seq.desc()).limit(pool)).scalars()
        return list(dict.fromkeys(found))

    def _symbols(self, connection: sa.Connection, query: Query, keys: tuple[str, ...], pool: int) -> list[str]:
        equal = sa.func.sum(sa.case((SYMBOLS.c.key.in_(keys), 1), else_=0))
        lemmas = {lemma_of(key) for key in keys}
        shared = (
            sa.select(SYMBOLS.c.seq, equal.label("equal"), sa.func.count().label("shared"))
            .where(SYMBOLS.c.namespace == query.namespace, SYMBOLS.c.lemma.in_(lemmas))
            .group_by(SYMBOLS.c.seq)
            .order_by(sa.desc("equal"), sa.desc("shared"), SYMBOLS.c.seq.desc())
            .limit(pool)
        )
        if query.chat is not None:
            shared = shared.where(SYMBOLS.c.seq.in_(sa.select(SCENES.c.seq).where(*_in_chat(query))))
        return _ids(connection, [row.seq for row in connection.execute(shared)])

    def _by_words(self, connection: sa.Connection, query: Query, keys: tuple[str, ...], pool: int) -> list[str]:
        words = " OR ".join(dict.fromkeys(f'"{word_token(lemma_of(key))}"' for key in keys))
        phrase = f'"{namespace_token(query.namespace)}" AND ({words})'
        statement = sa.select(_WORDS.c.rowid).where(_WORDS.c.words.op("MATCH")(phrase)).order_by(_WORDS.c.rank)
        if query.chat is not None:
            statement = statement.where(_WORDS.c.rowid.in_(sa.select(SCENES.c.seq).where(*_in_chat(query))))
        return _ids(connection, list(connection.execute(statement.limit(pool)).scalars()))

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


def _ids(connection: sa.Connection, seqs: list[int]) -> list[str]:
    """Scene ids of rows, in the order of the rows, each once."""
    found = sa.select(SCENES.c.seq, SCENES.c.id).where(SCENES.c.seq.in_(seqs))
    names: dict[Any, str] = {row.seq: row.id for row in connection.execute(found)}
    return list(dict.fromkeys(names[seq] for seq in seqs if seq in names))


def _in_chat(query: Query) -> list[sa.ColumnElement[bool]]:
    return [] if query.chat is None else [SCENES.c.id.in_(_chat_scenes(query))]


def _chat_scenes(query: Query) -> sa.Select[tuple[str]]:
    return sa.select(ENCOUNTERS.c.scene_id).where(
        ENCOUNTERS.c.namespace == query.namespace, ENCOUNTERS.c.chat == query.chat
    )
