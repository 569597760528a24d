"""Forgetting in a vector engine: tombstones first, so that whoever writes at the same time sees them.

There is no transaction here. A crash between a tombstone and what it stands for leaves records that the next `forget`
of the scene removes, and that `verify` names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from scenepipe.contracts import Encounter, Forgotten
from scenepipe.memory import points, tombstones
from scenepipe.memory.point_engine import Engine, Payload, select_in
from scenepipe.memory.tombstones import Graves


def graves(engine: Engine, scene_ids: Sequence[str] | None = None) -> dict[str, datetime]:
    """Time of the newest tombstone of each of these scenes that has one; of all for None."""
    stones = {"kind": ["forgotten"]}
    rows: Iterable[Payload]
    if scene_ids is None:
        rows = engine.select("encounters", stones, ("scene", "at"))
    else:
        rows = select_in(engine, "encounters", "scene", scene_ids, ("scene", "at"), stones)
    found: dict[str, datetime] = {}
    for row in rows:
        at = datetime.fromisoformat(row["at"])
        found[row["scene"]] = max(found.get(row["scene"], at), at)
    return found


def forget(engine: Engine, scene_ids: Sequence[str], at: datetime) -> Forgotten:
    """Write a tombstone for each scene that has none as late, and remove all that is stored of it."""
    known = graves(engine, scene_ids)
    spaces = select_in(engine, "scenes", "scene", scene_ids, ("scene", "namespace"))
    stones = tombstones.for_each(scene_ids, at, {row["scene"]: row["namespace"] for row in spaces})
    fresh = tombstones.fresh(stones, known)
    done = bury(engine, fresh, everything=True)
    names = {stone.scene_id for stone in fresh}
    # What a forgetting that was interrupted, or another process, left behind.
    late = remove_buried(engine, {name: grave for name, grave in known.items() if name not in names})
    return Forgotten(scenes=done.scenes + late.scenes, encounters=done.encounters + late.encounters)


def bury(engine: Engine, stones: Sequence[Encounter], *, everything: bool = False) -> Forgotten:
    """Write these tombstones, then remove what they stand for: what is as old as they are, or everything."""
    if stones:
        engine.insert([], [points.encounter_point(stone) for stone in stones])
    return remove_buried(engine, {stone.scene_id: stone.at for stone in stones}, everything=everything)


def remove_buried(engine: Engine, at: Graves, *, everything: bool = False) -> Forgotten:
    """Remove what is as old as these tombstones, or everything, and encounters whose scene goes with it."""
    there = select_in(engine, "scenes", "scene", list(at), ("scene", "analysis", "created"))
    gone, living = _split(there, at, everything)
    named = select_in(engine, "encounters", "scene", list(at), ("id", "scene", "at", "kind"))
    left = [row for row in named if not _stays(row, living, at)]
    if gone or left:
        engine.remove(
            [points.scene_point_id(row["scene"], row["analysis"]) for row in gone],
            [points.encounter_point_id(row["id"]) for row in left],
        )
        engine.compact()
    met = sum(row["kind"] != "forgotten" for row in left)
    return Forgotten(scenes=len({row["scene"] for row in gone}), encounters=met)


def _split(scenes: Iterable[Payload], at: Graves, everything: bool) -> tuple[list[Payload], set[str]]:
    """Scene points that go, and ids of the scenes of which one stays."""
    gone, living = [], set()
    for row in scenes:
        if everything or tombstones.is_buried(row["scene"], row["created"], at):
            gone.append(row)
        else:
            living.add(row["scene"])
    return gone, living


def _stays(row: Payload, living: set[str], at: Graves) -> bool:
    time = datetime.fromisoformat(row["at"])
    if row["kind"] == "forgotten":
        return time == at[row["scene"]]
    return row["scene"] in living and time > at[row["scene"]]
