"""Ranges of options, checked where a stage or backend is made in Python: the annotations that a configuration is read by."""

from __future__ import annotations

import operator
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic.fields import FieldInfo

from scenepipe.errors import Fault

_RULES: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "ge": (operator.ge, "the least is"),
    "gt": (operator.gt, "it must be more than"),
    "le": (operator.le, "the most is"),
    "lt": (operator.lt, "it must be less than"),
}


def range_faults(made: type[Any], given: Mapping[str, Any]) -> list[Fault]:
    """Numbers outside the range that the constructor's annotations name; None is in every range.

    Args:
        given: by option; ``locals()`` of the constructor will do.
    """
    hints = typing.get_type_hints(made.__init__, include_extras=True)
    return [
        Fault(key, f"{given[key]} was given; {_RULES[rule][1]} {limit}")
        for key, hint in hints.items()
        for rule, limit in _rules(hint)
        if given[key] is not None and not _RULES[rule][0](given[key], limit)
    ]


def _rules(hint: Any) -> Iterator[tuple[str, Any]]:
    """Limits in an annotation, or in one of the types that it is a choice of."""
    for field in getattr(hint, "__metadata__", ()):
        if isinstance(field, FieldInfo):
            yield from (
                (rule, getattr(each, rule)) for each in field.metadata for rule in _RULES if hasattr(each, rule)
            )
    for part in typing.get_args(hint):
        yield from _rules(part)
