"""A small value that a JSON Schema allows: what a model without a model says where a schema is asked for."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from scenepipe.errors import BackendError

_DEEPEST_SCHEMA = 32


def minimal_instance(schema: Mapping[str, Any], *, _root: Mapping[str, Any] | None = None, _depth: int = 0) -> Any:
    """A small value that a JSON Schema allows.

    Knows const, enum, default, local ``$ref``, anyOf, oneOf, allOf (merged), the types, required properties, and the
    least length, size and value; not ``pattern``, ``format`` or ``not``.

    Raises:
        BackendError: the schema recurses without end.
    """
    root = schema if _root is None else _root
    if _depth > _DEEPEST_SCHEMA:
        raise BackendError(f"the JSON Schema nests more than {_DEEPEST_SCHEMA} required values")
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if schema.get("enum"):
        return schema["enum"][0]
    if part := _chosen_part(schema, root):
        return minimal_instance(
            {**{k: v for k, v in schema.items() if k not in _PARTS}, **part}, _root=root, _depth=_depth + 1
        )
    return _of_type(schema, root, _depth)


_PARTS = ("$ref", "anyOf", "oneOf", "allOf")


def _chosen_part(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if "$ref" in schema:
        target: Any = root
        for step in str(schema["$ref"]).removeprefix("#").strip("/").split("/"):
            target = target[step] if step else target
        return dict(target)
    if "allOf" in schema:
        return {key: value for part in schema["allOf"] for key, value in part.items()}
    options = schema.get("anyOf") or schema.get("oneOf")
    return dict(options[0]) if options else None


def _of_type(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "null")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        known = schema.get("properties", {})
        return {
            name: minimal_instance(known.get(name, {}), _root=root, _depth=depth + 1)
            for name in schema.get("required", ())
        }
    if kind == "array":
        item = schema.get("items", {})
        return [minimal_instance(item, _root=root, _depth=depth + 1) for _ in range(schema.get("minItems", 0))]
    if kind == "string":
        return "x" * schema.get("minLength", 0)
    if kind in ("integer", "number"):
        return _least_number(schema, whole=kind == "integer")
    return {"boolean": False}.get(kind)


def _least_number(schema: Mapping[str, Any], *, whole: bool) -> float:
    """0 where the bounds allow it, or a bound, or the step or the middle beside an excluded one."""
    bounds = {
        key: schema[key] for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum") if key in schema
    }
    tries = [0, *bounds.values(), *(v + 1 for v in bounds.values()), *(v - 1 for v in bounds.values())]
    tries += [math.ceil(v) for v in bounds.values()] + [math.floor(v) for v in bounds.values()]
    tries.append(sum(bounds.values()) / max(1, len(bounds)))
    for value in tries:
        if not (whole and value != int(value)) and all(_ALLOWS[key](bound, value) for key, bound in bounds.items()):
            return int(value) if whole else float(value)
    raise BackendError(f"no number was found within {bounds}")


_ALLOWS: Mapping[str, Callable[[float, float], bool]] = {
    "minimum": operator.le,
    "maximum": operator.ge,
    "exclusiveMinimum": operator.lt,
    "exclusiveMaximum": operator.gt,
}
