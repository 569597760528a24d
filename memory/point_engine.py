"""What an archive needs of a vector engine: points, conditions, searches, and the calls that each engine has to answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from scenepipe.contracts import Measure
from scenepipe.errors import ArchiveError
from scenepipe.memory.worker import pages

Kind = Literal["scenes", "encounters"]
KINDS: tuple[Kind, ...] = ("scenes", "encounters")
Payload = Mapping[str, Any]
Where = Mapping[str, Sequence[str]]
"""Payload field -> values of which it has one; every field has to agree."""

MEASURES: tuple[Measure, ...] = ("valence", "arousal", "dominance", "tension")
INDEXED: Mapping[Kind, tuple[str, ...]] = {
    "scenes": ("scene", "namespace", "key", "chain_id", "terms", "register", "code", *MEASURES),
    "encounters": ("scene", "namespace", "chat", "kind"),
}
"""Fields that are filtered by, all of them keywords."""
FOUND = ("scene", "namespace", "created", "keys", "figures")
"""Fields that a search tells of a scene."""


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
    """What an archive needs of a vector engine. Calls block.

    ``shared``: other processes may write at the same time. ``outdated``: set by `open` when the points were written by
    an older version; they are read and written again, then `mark_current` says so.
    """

    name: str
    shared: bool
    outdated: bool

    def open(self) -> None: ...

    def close(self) -> None: ...

    def insert(self, scenes: Sequence[Point], encounters: Sequence[Point]) -> None:
        """Write points that are not there yet, leave the others as they are, scenes first. On disk when it returns."""
        ...

    def replace(self, kind: Kind, fresh: Sequence[Point]) -> None:
        """Write points over those of the same ids. On disk when it returns."""
        ...

    def remove(self, scenes: Sequence[str], encounters: Sequence[str]) -> None:
        """Remove the points of these ids. On disk when it returns."""
        ...

    def compact(self) -> None:
        """Let no file of this process keep bytes of what was removed."""
        ...

    def mark_current(self) -> None:
        """Every point has the form of this version."""
        ...

    def tidy(self) -> None:
        """Housekeeping after a write was acknowledged; may take long."""
        ...

    def fetch(self, kind: Kind, ids: Sequence[str], fields: Sequence[str]) -> list[Payload]:
        """These fields of the points that exist, in any order."""
        ...

    def select(self, kind: Kind, where: Where, fields: Sequence[str]) -> Iterable[Payload]:
        """These fields of every point that agrees, in any order."""
        ...

    def count(self, wheres: Sequence[Where], kind: Kind = "scenes") -> list[int]:
        """How many points agree with each."""
        ...

    def search(self, searches: Sequence[Search]) -> list[list[tuple[Payload, float]]]:
        """Payloads (the fields `FOUND`) with scores, best first, for each search.

        A space that no point is in finds nothing. One that knows a highest limit gives no more than that.
        """
        ...


def select_in(
    engine: Engine, kind: Kind, field: str, values: Sequence[str], fields: Sequence[str], more: Where | None = None
) -> Iterator[Payload]:
    """`Engine.select` of the points of which a field has one of any number of values, a page of them at a time."""
    for page in pages(list(dict.fromkeys(values))):
        yield from engine.select(kind, {**(more or {}), field: page}, fields)


def age(row: Payload) -> tuple[int, str]:
    """Later analyses are greater. Two processes that analysed a scene at once may have given one ordinal twice."""
    return row["ordinal"], row["analysis"]
