"""Rows of an archive in a SQL database: values to rows and back, each with a digest, so that a flipped byte is noticed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from scenepipe.contracts import Encounter
from scenepipe.errors import ArchiveError, InputError
from scenepipe.facets import moment
from scenepipe.memory import sql_counters, sql_derived
from scenepipe.memory.records import analysis_of, chain_of, digest
from scenepipe.memory.sql_tables import ENCOUNTERS, SCENES
from scenepipe.recall import archived, utc
from scenepipe.scene import Scene

K = TypeVar("K")
T = TypeVar("T")
Broken = list[Any]

_CHUNK = 500
_KEYS: sa.BindParameter[Any] = sa.bindparam("keys", expanding=True)
_NUMBER = sa.func.max(SCENES.c.seq).label("number")
_NEWEST = sa.select(SCENES.c.id, _NUMBER).where(SCENES.c.id.in_(_KEYS)).group_by(SCENES.c.id).subquery()
# An outer join: in a file that was cut off the index may know a row whose page is full of zeros.
_LATEST = sa.select(_NEWEST.c.id, SCENES.c.digest, SCENES.c.json, SCENES.c.text).outerjoin_from(
    _NEWEST, SCENES, SCENES.c.seq == _NEWEST.c.number
)
_ANALYSES = sa.select(SCENES).where(SCENES.c.seq.in_(_KEYS))
_ENCOUNTERS = sa.select(ENCOUNTERS).where(ENCOUNTERS.c.id.in_(_KEYS))


# --- Writing ---------------------------------------------------------------------------------------------------------


def insert_scenes(connection: sa.Connection, scenes: Sequence[Scene]) -> int:
    """Write the scenes that are new, with what is derived from them; how many were.

    Call it as the only writer: the numbers given to the rows are free only under the write lock.
    """
    wanted = {(scene.id, analysis_of(scene)): archived(scene) for scene in reversed(scenes)}
    pairs = sa.select(SCENES.c.id, SCENES.c.analysis).where(SCENES.c.id.in_(_KEYS))
    known = {tuple(row) for keys in chunks([i for i, _ in wanted]) for row in connection.execute(pairs, {"keys": keys})}
    fresh = [scene for pair, scene in reversed(wanted.items()) if pair not in known]
    if not fresh:
        return 0
    numbered = dict(enumerate(fresh, start=1 + last_number(connection)))
    connection.execute(sa.insert(SCENES), [_scene_row(seq, scene) for seq, scene in numbered.items()])
    sql_derived.insert(connection, numbered)
    return len(fresh)


def last_number(connection: sa.Connection) -> int:
    """The greatest number that a scene row has or had: a number is never given twice."""
    stored = sa.select(sa.func.coalesce(sa.func.max(SCENES.c.seq), 0)).scalar_subquery()
    stored_or_gone = connection.execute(sa.select(stored, sql_counters.value_of("seq"))).one()
    return int(max(*stored_or_gone))


def insert_encounters(connection: sa.Connection, encounters: Sequence[Encounter]) -> int:
    """Write the encounters that are new; how many were. Their scenes are stored, or they are tombstones."""
    wanted = {encounter.id: utc(encounter) for encounter in reversed(encounters)}
    known = present(connection, ENCOUNTERS.c.id, wanted)
    fresh = [encounter for name, encounter in reversed(wanted.items()) if name not in known]
    if fresh:
        connection.execute(sa.insert(ENCOUNTERS), [_encounter_row(e) for e in fresh])
    return len(fresh)


def present(connection: sa.Connection, column: sa.Column[str], values: Iterable[str]) -> set[str]:
    """Those of the values that the column has."""
    statement = sa.select(column).where(column.in_(_KEYS)).distinct()
    return {name for keys in chunks(list(values)) for name in connection.execute(statement, {"keys": keys}).scalars()}


def _scene_row(seq: int, scene: Scene) -> dict[str, Any]:
    data = scene.to_json(vectors=True)
    return _repeated(scene) | {"seq": seq, "digest": digest(scene.text, data), "json": data}


def _repeated(scene: Scene) -> dict[str, Any]:
    """The columns that repeat a part of the JSON."""
    vector = scene.field.vector if scene.field else None
    return {
        "id": scene.id,
        "analysis": analysis_of(scene),
        "namespace": scene.origin.namespace,
        "key": scene.key,
        "linkage": scene.linkage.joined if scene.linkage else "",
        "chain": chain_of(scene),
        "code": str(scene.delta) if scene.delta else None,
        "created": scene.created.isoformat(),
        "encoder": vector.encoder if vector else None,
        "vector": vector.data if vector else None,
        "text": scene.text,
    }


def _encounter_row(encounter: Encounter) -> dict[str, Any]:
    row = encounter.model_dump(mode="json")
    row["at"] = time_text(encounter.at)
    row["data"] = json.dumps(row["data"], ensure_ascii=False)
    return row | {"digest": digest(json.dumps([row[name] for name in Encounter.model_fields]))}


def time_text(at: datetime) -> str:
    """A time as the column ``at`` has it, so that texts compare as times do."""
    return moment(at).isoformat(timespec="microseconds")


# --- Reading ---------------------------------------------------------------------------------------------------------


def latest(connection: sa.Connection, ids: Sequence[str]) -> tuple[dict[str, Scene], Broken]:
    """The newest analysis by scene id, and the ids that cannot be read."""
    return _read(connection, _LATEST, ids, _to_scene)


def analyses(connection: sa.Connection, seqs: Sequence[int]) -> tuple[dict[int, Scene], Broken]:
    """Scenes by row number, and the numbers that cannot be read."""
    return _read(connection, _ANALYSES, seqs, _to_scene)


def checked(connection: sa.Connection, seqs: Sequence[int]) -> tuple[dict[int, Scene], Broken]:
    """The same; one of which a column does not match its record is among those that cannot be read."""
    return _read(connection, _ANALYSES, seqs, _to_checked_scene)


def encounters(connection: sa.Connection, ids: Sequence[str]) -> tuple[dict[str, Encounter], Broken]:
    """Encounters by id, and the ids that cannot be read."""
    return _read(connection, _ENCOUNTERS, ids, _to_encounter)


def encounter_ids(connection: sa.Connection, scene_ids: Sequence[str] | None) -> list[str]:
    """Ids of all encounters of these scenes, of all for None."""
    if scene_ids is None:
        return list(connection.execute(sa.select(ENCOUNTERS.c.id)).scalars())
    statement = sa.select(ENCOUNTERS.c.id).where(ENCOUNTERS.c.scene_id.in_(_KEYS))
    return [name for keys in chunks(scene_ids) for name in connection.execute(statement, {"keys": keys}).scalars()]


def chat_ids(connection: sa.Connection, chat: str, namespace: str) -> list[str]:
    """Ids of all encounters of a chat."""
    here = sa.select(ENCOUNTERS.c.id).where(ENCOUNTERS.c.namespace == namespace, ENCOUNTERS.c.chat == chat)
    return list(connection.execute(here).scalars())


def index(connection: sa.Connection) -> tuple[list[int], list[str]]:
    """Numbers of all scene rows and ids of all encounters, in the order of an export."""
    rows = sorted((row.id, row.seq) for row in connection.execute(sa.select(SCENES.c.id, SCENES.c.seq)))
    operations = connection.execute(sa.select(ENCOUNTERS.c.id)).scalars()
    return [seq for _, seq in rows], sorted(operations)


def orphans(connection: sa.Connection) -> list[str]:
    """Ids of encounters whose scene is not stored, tombstones left out."""
    missing = sa.select(ENCOUNTERS.c.id).where(
        ENCOUNTERS.c.kind != "forgotten", ENCOUNTERS.c.scene_id.not_in(sa.select(SCENES.c.id))
    )
    return list(connection.execute(missing).scalars())


def is_damage(error: BaseException | None) -> bool:
    """Does this error of SQLite say that the file itself is broken?"""
    cause = getattr(error, "orig", None)
    code = str(getattr(cause, "sqlite_errorname", ""))
    return code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or "Could not decode to UTF-8" in str(cause)


def _read(
    connection: sa.Connection, statement: sa.Select[Any], keys: Sequence[K], parse: Callable[[Any], T]
) -> tuple[dict[K, T], Broken]:
    """Rows by key (the first column). Around a damaged page it halves the keys until only unreadable ones are left."""
    found: dict[K, T] = {}
    broken: Broken = []
    for chunk in chunks(list(dict.fromkeys(keys))):
        try:
            records = connection.execute(statement, {"keys": chunk}).all()
        except DBAPIError as error:
            if not is_damage(error):
                raise
            if len(chunk) == 1:
                broken += chunk
                continue
            for half in (chunk[: len(chunk) // 2], chunk[len(chunk) // 2 :]):
                good, bad = _read(connection, statement, half, parse)
                found |= good
                broken += bad
            continue
        for record in records:
            try:
                found[record[0]] = parse(record)
            except (ArchiveError, InputError, ValueError):
                broken.append(record[0])
    return found, broken


def _to_scene(row: Any) -> Scene:
    if row.json is None:
        raise ArchiveError("the row cannot be found")
    if digest(row.text, row.json) != row.digest:
        raise ArchiveError("the digest does not match")
    return Scene.from_json(row.json)


def _to_checked_scene(row: Any) -> Scene:
    scene = _to_scene(row)
    if any(row._mapping[name] != value for name, value in _repeated(scene).items()):
        raise ArchiveError("the columns do not match the scene")
    return scene


def _to_encounter(row: Any) -> Encounter:
    values = {name: row._mapping[name] for name in Encounter.model_fields}
    if digest(json.dumps(list(values.values()))) != row.digest:
        raise ArchiveError("the digest does not match")
    values |= {"at": datetime.fromisoformat(values["at"]), "data": json.loads(values["data"])}
    return Encounter.model_validate(values)


def chunks(keys: Sequence[K]) -> list[Sequence[K]]:
    """Few enough keys at a time for one statement."""
    return [keys[start : start + _CHUNK] for start in range(0, len(keys), _CHUNK)]
