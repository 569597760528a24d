"""Scenes and encounters as points of a vector engine: an id, a payload that holds the whole record, vectors to find by.

The payload repeats some parts of the record beside it, because an engine filters by payload fields. The record itself
is one JSON string with a digest, so that it comes back byte for byte whatever the engine does with JSON values.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from scenepipe.contracts import Encounter
from scenepipe.errors import ArchiveError
from scenepipe.memory.records import analysis_of, chain_json, chain_of, digest
from scenepipe.recall import lemma_of, symbol_keys
from scenepipe.scene import SCENE_NAMESPACE, Scene, Vector

Kind = Literal["scenes", "encounters"]
KINDS: tuple[Kind, ...] = ("scenes", "encounters")
Payload = Mapping[str, Any]
Where = Mapping[str, Sequence[str]]
"""Payload field -> values of which it has one; every field has to agree."""

INDEXED: Mapping[Kind, tuple[str, ...]] = {
    "scenes": ("scene", "namespace", "key", "chain_id", "terms"),
    "encounters": ("scene", "namespace", "chat"),
}
"""Fields that are filtered by, all of them keywords."""


class Outage(ArchiveError):
    """The engine or its server is the reason, not what was written."""


@dataclass(frozen=True)
class Space:
    """Vectors that may be compared: those of one encoder and one length."""

    name: str
    dim: int


@dataclass(frozen=True)
class Point:
    """One record of an engine.

    Args:
        terms: sparse vector: hashed lemmas and keys, each with weight 1; scenes only.
        vector: the space and the components; None where the scene has no vector, or one of length 0.
    """

    id: str
    payload: Payload
    terms: Mapping[int, float] | None = None
    vector: tuple[Space, list[float]] | None = None


@dataclass(frozen=True)
class Search:
    """One search among scenes: by ``terms`` (dot product), by ``vector`` (cosine), or, without both, by filter alone."""

    where: Where
    limit: int
    terms: Mapping[int, float] | None = None
    vector: tuple[Space, list[float]] | None = None


class Engine(Protocol):
    """What an archive needs of a vector engine. Calls block; the engine's own errors may pass through `named`."""

    name: str

    def open(self) -> None: ...

    def close(self) -> None: ...

    def insert(self, scenes: Sequence[Point], encounters: Sequence[Point]) -> None:
        """Write points that are not there yet, leave the others as they are, scenes first. On disk when it returns."""
        ...

    def fetch(self, kind: Kind, ids: Sequence[str], fields: Sequence[str]) -> list[Payload]:
        """These fields of the points that exist, in any order."""
        ...

    def select(self, kind: Kind, where: Where, fields: Sequence[str]) -> Iterable[Payload]:
        """These fields of every point that agrees, in any order."""
        ...

    def count(self, wheres: Sequence[Where]) -> list[int]:
        """How many scene points agree with each."""
        ...

    def search(self, searches: Sequence[Search], fields: Sequence[str]) -> list[list[tuple[Payload, float]]]:
        """Payloads with scores, best first, for each search. A space that no point is in finds nothing."""
        ...


# --- Records as points -----------------------------------------------------------------------------------------------


def scene_point(scene: Scene, ordinal: int) -> Point:
    """One analysis of a scene; ``ordinal`` counts the analyses of that scene from 1."""
    space, data, keys = scene.origin.namespace, scene.to_json(vectors=True), symbol_keys(scene)
    payload = {
        **_findable(scene),
        "ordinal": ordinal,
        "created": scene.created.isoformat(),
        "keys": list(keys),
        "chain": chain_of(scene),
        "code": str(scene.delta) if scene.delta else None,
        "json": data,
        "digest": digest(data, str(ordinal)).hex(),
    }
    hashed = [lemma_index(space, lemma_of(key)) for key in keys] + [key_index(space, key) for key in keys]
    vector = scene.field.vector if scene.field else None
    return Point(scene_point_id(scene.id, analysis_of(scene)), payload, dict.fromkeys(hashed, 1.0), components(vector))


def _findable(scene: Scene) -> dict[str, Any]:
    """The fields that a scene is found by."""
    space = scene.origin.namespace
    return {
        "scene": scene.id,
        "analysis": analysis_of(scene),
        "namespace": space,
        "key": scene.key,
        "chain_id": chain_id(scene.linkage.chain if scene.linkage else ()),
        "terms": list(dict.fromkeys(term(space, lemma_of(key)) for key in symbol_keys(scene))),
    }


def encounter_point(encounter: Encounter) -> Point:
    """One encounter, its time in UTC."""
    data = encounter.model_dump_json()
    payload = {**_traceable(encounter), "at": encounter.at.isoformat(), "json": data, "digest": digest(data).hex()}
    return Point(encounter_point_id(encounter.id), payload)


def _traceable(encounter: Encounter) -> dict[str, Any]:
    return {
        "id": encounter.id,
        "scene": encounter.scene_id,
        "namespace": encounter.namespace,
        "chat": encounter.chat,
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
    """The scene of a point, whose filter fields are checked too."""
    scene = to_scene(payload)
    if any(payload.get(name) != value for name, value in _findable(scene).items()):
        raise ArchiveError("the fields do not match the scene")
    return scene


def to_encounter(payload: Payload) -> Encounter:
    """The encounter of a point.

    Raises:
        ArchiveError, ValueError: the record was changed after it was written.
    """
    data = payload["json"]
    encounter = Encounter.model_validate_json(data)
    if digest(data).hex() != payload["digest"] or any(payload.get(k) != v for k, v in _traceable(encounter).items()):
        raise ArchiveError("the digest does not match")
    return encounter


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


def lemma_index(namespace: str, lemma: str) -> int:
    """Dimension of a lemma in the sparse vector. Two that collide only propose a scene; `rank` asks for reasons."""
    return int(term(namespace, lemma)[:8], 16)


def key_index(namespace: str, key: str) -> int:
    """Dimension of a lemma with its polarity."""
    return int(hashlib.sha256(f"key\n{namespace}\n{key}".encode()).hexdigest()[:8], 16)


def components(vector: Vector | None) -> tuple[Space, list[float]] | None:
    """Space and components of a vector; None for one of length 0, which is near nothing."""
    if vector is None or not any(vector.data):
        return None
    return space_of(vector.encoder, len(vector.data)), np.frombuffer(vector.data, np.int8).astype(float).tolist()


def space_of(encoder: str, dim: int) -> Space:
    return Space(f"{hashlib.sha256(encoder.encode()).hexdigest()[:16]}-{dim}", dim)
