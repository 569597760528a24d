"""Forgetting in a SQL database: tombstones are written, then the rows they stand for go, all in one transaction.

The triggers of the tables let a row go only where a tombstone for its scene is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from scenepipe.contracts import Encounter, Forgotten
from scenepipe.memory import sql_counters, sql_derived, tombstones
from scenepipe.memory import sql_rows as rows
from scenepipe.memory.sql_tables import ENCOUNTERS, SCENES
from scenepipe.memory.tombstones import Graves
from scenepipe.memory.worker import Batch

_KEYS: sa.BindParameter[Any] = sa.bindparam("keys", expanding=True)
_ALL_STONES = (
    sa.select(ENCOUNTERS.c.scene_id, sa.func.max(ENCOUNTERS.c.at))
    .where(ENCOUNTERS.c.kind == sa.literal_column("'forgotten'"))  # a literal, which the partial index has too
    .group_by(ENCOUNTERS.c.scene_id)
)
_STONES = _ALL_STONES.where(ENCOUNTERS.c.scene_id.in_(_KEYS))
_SCENES = sa.select(SCENES.c.seq, SCENES.c.id, SCENES.c.namespace, SCENES.c.created).where(SCENES.c.id.in_(_KEYS))
_NAMED = sa.select(ENCOUNTERS.c.id, ENCOUNTERS.c.scene_id, ENCOUNTERS.c.kind, ENCOUNTERS.c.at).where(
    ENCOUNTERS.c.scene_id.in_(_KEYS)
)


def graves(connection: sa.Connection, scene_ids: Sequence[str]) -> dict[str, datetime]:
    """Time of the newest tombstone of each of these scenes that has one."""
    found: dict[str, datetime] = {}
    for keys in rows.chunks(list(dict.fromkeys(scene_ids))):
        found |= {name: datetime.fromisoformat(at) for name, at in connection.execute(_STONES, {"keys": keys})}
    return found


def admit(connection: sa.Connection, batch: Batch) -> tuple[Batch, int]:
    """Apply the tombstones of a batch; what else of it may be written, and how many tombstones were new.

    Raises:
        ArchiveError: an encounter names a scene that is neither stored nor given nor forgotten.
    """
    ids = [scene.id for scene in batch.scenes] + [encounter.scene_id for encounter in batch.encounters]
    known_graves = graves(connection, ids)
    stones = tombstones.fresh(batch.encounters, known_graves)
    bury(connection, stones)
    after = tombstones.with_fresh(known_graves, stones)
    scenes = tombstones.living_scenes(batch.scenes, after)
    known = rows.present(connection, SCENES.c.id, {e.scene_id for e in batch.encounters}) | {s.id for s in scenes}
    met = tombstones.living_encounters(batch.encounters, after, known)
    return Batch(scenes, met), len(stones)


def forget(connection: sa.Connection, scene_ids: Sequence[str], at: datetime) -> Forgotten:
    """Write a tombstone for each scene that has none as late, and remove all that is stored of it."""
    known = graves(connection, scene_ids)
    spaces = {row.id: row.namespace for row in _each(connection, _SCENES, scene_ids)}
    stones = tombstones.fresh(tombstones.for_each(scene_ids, at, spaces), known)
    return bury(connection, stones, everything=True)


def bury(connection: sa.Connection, stones: Sequence[Encounter], *, everything: bool = False) -> Forgotten:
    """Write these tombstones and remove what they stand for: what is as old as they are, or everything."""
    if not stones:
        return Forgotten(scenes=0, encounters=0)
    last, at = rows.last_number(connection), {stone.scene_id: stone.at for stone in stones}
    rows.insert_encounters(connection, stones)
    there = _each(connection, _SCENES, list(at))
    gone = [row for row in there if everything or tombstones.is_buried(row.id, row.created, at)]
    living = {row.id for row in set(there) - set(gone)}
    named = _each(connection, _NAMED, list(at))
    kept = {stone.id for stone in stones}
    left = [row for row in named if row.id not in kept and not _stays(row, living, at)]
    _remove(connection, [row.seq for row in gone], [row.id for row in left])
    if gone or left:
        sql_counters.write(connection, "seq", last)
        sql_counters.write(connection, "removals", 1 + sql_counters.read(connection, "removals"))
        sql_counters.write(connection, "unclean", max(1, sql_counters.read(connection, "unclean")))
    met = sum(row.kind != "forgotten" for row in left)
    return Forgotten(scenes=len({row.id for row in gone}), encounters=met)


def buried(connection: sa.Connection) -> list[str]:
    """Faults: records that are stored although a tombstone stands for them."""
    at = {name: datetime.fromisoformat(each) for name, each in connection.execute(_ALL_STONES)}
    scenes = [row for row in _each(connection, _SCENES, list(at)) if tombstones.is_buried(row.id, row.created, at)]
    named = [row for row in _each(connection, _NAMED, list(at)) if row.kind != "forgotten"]
    named = [row for row in named if tombstones.is_buried(row.scene_id, row.at, at)]
    return [f"scene row {row.seq}: it was forgotten" for row in scenes] + [
        f"encounter {row.id}: its scene was forgotten" for row in named
    ]


def _stays(row: Any, living: set[str], at: Graves) -> bool:
    later = not tombstones.is_buried(row.scene_id, row.at, at)
    return row.kind != "forgotten" and row.scene_id in living and later


def _remove(connection: sa.Connection, seqs: Sequence[int], encounter_ids: Sequence[str]) -> None:
    for numbers in rows.chunks(seqs):
        sql_derived.delete(connection, numbers)
        connection.execute(sa.delete(SCENES).where(SCENES.c.seq.in_(_KEYS)), {"keys": numbers})
    for names in rows.chunks(encounter_ids):
        connection.execute(sa.delete(ENCOUNTERS).where(ENCOUNTERS.c.id.in_(_KEYS)), {"keys": names})


def _each(connection: sa.Connection, statement: sa.Select[Any], scene_ids: Sequence[str]) -> list[sa.Row[Any]]:
    """Rows of these scenes."""
    pages = rows.chunks(list(dict.fromkeys(scene_ids)))
    return [row for keys in pages for row in connection.execute(statement, {"keys": keys})]
