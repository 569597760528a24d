"""What a SQL archive derives from each scene row: symbols to find it by, facets to filter by, chains to
find hypertokens in. It can be made anew."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from scenepipe.facets import facets_of
from scenepipe.memory.records import chains_of, short
from scenepipe.memory.sql_tables import CHAINS, FACETS, SYMBOLS
from scenepipe.recall import lemma_of, own_keys, symbol_keys
from scenepipe.scene import Scene

_SEQS: sa.BindParameter[Any] = sa.bindparam("seqs", expanding=True)


def insert(connection: sa.Connection, numbered: Mapping[int, Scene]) -> None:
    """Write what is derived from scene rows, given by their numbers."""
    for table, rows in _MADE.items():
        if fresh := [row for seq, scene in numbered.items() for row in rows(seq, scene)]:
            connection.execute(sa.insert(table), fresh)


def delete(connection: sa.Connection, seqs: Collection[int]) -> None:
    """Remove what is derived from these rows."""
    for table in _MADE:
        connection.execute(sa.delete(table).where(table.c.seq.in_(_SEQS)), {"seqs": list(seqs)})


def faults(connection: sa.Connection, numbered: Mapping[int, Scene]) -> list[int]:
    """Numbers of the rows from which something else should have been derived."""
    wrong: set[int] = set()
    for table, rows in _MADE.items():
        found: dict[int, set[Any]] = {seq: set() for seq in numbered}
        there = sa.select(table).where(table.c.seq.in_(_SEQS))
        for row in connection.execute(there, {"seqs": list(numbered)}):
            found[row.seq].add(_values(row._asdict()))
        wrong |= {seq for seq, scene in numbered.items() if found[seq] != set(map(_values, rows(seq, scene)))}
    return sorted(wrong)


def _values(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """The values of a row in one order, as the table keeps them."""
    return tuple(short(row[name]) if isinstance(row[name], str) else row[name] for name in sorted(row))


def _symbols(seq: int, scene: Scene) -> Iterator[dict[str, Any]]:
    space, own = scene.origin.namespace, set(own_keys(scene))
    for key in symbol_keys(scene):
        yield {"namespace": space, "lemma": lemma_of(key), "key": key, "seq": seq, "own": int(key in own)}


def _facets(seq: int, scene: Scene) -> Iterator[dict[str, Any]]:
    for name, value in facets_of(scene).items():
        yield {"namespace": scene.origin.namespace, "facet": name, "value": value, "seq": seq}


def _chains(seq: int, scene: Scene) -> Iterator[dict[str, Any]]:
    yield {"seq": seq, "namespace": scene.origin.namespace, "scene": scene.id, "chains": chains_of(scene)}


_MADE: Mapping[sa.Table, Callable[[int, Scene], Iterator[dict[str, Any]]]] = {
    SYMBOLS: _symbols,
    FACETS: _facets,
    CHAINS: _chains,
}
