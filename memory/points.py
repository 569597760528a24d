"""Scenes and encounters as points of a vector engine: an id, a payload that holds the whole record, vectors to find by.

The payload repeats some parts of the record beside it, because an engine filters by payload fields. The record itself
is one JSON string with a digest, so that it comes back byte for byte whatever the engine does with JSON values.
"""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scenepipe.contracts import Encounter, Query
from scenepipe.errors import ArchiveError
from scenepipe.facets import facets_of
from scenepipe.memory.point_engine import INDEXED, MEASURES, Kind, Payload, Point, Space, Where
from scenepipe.memory.records import analysis_of, chain_json, chains_of, digest
from scenepipe.recall import lemma_of, own_keys, symbol_keys
from scenepipe.scene import SCENE_NAMESPACE, Scene, Vector

# --- Records as points -----------------------------------------------------------------------------------------------


def scene_point(scene: Scene, ordinal: int) -> Point:
    """One analysis of a scene; ``ordinal`` counts the analyses of that scene from 1."""
    space, data, keys = scene.origin.namespace, scene.to_json(vectors=True), symbol_keys(scene)
    payload = {
        **_repeated(scene),
        "ordinal": ordinal,
        "figures": facets_of(scene),
        "json": data,
        "digest": digest(data, str(ordinal)).hex(),
    }
    hashed = [lemma_index(space, lemma_of(key)) for key in keys] + [key_index(space, key) for key in keys]
    vector = scene.field.vector if scene.field else None
    return Point(scene_point_id(scene.id, analysis_of(scene)), payload, dict.fromkeys(hashed, 1.0), components(vector))


def _repeated(scene: Scene) -> dict[str, Any]:
    """The fields that repeat a part of the record. Those of a measure are coarse; ``figures`` has it as it is."""
    space, keys, own, figures = scene.origin.namespace, symbol_keys(scene), own_keys(scene), facets_of(scene)
    names = [term(space, lemma_of(key)) for key in keys] + [key_term(space, key) for key in own]
    return {
        "scene": scene.id,
        "analysis": analysis_of(scene),
        "namespace": space,
        "key": scene.key,
        "chain_id": chain_id(scene.linkage.chain if scene.linkage else ()),
        "terms": list(dict.fromkeys(names)),
        "register": [name.removeprefix("register:") for name in figures if name.startswith("register:")],
        "code": str(scene.delta) if scene.delta else None,
        **{name: str(_step(figures[name])) if name in figures else None for name in MEASURES},
        "created": scene.created.isoformat(),
        "keys": list(keys),
        "own": list(own),
        "chains": chains_of(scene),
    }


def encounter_point(encounter: Encounter) -> Point:
    """One encounter, its time in UTC."""
    data = encounter.model_dump_json()
    payload = {**_traceable(encounter), "json": data, "digest": digest(data).hex()}
    return Point(encounter_point_id(encounter.id), payload)


def _traceable(encounter: Encounter) -> dict[str, Any]:
    return {
        "id": encounter.id,
        "scene": encounter.scene_id,
        "namespace": encounter.namespace,
        "chat": encounter.chat,
        "kind": encounter.kind,
        "at": encounter.at.isoformat(),
    }


def to_scene(payload: Payload) -> Scene:
    """The scene of a point.

    Raises:
        ArchiveError, InputError: the record was changed after it was written.
    """
    data = payload["json"]
    if digest(data, str(payload["ordinal"])).hex() != payload["digest"]:
        raise ArchiveError("the digest does not match")
    return Scene.from_json(data)


def to_checked_scene(payload: Payload) -> Scene:
    """The scene of a point, whose fields beside the record are checked too."""
    scene = to_scene(payload)
    same = _same_figures(payload["figures"], facets_of(scene))
    if not same or any(payload.get(name) != value for name, value in _repeated(scene).items()):
        raise ArchiveError("the fields do not match the scene")
    return scene


def _same_figures(kept: Mapping[str, float], figures: Mapping[str, float]) -> bool:
    """An engine that reads numbers quickly may change the last bit of one."""
    return kept.keys() == figures.keys() and all(math.isclose(kept[name], figures[name]) for name in figures)


def to_encounter(payload: Payload) -> Encounter:
    """The encounter of a point.

    Raises:
        ArchiveError, ValueError: the record was changed after it was written.
    """
    data = payload["json"]
    if digest(data).hex() != payload["digest"]:
        raise ArchiveError("the digest does not match")
    return Encounter.model_validate_json(data)


def to_checked_encounter(payload: Payload) -> Encounter:
    """The encounter of a point, whose fields beside the record are checked too."""
    encounter = to_encounter(payload)
    if any(payload.get(name) != value for name, value in _traceable(encounter).items()):
        raise ArchiveError("the fields do not match the encounter")
    return encounter


# --- Filters ---------------------------------------------------------------------------------------------------------


def wheres_of(query: Query) -> Where:
    """The filters of a query that look at scenes, as conditions; those of a measure let a little too much pass."""
    found: dict[str, Sequence[str]] = {}
    if query.registers:
        found["register"] = list(query.registers)
    if query.codes:
        found["code"] = list(query.codes)
    for measure, (low, high) in query.ranges.items():
        found[measure] = [str(step) for step in range(_step(low), _step(high) + 1)] if low <= high else []
    return found


def _step(value: float) -> int:
    """A measure in -1..1 as one of 33 steps; an engine compares words, not numbers."""
    return math.floor((min(1.0, max(-1.0, value)) + 1.0) * 16.0)


# --- Names and numbers -----------------------------------------------------------------------------------------------


def tag(kind: Kind, field: str = "", value: str = "") -> str:
    """A short name of a value of a filtered field; of the collection itself without one."""
    return hashlib.sha256(f"{kind}\n{field}\n{value}".encode()).hexdigest()[:16]


def tags(kind: Kind, payload: Payload) -> list[str]:
    """All that a point is filtered by, for an engine that has one index for it."""
    found = [tag(kind)]
    for field in INDEXED[kind]:
        value = payload[field]
        found += [
            tag(kind, field, each) for each in (value if isinstance(value, list) else [value]) if each is not None
        ]
    return found


def tags_of(kind: Kind, where: Where) -> list[list[str]]:
    """The same for a condition: of each list a point has one."""
    return [[tag(kind, field, value) for value in values] for field, values in where.items()] or [[tag(kind)]]


def scene_point_id(scene_id: str, analysis: str) -> str:
    return str(uuid.uuid5(SCENE_NAMESPACE, f"scene\n{scene_id}\n{analysis}"))


def encounter_point_id(operation: str) -> str:
    return str(uuid.uuid5(SCENE_NAMESPACE, f"encounter\n{operation}"))


def chain_id(chain: Sequence[str]) -> str:
    """A short name of a linkage, order and polarity included."""
    return hashlib.sha256(chain_json(chain).encode()).hexdigest()[:32]


def term(namespace: str, lemma: str) -> str:
    """A short name of a lemma in a namespace, whatever its length and characters."""
    return hashlib.sha256(f"lemma\n{namespace}\n{lemma}".encode()).hexdigest()[:16]


def key_term(namespace: str, key: str) -> str:
    """A short name of a text's own lemma with its polarity in a namespace."""
    return hashlib.sha256(f"key\n{namespace}\n{key}".encode()).hexdigest()[:16]


def lemma_index(namespace: str, lemma: str) -> int:
    """Dimension of a lemma in the sparse vector. Two that collide only propose a scene; `rank` asks for reasons."""
    return int(term(namespace, lemma)[:8], 16)


def key_index(namespace: str, key: str) -> int:
    """Dimension of a lemma with its polarity."""
    return int(key_term(namespace, key)[:8], 16)


def components(vector: Vector | None) -> tuple[Space, list[float]] | None:
    """Space and components of a vector; None for one of length 0, which is near nothing."""
    if vector is None or not any(vector.data):
        return None
    return space_of(vector.encoder, len(vector.data)), np.frombuffer(vector.data, np.int8).astype(float).tolist()


def space_of(encoder: str, dim: int) -> Space:
    return Space(f"{hashlib.sha256(encoder.encode()).hexdigest()[:16]}-{dim}", dim)
