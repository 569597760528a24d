"""Function words of both languages: stop words, negators, intensifiers, contrast words (data/closed_class.toml)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class ClosedClass:
    """The closed-class words of one language, in folded form.

    Args:
        stop: lemmas without content of their own.
        verbal_negators: negate the next content word (не, not, never).
        nominal_negators: negate a noun (нет, без, no, without).
        not_negating_next: words after which a negator negates nothing (не только, not only).
        not_negating_previous: the same, before it (чуть не).
        contrast: words that set two things against each other.
        intensity: factor on the affect of the next word.
        before_verb, before_noun: words after which a form of unknown part is a verb, a noun (English).
        verbs, adjectives, adverbs: frequent lemmas whose part their ending does not show (English).
    """

    stop: frozenset[str]
    verbal_negators: frozenset[str]
    nominal_negators: frozenset[str]
    not_negating_next: frozenset[str]
    not_negating_previous: frozenset[str]
    contrast: frozenset[str]
    intensity: Mapping[str, float]
    before_verb: frozenset[str] = frozenset()
    before_noun: frozenset[str] = frozenset()
    verbs: frozenset[str] = frozenset()
    adjectives: frozenset[str] = frozenset()
    adverbs: frozenset[str] = frozenset()


@cache
def closed_class(code: str) -> ClosedClass:
    """The words of ``ru`` or ``en``; English for any other code."""
    return _tables()["ru" if code == "ru" else "en"]


def denies(word: str) -> bool:
    """Whether a folded word negates, in either language: не, нет, never, don't, nothing."""
    return word in _denying() or word.endswith("n't")


@cache
def _denying() -> frozenset[str]:
    return frozenset().union(*(table.verbal_negators | table.nominal_negators for table in _tables().values()))


@cache
def _tables() -> dict[str, ClosedClass]:
    data = tomllib.loads(files("scenepipe.analysis.data").joinpath("closed_class.toml").read_text("utf-8"))
    return {code: ClosedClass(**{key: _value(value) for key, value in table.items()}) for code, table in data.items()}


def _value(value: Any) -> Any:
    return frozenset(value.split()) if isinstance(value, str) else dict(value)
