"""What recall filters scenes by: registers, Δ-codes and measures. Filters leave out; they never raise a score."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from scenepipe.contracts import Encounter, Measure, Query
from scenepipe.scene import Reading, Scene

Facets = Mapping[str, float]
"""Facet name -> figure: ``register:poet`` 0.5, ``code:Δ41@c1`` its margin, ``valence`` -0.3."""


@dataclass(frozen=True)
class Condition:
    """A scene meets it when one of these facets is known and within the inclusive bounds."""

    names: Sequence[str]
    low: float = -math.inf
    high: float = math.inf

    @property
    def is_bounded(self) -> bool:
        return (self.low, self.high) != (-math.inf, math.inf)


def facets_of(scene: Scene) -> dict[str, float]:
    """Everything of a scene that `conditions_of` can ask for; an unknown figure has no facet."""
    weights = scene.registers.weights if scene.registers else {}
    found = {f"register:{name}": weight for name, weight in weights.items() if weight > 0}
    if scene.delta:
        found[f"code:{scene.delta}"] = scene.delta.margin
    return found | {name: figure.value for name, figure in _measures(scene) if figure.value is not None}


def _measures(scene: Scene) -> Iterator[tuple[Measure, Reading[float]]]:
    if scene.emotion:
        yield "valence", scene.emotion.valence
        yield "arousal", scene.emotion.arousal
        yield "dominance", scene.emotion.dominance
    if scene.tension:
        yield "tension", scene.tension.level


def conditions_of(query: Query) -> list[Condition]:
    """The filters of a query that look at the scene; all have to be met."""
    found = [Condition([f"register:{name}" for name in query.registers])] if query.registers else []
    found += [Condition([f"code:{code}" for code in query.codes])] if query.codes else []
    return found + [Condition([measure], low, high) for measure, (low, high) in query.ranges.items()]


def meets(conditions: Sequence[Condition], facets: Facets) -> bool:
    """Whether a scene with these facets meets every condition."""
    return all(any(each.low <= facets[n] <= each.high for n in each.names if n in facets) for each in conditions)


# --- By what was met -------------------------------------------------------------------------------------------------


def asks_encounters(query: Query) -> bool:
    """Whether a filter looks at the encounters of a scene."""
    return query.chat is not None or bool(query.kinds) or query.since is not None or query.until is not None


def answers(query: Query, encounter: Encounter) -> bool:
    """Whether one encounter has the chat, kind and time that a query asks for, in its namespace."""
    return (
        encounter.namespace == query.namespace
        and query.chat in (None, encounter.chat)
        and (not query.kinds or encounter.kind in query.kinds)
        and (query.since is None or moment(query.since) <= moment(encounter.at))
        and (query.until is None or moment(encounter.at) <= moment(query.until))
    )


def moment(at: datetime) -> datetime:
    """A time in UTC; one without a zone is taken as UTC."""
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
