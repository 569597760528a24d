"""Forgetting: what a tombstone is, what it removes and what it keeps from coming back. The same for every store.

A tombstone is an encounter of kind ``forgotten``. Of several for one scene the newest counts and the others go, so that
archives agree whatever the order in which they were forgotten, exported and imported. It needs no stored scene and
keeps the scene's id, a hash from which no text can be read.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from scenepipe.contracts import Encounter
from scenepipe.facets import moment
from scenepipe.recall import refuse_orphans, utc
from scenepipe.scene import SCENE_NAMESPACE, Scene

Graves = Mapping[str, datetime]
"""Scene id -> time of its newest tombstone, in UTC."""


def tombstone(scene_id: str, at: datetime, namespace: str) -> Encounter:
    """The tombstone of a scene: forgetting it twice at one moment is one operation."""
    at = moment(at)
    name = str(uuid.uuid5(SCENE_NAMESPACE, f"{scene_id}\n{at.isoformat(timespec='microseconds')}\nforgotten"))
    return Encounter(id=name, scene_id=scene_id, kind="forgotten", at=at, namespace=namespace)


def fresh(encounters: Iterable[Encounter], graves: Graves) -> list[Encounter]:
    """The tombstones that are newer than what is known of their scene, the newest of each."""
    newest: dict[str, Encounter] = {}
    for each in (utc(encounter) for encounter in encounters if encounter.kind == "forgotten"):
        if each.scene_id not in graves or each.at > graves[each.scene_id]:
            known = newest.get(each.scene_id, each)
            newest[each.scene_id] = max(known, each, key=lambda e: (e.at, e.id))
    return list(newest.values())


def with_fresh(graves: Graves, tombstones: Iterable[Encounter]) -> dict[str, datetime]:
    """Graves after these tombstones."""
    return {**graves, **{each.scene_id: each.at for each in tombstones}}


def buried(scene_id: str, at: datetime, graves: Graves) -> bool:
    """Whether a record of this time is at or before the tombstone of its scene."""
    return scene_id in graves and moment(at) <= graves[scene_id]


def is_buried(scene_id: str, time: str, graves: Graves) -> bool:
    """The same for a time as it is stored, ISO 8601; one that cannot be read is as old as any."""
    try:
        return buried(scene_id, datetime.fromisoformat(time), graves)
    except ValueError:
        return scene_id in graves


def living_scenes(scenes: Iterable[Scene], graves: Graves) -> list[Scene]:
    """Scenes that were made after their tombstone, or have none."""
    return [scene for scene in scenes if not buried(scene.id, scene.created, graves)]


def living_encounters(encounters: Iterable[Encounter], graves: Graves, known: Collection[str]) -> list[Encounter]:
    """Encounters, without tombstones, that may be written where these scenes are known.

    Those at or before a tombstone are left out. So is a later one whose scene was forgotten and not made anew since:
    it names words that nobody has any more.

    Raises:
        ArchiveError: one names a scene that is neither known nor forgotten.
    """
    candidates = [e for e in encounters if e.kind != "forgotten" and not buried(e.scene_id, e.at, graves)]
    refuse_orphans(candidates, {*known, *graves})
    return [encounter for encounter in candidates if encounter.scene_id in known]


def for_each(scene_ids: Iterable[str], at: datetime, spaces: Mapping[str, str]) -> list[Encounter]:
    """A tombstone for each scene, in its namespace; ``default`` where none is known."""
    return [tombstone(name, at, spaces.get(name, "default")) for name in dict.fromkeys(scene_ids)]
