"""A JSON Schema from a stranger: its size is known before any engine makes a grammar of it.

What costs an engine is not the schema's length but what it unfolds to: references that double at each step, counts of a
billion, patterns. All of that is counted here without unfolding anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from scenepipe.server.problem import invalid

MOST_NODES = 2_000
"""Schemas that one schema unfolds to, references followed."""
DEEPEST = 24
LARGEST_COUNT = 4_096
LONGEST_PATTERN = 256
LONGEST_ENUM = 1_000
_COUNTS = (
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "minContains",
    "maxContains",
)
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_ONE = ("items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else", "unevaluatedItems")
_MAPS = ("properties", "patternProperties", "dependentSchemas")
_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_REPEAT = re.compile(r"\{(\d+)(?:,(\d*))?\}")
_NESTED_REPEAT = re.compile(r"[+*}][^()]*\)\s*[+*{]")


def checked(schema: Any, where: str) -> dict[str, Any]:
    """The schema, if an engine can be asked to follow it.

    Raises:
        ApiError: it is no schema, or unfolds to more than the bounds above; says which part does.
    """
    if not isinstance(schema, dict):
        raise invalid(f"{where} must be a JSON Schema, an object", where, "invalid_json_schema")
    _Size(schema, where).of(schema, 0, frozenset())
    return schema


class _Size:
    """How many schemas a schema unfolds to; a definition is counted once and multiplied."""

    def __init__(self, root: Mapping[str, Any], where: str) -> None:
        self._root = root
        self._where = where
        self._known: dict[str, int] = {}

    def of(self, schema: Any, depth: int, above: frozenset[str]) -> int:
        if isinstance(schema, bool):
            return 1
        if not isinstance(schema, dict):
            raise self._refused("a part of it is no schema")
        if depth > DEEPEST:
            raise self._refused(f"it nests deeper than {DEEPEST} schemas")
        self._check_figures(schema)
        count = 1 + self._referred(schema, depth, above)
        for part, same_value in _parts(schema):
            count += self.of(part, depth + 1, above if same_value else frozenset())
            self._bound(count)
        return count

    def _referred(self, schema: Mapping[str, Any], depth: int, above: frozenset[str]) -> int:
        """Size of what ``$ref`` names; 0 for one that is being counted: a tree whose parts are like the whole."""
        name = schema.get("$ref")
        if name is None:
            return 0
        if not isinstance(name, str) or not name.startswith("#"):
            raise self._refused(f"$ref {name!r} leads out of it; only '#/…' is followed")
        if name in above:
            raise self._refused(f"$ref {name!r} leads back to itself and to nothing else")
        if name not in self._known:
            self._known[name] = 0
            self._known[name] = self.of(self._target(name), depth + 1, above | {name})
            self._bound(self._known[name])
        return self._known[name]

    def _target(self, name: str) -> Any:
        found: Any = self._root
        for step in name.removeprefix("#").strip("/").split("/"):
            key = step.replace("~1", "/").replace("~0", "~")
            if key == "":
                continue
            if not isinstance(found, dict) or key not in found:
                raise self._refused(f"$ref {name!r} names nothing in it")
            found = found[key]
        return found

    def _check_figures(self, schema: Mapping[str, Any]) -> None:
        for name in _COUNTS:
            value = schema.get(name, 0)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= LARGEST_COUNT:
                raise self._refused(f"{name} is {str(value)[:40]}; possible: 0 to {LARGEST_COUNT}")
        self._check_kinds(schema)
        enum = schema.get("enum", ())
        if not isinstance(enum, (list, tuple)) or len(enum) > LONGEST_ENUM:
            raise self._refused(f"an enum is a list of at most {LONGEST_ENUM} values")
        patterns = [schema.get("pattern", ""), *_map(schema, "patternProperties")]
        for pattern in patterns:
            if reason := _pattern_fault(pattern):
                raise self._refused(reason)

    def _check_kinds(self, schema: Mapping[str, Any]) -> None:
        """Engines stumble over a keyword that is of another kind than the standard has it."""
        kinds = schema.get("type", [])
        for kind in kinds if isinstance(kinds, list) else [kinds]:
            if not isinstance(kind, str) or kind not in _TYPES:
                raise self._refused(f"type is {str(kind)[:40]!r}; possible: {', '.join(_TYPES)}")
        required = schema.get("required", [])
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise self._refused("required is a list of names")
        for name in (*_MAPS, "$defs", "definitions"):
            if not isinstance(schema.get(name, {}), dict):
                raise self._refused(f"{name} is an object")
        for name in _LISTS:
            if name in schema and not (isinstance(schema[name], list) and schema[name]):
                raise self._refused(f"{name} is a list of schemas")
        if not isinstance(schema.get("items", {}), (dict, bool, list)):
            raise self._refused("items is a schema")

    def _bound(self, count: int) -> None:
        if count > MOST_NODES:
            raise self._refused(f"it unfolds to more than {MOST_NODES} schemas")

    def _refused(self, reason: str) -> Exception:
        return invalid(f"the JSON Schema cannot be taken: {reason}; simplify it", self._where, "invalid_json_schema")


def _parts(schema: Mapping[str, Any]) -> Iterator[tuple[Any, bool]]:
    """The schemas inside of a schema, and whether each is about the same value, not about a part of it."""
    for name in _LISTS:
        found = schema.get(name, ())
        yield from ((part, name != "prefixItems") for part in (found if isinstance(found, list) else ()))
    for name in _ONE:
        if isinstance(schema.get(name), (dict, bool)):
            yield schema[name], name in ("not", "if", "then", "else")
    if isinstance(schema.get("items"), list):
        yield from ((part, False) for part in schema["items"])
    for name in _MAPS:
        yield from ((part, name == "dependentSchemas") for part in _map(schema, name).values())


def _map(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = schema.get(name, {})
    return found if isinstance(found, dict) else {}


def _pattern_fault(pattern: Any) -> str | None:
    """Why a pattern is not taken: length, counts, repeats of repeats. It is never run here."""
    if not isinstance(pattern, str):
        return "a pattern must be a string"
    if len(pattern) > LONGEST_PATTERN:
        return f"a pattern has {len(pattern)} characters; at most {LONGEST_PATTERN}"
    if any(int(number) > LARGEST_COUNT for pair in _REPEAT.findall(pattern) for number in pair if number):
        return f"a pattern repeats more than {LARGEST_COUNT} times"
    if _NESTED_REPEAT.search(pattern):
        return "a pattern repeats what repeats, such as (a+)+"
    return None
