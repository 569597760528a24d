"""Each option of a built-in backend that has a range is checked where the backend is made in Python, too."""

from __future__ import annotations

import math
from typing import Annotated, Any

import pytest
from pydantic import Field

from scenepipe.backends.llama_cpp import LlamaCpp
from scenepipe.backends.openai import OpenAI
from scenepipe.backends.transformers import Transformers
from scenepipe.backends.triton import Triton
from scenepipe.backends.vllm import Vllm
from scenepipe.errors import ConfigError
from scenepipe.option_ranges import range_faults
from scenepipe.registry import options_model

NEEDED: dict[type[Any], dict[str, Any]] = {
    LlamaCpp: {},
    Transformers: {},
    Vllm: {},
    OpenAI: {"url": "http://127.0.0.1:1", "flavour": "vllm"},
    Triton: {"url": "http://127.0.0.1:1", "served": "m"},
}


class Example:
    def __init__(
        self,
        *,
        free: int = 0,
        least: Annotated[int, Field(ge=2)] = 2,
        part: Annotated[float, Field(gt=0, lt=1)] | None = None,
        most: Annotated[int, Field(ge=0, le=3)] = 1,
    ) -> None: ...


def faults(**given: Any) -> list[str]:
    found = range_faults(Example, {"free": -5, "least": 2, "part": None, "most": 3, **given})
    return [f"{fault.where}: {fault.message}" for fault in found]


def test_every_kind_of_limit_is_named() -> None:
    assert faults() == faults(part=0.5) == []
    assert faults(least=1, part=0, most=4) == [
        "least: 1 was given; the least is 2",
        "part: 0 was given; it must be more than 0",
        "most: 4 was given; the most is 3",
    ]
    assert faults(part=1.0) == ["part: 1.0 was given; it must be less than 1"]
    assert faults(part=math.nan) == [
        "part: nan was given; it must be more than 0",
        "part: nan was given; it must be less than 1",
    ]


@pytest.mark.parametrize("backend", NEEDED, ids=lambda backend: backend.name)
def test_each_limit_of_a_configuration_holds_in_python(backend: type[Any]) -> None:
    limited = {
        name: field["exclusiveMinimum"] if "exclusiveMinimum" in field else field["minimum"] - 1
        for name, told in options_model(backend).model_json_schema()["properties"].items()
        for field in (told, *told.get("anyOf", ()))
        if "minimum" in field or "exclusiveMinimum" in field
    }
    assert len(limited) >= 4
    for name, value in limited.items():
        with pytest.raises(ConfigError, match=rf"{name}: {value}(\.0)? was given"):
            backend(**NEEDED[backend], **{name: value})
