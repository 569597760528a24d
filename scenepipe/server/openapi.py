"""``GET /openapi.json``: the routes and their bodies, made from the same models that check them."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from scenepipe.server.auth import PUBLIC
from scenepipe.server.drawn import DrawBody, GraphBody
from scenepipe.server.openai_types import (
    ChatBody,
    CompletionBody,
    EmbeddingsBody,
    ExplainBody,
    ResponsesBody,
    SearchBody,
    TextsBody,
)

_BODIES: dict[str, tuple[type[BaseModel], str]] = {
    "/v1/chat/completions": (ChatBody, "A reply to messages"),
    "/v1/completions": (CompletionBody, "A prompt, passed through"),
    "/v1/responses": (ResponsesBody, "A reply, in the form of the Responses API"),
    "/v1/embeddings": (EmbeddingsBody, "Vectors of texts"),
    "/v1/scenes": (TextsBody, "Texts to scenes, without a model"),
    "/v1/tokenize": (TextsBody, "Pieces and symbols of texts"),
    "/v1/memory/search": (SearchBody, "What a text calls back"),
    "/v1/explain": (ExplainBody, "What would happen to a text"),
    "/v1/draw": (DrawBody, "A scene as a picture"),
    "/v1/memory/graph": (GraphBody, "What stands around a text in memory, as a picture"),
}
_GETS = {"/v1/models": "Who can be asked", "/health": "Alive", "/ready": "Ready", "/metrics": "Figures"}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


@cache
def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    models = list(dict.fromkeys(model for model, _ in _BODIES.values()))
    _, schemas = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, Any] = {path: {"get": _operation(path, what)} for path, what in _GETS.items()}
    for path, (model, what) in _BODIES.items():
        body = {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}
        operation = _operation(path, what)
        operation["requestBody"] = {"required": True, "content": {"application/json": body}}
        paths[path] = {"post": operation}
    return {
        "openapi": "3.1.0",
        "info": {"title": "scenepipe", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": {**schemas["$defs"], "Error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(path: str, what: str) -> dict[str, Any]:
    error = {"description": "An error", "content": {"application/json": {"schema": {"$ref": _ERROR_REF}}}}
    found: dict[str, Any] = {"summary": what, "responses": {"200": {"description": what}, "4XX": error, "5XX": error}}
    if path not in PUBLIC:
        found["security"] = [{"key": []}]
    return found


_ERROR_REF = "#/components/schemas/Error"


async def openapi(request: HttpRequest) -> Response:
    """The document."""
    return JSONResponse(document())
