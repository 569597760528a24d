"""JSON Schema of the pipeline YAML: editors complete and refuse with it. Made from the constructors, so nothing can drift."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from scenepipe.config import SECTIONS, PipelineConfig
from scenepipe.registry import KINDS, Kind, Registry, default_registry
from scenepipe.variables import VARIABLE_NAME

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REF = "#/$defs/"
_ENV = {"type": "string", "pattern": r"\$\{"}
_SECRET = {
    "type": "object",
    "properties": {"secret": {"type": "string", "pattern": f"^{VARIABLE_NAME.pattern}$"}},
    "required": ["secret"],
    "additionalProperties": False,
}


class _Generator(GenerateJsonSchema):
    """Pydantic's generator; a default or type that JSON cannot hold is left out instead of raising."""

    ignored_warning_kinds = {"non-serializable-default", "skipped-choice"}  # noqa: RUF012 - pydantic's own declaration

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:
        return {}


def json_schema(registry: Registry | None = None) -> dict[str, Any]:
    """JSON Schema (2020-12) of the YAML, with the options of every name that this registry can load.

    It is stricter than the parser in one way: ``${NAME}`` counts as a value of any scalar type, but another string
    does not count as a number.
    """
    registry = default_registry() if registry is None else registry
    models = {kind: _options_models(registry, kind) for kind in KINDS}
    all_models: list[type[BaseModel]] = [PipelineConfig]
    all_models += (model for by_name in models.values() for model in by_name.values())
    refs, schema = models_json_schema(
        [(model, "validation") for model in all_models], ref_template=_REF + "{model}", schema_generator=_Generator
    )
    names = {model: refs[model, "validation"]["$ref"].removeprefix(_REF) for model in all_models}
    definitions = {name: _yaml_form(each) for name, each in schema["$defs"].items()}
    form: dict[str, Any] = definitions.pop(names[PipelineConfig])
    definitions.pop(form["properties"]["stages"]["items"]["$ref"].removeprefix(_REF))
    for kind, by_name in models.items():
        definitions[kind] = _choice(definitions, {name: names[model] for name, model in by_name.items()})
    for key, kind in SECTIONS.items():
        one: dict[str, Any] = {"$ref": _REF + kind}
        field = (
            {"type": "array", "minItems": 1, "items": one} if key == "stages" else {"anyOf": [one, {"type": "null"}]}
        )
        form["properties"][key] = {"description": form["properties"][key]["description"]} | field
    del form["properties"]["source"]
    return {"$schema": _DIALECT} | form | {"title": "scenepipe pipeline", "$defs": definitions}


def _options_models(registry: Registry, kind: Kind) -> dict[str, type[BaseModel]]:
    entries = registry.entries(kind, probe=True)
    return {entry.name: registry.options(kind, entry.name) for entry in entries if entry.fault is None}


def _choice(definitions: dict[str, Any], by_name: Mapping[str, str]) -> dict[str, Any]:
    """The choice among the names of one kind; each definition gets its ``use``."""
    bare: list[str] = []
    for name, definition in by_name.items():
        own = definitions[definition]
        spellings = [name] if "@" in name else [name, f"{name}@1"]
        bare += [] if own.get("required") else spellings
        use = {"enum": spellings, "description": own.get("description", "")}
        own |= {"title": name, "properties": {"use": use, **own.get("properties", {})}}
        own["required"] = ["use", *own.get("required", ())]
    by_variable = {"type": "object", "properties": {"use": _ENV}, "required": ["use"]}
    return {"anyOf": [{"enum": bare}, _ENV, *({"$ref": _REF + each} for each in by_name.values()), by_variable]}


def _yaml_form(schema: Any) -> Any:
    """A pydantic schema with what YAML allows beside plain values: ``${NAME}`` for scalars, ``{secret: NAME}``."""
    if isinstance(schema, list):
        return [_yaml_form(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    about = {key: schema[key] for key in ("title", "description", "default") if key in schema}
    if schema.get("format") == "password":
        return _SECRET | {key: text for key, text in about.items() if key != "default"}
    plain = {key: value for key, value in schema.items() if key not in about}
    for key in ("properties", "$defs", "patternProperties"):
        if key in plain:
            plain[key] = {name: _yaml_form(each) for name, each in plain[key].items()}
    for key in ("items", "prefixItems", "additionalProperties", "anyOf", "oneOf", "allOf"):
        if key in plain:
            plain[key] = _yaml_form(plain[key])
    scalar = plain.get("type") in ("integer", "number", "boolean") or "enum" in plain or "const" in plain
    narrow = plain.get("type") == "string" and len(plain) > 1
    return about | ({"anyOf": [plain, _ENV]} if scalar or narrow else plain)
