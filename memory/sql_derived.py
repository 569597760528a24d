"""What a SQL archive derives from each scene row: symbols to find it by, facets to filter by, chains to
find hypertokens in. It can be made anew."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from scenepipe.facets import facets_of
from scenepipe.memory.records import chains_of, short
from scenepipe.memory.sql_tables import CHAINS, FACETS, SYMBOLS
from scenepipe.recall import lemma_of, own_keys, symbol_keys
from scenepipe.scene import Scene

_SEQS: sa.BindParameter[Any] = sa.bindparam("seqs", expanding=True)
DERIVED = (SYMBOLS, FACETS, CHAINS)


def insert(connection: sa.Connection, numbered: Mapping[int, Scene]) -> None:
    """Write what is derived from scene rows, given by their numbers."""
    for table, rows in ((SYMBOLS, _symbols), (FACETS, _facets), (CHAINS, _chains)):
        if fresh := [row for seq, scene in numbered.items() for row in rows(seq, scene)]:
            connection.execute(sa.insert(table), fresh)


def delete(connection: sa.Connection, seqs: Collection[int]) -> None:
    """Remove what is derived from these rows."""
    for table in DERIVED:
        connection.execute(sa.delete(table).where(table.c.seq.in_(_SEQS)), {"seqs": list(seqs)})


def faults(connection: sa.Connection, numbered: Mapping[int, Scene]) -> list[int]:
    """Numbers of the rows from which something else should have been derived."""
    expected = {
        seq: {(short(row["key"]), short(row["lemma"])) for row in _symbols(seq, scene)}
        | {(short(row["key"]), row["own"]) for row in _symbols(seq, scene)}
        | {(row["facet"], row["value"]) for row in _facets(seq, scene)}
        | {(short(row["scene"]), short(row["chains"])) for row in _chains(seq, scene)}
        for seq, scene in numbered.items()
    }
    found: dict[int, set[Any]] = {seq: set() for seq in expected}
    for table, columns in (
        (SYMBOLS, ("key", "lemma")),
        (SYMBOLS, ("key", "own")),
        (FACETS, ("facet", "value")),
        (CHAINS, ("scene", "chains")),
    ):
        rows = sa.select(table.c.seq, *(table.c[name] for name in columns)).where(table.c.seq.in_(_SEQS))
        for seq, one, other in connection.execute(rows, {"seqs": list(expected)}):
            found[seq].add((short(one), short(other) if isinstance(other, str) else other))
    return [seq for seq, rows in expected.items() if rows != found[seq]]


def _symbols(seq: int, scene: Scene) -> Iterator[dict[str, Any]]:
    space, own = scene.origin.namespace, set(own_keys(scene))
    for key in symbol_keys(scene):
        yield {"namespace": space, "lemma": lemma_of(key), "key": key, "seq": seq, "own": int(key in own)}


def _facets(seq: int, scene: Scene) -> Iterator[dict[str, Any]]:
    for name, value in facets_of(scene).items():
        yield {"namespace": scene.origin.namespace, "facet": name, "value": value, "seq": seq}


def _chains(seq: int, scene: Scene) -> Iterator[dict[str, Any]]:
    yield {"seq": seq, "namespace": scene.origin.namespace, "scene": scene.id, "chains": chains_of(scene)}
