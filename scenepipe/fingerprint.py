"""What makes two configurations the same to a run that is resumed."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from scenepipe.config import KEYS, PipelineConfig
from scenepipe.variables import SECRET_TYPES


def fingerprint_parts(config: PipelineConfig) -> dict[str, Any]:
    """What a resumed run must find unchanged, as plain JSON values: all of it but secrets, the pipeline's name, and the
    limits that decide only whether a run finishes (budget, deadline). The caller adds hashes of model and registers."""
    parts = {key: getattr(config, key) for key in KEYS if key not in ("name", "budget", "deadline_s")}
    return typing.cast("dict[str, Any]", _normal(parts))


def _normal(value: Any) -> Any:
    """A value as JSON would hold it, in one canonical form; secrets are left out."""
    if isinstance(value, BaseModel):
        return _normal({name: getattr(value, name) for name in type(value).model_fields})
    if isinstance(value, Mapping):
        pairs = {str(key): _normal(inner) for key, inner in value.items() if not isinstance(inner, SECRET_TYPES)}
        return dict(sorted(pairs.items()))
    if isinstance(value, (set, frozenset)):
        return sorted((_normal(inner) for inner in value), key=repr)
    if isinstance(value, (list, tuple)):
        return [_normal(inner) for inner in value if not isinstance(inner, SECRET_TYPES)]
    if isinstance(value, Enum):
        return _normal(value.value)
    if isinstance(value, PurePath):
        return value.as_posix()
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return value if abs(value) < float("inf") else repr(value)
    return to_jsonable_python(value, fallback=lambda other: f"<{type(other).__qualname__}>")
