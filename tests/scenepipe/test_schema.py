"""The schema that lies beside the shipped pipelines is the one the code makes, and the pipelines are valid under it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from scenepipe.config import load_config
from scenepipe.registry import Registry
from scenepipe.rooms import room, shipped_pipelines
from scenepipe.schema import json_schema
from scenepipe.yaml_source import read_yaml

SHIPPED = sorted(shipped_pipelines().values())


def test_the_shipped_schema_is_current() -> None:
    shipped = json.loads((room("pipelines") / "pipeline.schema.json").read_text(encoding="utf-8"))
    assert shipped == json_schema(), "run: scenepipe schema > pipelines/pipeline.schema.json"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_shipped_pipelines_are_valid_and_carry_the_modeline(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registry, "missing", lambda *_: [])  # a package that is not installed is no fault of the file
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=./pipeline.schema.json\n")
    jsonschema.validate(read_yaml(text).value, json_schema())
    assert load_config(path).stages


@pytest.mark.parametrize(
    "wrong", [{"use": "rule-scen"}, {"use": "decode", "max_token": 3}, {"use": "decode", "max_tokens": 0}]
)
def test_the_schema_refuses_what_the_parser_refuses(wrong: dict[str, object]) -> None:
    document = {"scenepipe": 1, "name": "x", "stages": [wrong]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, json_schema())
