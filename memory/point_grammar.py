"""The hypertokens of an archive in a vector engine, kept in memory.

What this process writes is counted at once. An engine that others write to as well is read again when its counts say
that they did, but for at most a twentieth of the time: it cannot name what is new.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from scenepipe.folding.grammar import Grammar
from scenepipe.folding.recent import Recent
from scenepipe.memory.point_engine import Engine, Payload, Point, age
from scenepipe.memory.records import chains_from
from scenepipe.scene import Hypertoken

PAUSE = 20.0
"""Time from one reading of a namespace to the next, in readings."""


@dataclass
class _Kept:
    """A grammar, the points that it has read, the tombstones there were then, when it may be read again."""

    grammar: Grammar
    points: int
    stones: int
    again: float


class Grammars:
    """A grammar for each namespace that was asked about lately."""

    def __init__(self) -> None:
        self._kept: Recent[str, _Kept] = Recent()

    def clear(self) -> None:
        """Something was removed: everything is read again when it is asked for."""
        self._kept.clear()

    def wrote(self, scenes: Iterable[Point]) -> None:
        """Count scene points that were inserted; each is the latest analysis of its scene."""
        for point in scenes:
            kept = self._kept.get(point.payload["namespace"])
            if kept is not None:
                _put(kept.grammar, point.payload)
                kept.points += 1

    def hypertokens(self, engine: Engine, namespace: str) -> tuple[Hypertoken, ...]:
        """Repeated chains of a namespace, by the latest analysis of each scene."""
        kept = self._kept.take(namespace)
        if kept is None or (engine.shared and _is_old(kept, engine, namespace)):
            kept = _read(engine, namespace)
        self._kept.put(namespace, kept)
        return kept.grammar.hypertokens()


def _is_old(kept: _Kept, engine: Engine, namespace: str) -> bool:
    return time.monotonic() >= kept.again and _counts(engine, namespace) != (kept.points, kept.stones)


def _counts(engine: Engine, namespace: str) -> tuple[int, int]:
    """Scene points and tombstones of a namespace."""
    [scenes] = engine.count([{"namespace": [namespace]}])
    [stones] = engine.count([{"namespace": [namespace], "kind": ["forgotten"]}], "encounters")
    return scenes, stones


def _read(engine: Engine, namespace: str) -> _Kept:
    began, grammar, count = time.monotonic(), Grammar(), 0
    _, stones = _counts(engine, namespace)
    newest: dict[str, Payload] = {}
    for row in engine.select("scenes", {"namespace": [namespace]}, ("scene", "analysis", "ordinal", "chains")):
        newest[row["scene"]] = max(newest.get(row["scene"], row), row, key=age)
        count += 1
    for row in newest.values():
        _put(grammar, row)
    now = time.monotonic()
    return _Kept(grammar, count, stones, now + PAUSE * (now - began))


def _put(grammar: Grammar, payload: Payload) -> None:
    grammar.put(payload["scene"], chains_from(payload["chains"]))
