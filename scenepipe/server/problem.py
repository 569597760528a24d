"""Errors as the OpenAI API words them: one envelope for everything that is not an answer.

    {"error": {"message": "…", "type": "invalid_request_error", "param": "messages.0.content", "code": "…"}}

Clients of that API try 408, 409, 429 and 5xx again by themselves; ``x-should-retry: false`` tells them where that is
no use.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json
from starlette.responses import Response

from scenepipe.errors import (
    ArchiveError,
    BackendError,
    DeadlineError,
    InputError,
    MissingExtraError,
    MixtureError,
    ModelError,
    ScenepipeError,
    StageError,
)

JSON = "application/json"
RETRY_SECONDS = 2


class ApiError(Exception):
    """A request that is answered with an error.

    Args:
        param: dotted path of the wrong part of the body.
        retry_after: seconds after which trying again may help; None where it will not.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str | None = None,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind or _KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
        self.param = param
        self.code = code
        self.retry_after = retry_after
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The envelope."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": error}

    def response(self) -> Response:
        """The envelope with its status and headers."""
        headers = dict(self.headers)
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, round(self.retry_after)))
        elif self.status >= 500 or self.status in (408, 409, 429):
            headers["x-should-retry"] = "false"
        return Response(to_json(self.body()), self.status, headers, JSON)


class ClientGone(Exception):
    """The client left before its answer was whole; there is nobody to tell."""


_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}


_FIELD = re.compile(r"(?!(?:str|int|float|bool|function-.*)$)[\w.@-]{1,64}")
"""What stands in a place of a body; pydantic names the branch of a union there, too."""


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """400: a value that cannot be used."""
    return ApiError(400, message, param=param, code=code)


def of_validation(error: ValidationError) -> ApiError:
    """400 for a body that does not fit its model; names the first wrong field and says how many others there are."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    first = faults[0]
    where = ".".join(str(part) for part in first["loc"] if _FIELD.fullmatch(str(part)))
    more = f" ({len(faults) - 1} more)" if len(faults) > 1 else ""
    return invalid(f"{where or 'body'}: {first['msg']}{more}", where or None, "invalid_value")


def of_error(error: BaseException) -> ApiError:
    """The answer to anything that a pipeline raises. What is not ours to explain is not told."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ValidationError):
        return of_validation(error)
    for kind, make in _ANSWERS:
        if isinstance(error, kind) and not isinstance(error, StageError):
            found: ApiError = make(str(error))
            return found
    return ApiError(500, "the server failed at this request; its log names the request id", code="internal_error")


def _engine(message: str) -> ApiError:
    """Engines raise one class; what the caller can change is told by its words (`scenepipe.sampling`, the grammars)."""
    lowered = message.lower()
    if "json schema" in lowered:
        return invalid(message, "response_format", "invalid_json_schema")
    if "context" in lowered and ("token" in lowered or "long" in lowered):
        return invalid(message, "messages", "context_length_exceeded")
    return ApiError(502, message, code="engine_error")


_ANSWERS: tuple[tuple[type[ScenepipeError], Any], ...] = (
    (InputError, lambda m: invalid(m, code="invalid_value")),
    (MixtureError, lambda m: invalid(m, "model", "invalid_mixture")),
    (DeadlineError, lambda m: ApiError(504, m, kind="timeout", code="deadline")),
    (BackendError, _engine),
    (ArchiveError, lambda m: ApiError(503, m, code="archive_unavailable", retry_after=RETRY_SECONDS)),
    (ModelError, lambda m: ApiError(503, m, code="model_unavailable")),
    (MissingExtraError, lambda m: ApiError(501, m, code="not_installed")),
    (ScenepipeError, lambda m: ApiError(500, m, code="pipeline_error")),
)
