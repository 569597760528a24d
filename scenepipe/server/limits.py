"""What a request may cost before anybody looks at what it says: bytes, seconds, depth, characters."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request

from scenepipe.server.problem import ApiError, ClientGone, invalid
from scenepipe.server.settings import Settings

B = TypeVar("B", bound=BaseModel)
DEEPEST = 64
"""Levels of nesting in a body; JSON Schemas in use have fewer than 20."""


async def read_body(request: Request, model: type[B], settings: Settings) -> B:
    """The JSON body of a request as one of its models; what the model does not know is passed over.

    Raises:
        ApiError: too long (413), too slow (408), no JSON, too deep, not UTF-8, or not the model (400).
    """
    data = await _bytes(request, settings)
    value = parsed(data)
    if not isinstance(value, dict):
        raise invalid(f"the body must be a JSON object; it is {_kind(value)}", code="invalid_json")
    return model.model_validate(value)


async def _bytes(request: Request, settings: Settings) -> bytes:
    limit, length = settings.body_bytes, request.headers.get("content-length")
    if length is not None and length.isdigit() and int(length) > limit:
        raise _too_large(int(length), limit)
    if request.headers.get("content-encoding", "identity") != "identity":
        raise ApiError(415, "compressed bodies are not taken; send the JSON as it is", code="unsupported_encoding")
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(settings.read_s):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise _too_large(size, limit)
                chunks.append(chunk)
    except TimeoutError:
        raise ApiError(
            408, f"the body did not arrive within {settings.read_s:g} s", code="body_timeout", headers=_CLOSE
        ) from None
    except ClientDisconnect:
        raise ClientGone from None
    return b"".join(chunks)


_CLOSE = {"Connection": "close"}


def _too_large(size: int, limit: int) -> ApiError:
    return ApiError(
        413,
        f"the body has {size} bytes or more, at most {limit} are taken; send less",
        code="body_too_large",
        headers=_CLOSE,
    )


def parsed(data: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ApiError: it is none, is not UTF-8, holds a number that is none, or nests too deep.
    """
    try:
        value = from_json(data, allow_inf_nan=False)
    except (ValueError, RecursionError) as error:
        raise invalid(f"the body is not JSON: {error}", code="invalid_json") from None
    if too_deep(value, DEEPEST):
        raise invalid(f"the body nests deeper than {DEEPEST} levels; make it flatter", code="too_deep")
    return value


def too_deep(value: Any, most: int) -> bool:
    """Whether a JSON value nests deeper than so many levels."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(most):
        if not level:
            return False
        parts = (inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer))
        level = [part for part in parts if isinstance(part, (dict, list))]
    return bool(level)


def check_text(text: str, where: str, settings: Settings) -> str:
    """The text, if it can be taken.

    Raises:
        ApiError: it is too long, or no Unicode text.
    """
    if len(text) > settings.text_characters:
        raise invalid(
            f"{where} has {len(text)} characters, at most {settings.text_characters} are taken; cut it",
            where,
            "string_too_long",
        )
    if "\x00" in text:
        raise invalid(f"{where} holds a NUL character, which no text does; leave it out", where, "invalid_value")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise invalid(f"{where} has a lone surrogate at character {error.start}", where, "invalid_value") from None
    return text


def _kind(value: Any) -> str:
    names = {list: "an array", str: "a string", type(None): "null", bool: "a boolean"}
    return names.get(type(value), "a number")
