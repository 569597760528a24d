"""What a server's trouble is called: every message names the server, the request's id and what to do."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from scenepipe.errors import BackendError

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which the same request may succeed."""
_TAG = re.compile(r"<(style|script)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_LONGEST = 300
_REMEDIES = {
    400: "it refuses this request as it stands",
    401: "give the key as api_key: {secret: NAME}",
    403: "give a key that may do this as api_key: {secret: NAME}",
    404: "compare 'url', 'served' and 'adapters' with what the server has",
    405: "compare 'url' and 'flavour' with the server",
    413: "shorten the text or the scene's echoes",
    422: "it refuses this request as it stands; compare 'flavour' with the server",
    429: "it is overloaded: lower 'parallel' or raise 'retries'",
    503: "it is not ready or overloaded: wait for it, lower 'parallel' or raise 'retries'",
}


class ServerError(BackendError):
    """A server refused, or answered what cannot be understood. ``status`` is the HTTP status, 0 without one."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        self.status = status
        super().__init__(message)


class PassingError(ServerError):
    """Trouble that a second try may not meet. ``wait_s``: seconds that the server asked for."""

    def __init__(self, message: str, *, status: int = 0, wait_s: float | None = None) -> None:
        self.wait_s = wait_s
        super().__init__(message, status=status)


def refusal(place: str, status: int, headers: Mapping[str, str], body: bytes) -> ServerError:
    """The error for an HTTP answer that is not a success.

    Args:
        place: server and request id, as messages name them.
    """
    words = _words(body, headers.get("content-type", ""))
    remedy = _REMEDIES.get(status, "look into the server's log" if status >= 500 else "compare 'flavour' and 'url'")
    message = f"{place}: HTTP {status}: {words}; {remedy}"
    if status not in PASSING:
        return ServerError(message, status=status)
    return PassingError(message, status=status, wait_s=retry_after(headers.get("retry-after")))


def words_of(value: Any) -> str:
    """What an error object says: the forms of OpenAI, vLLM, TGI, FastChat, FastAPI, Triton and llama.cpp."""
    if isinstance(value, dict):
        for key in ("message", "error", "detail", "text"):
            if value.get(key):
                return words_of(value[key])
    if isinstance(value, list) and value:
        return "; ".join(_fault(each) for each in value[:5])
    return _short(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def error_in(event: Any) -> str | None:
    """What an event says went wrong, or None: errors also come after a 200, inside of the stream."""
    if not isinstance(event, dict):
        return None
    told = event.get("error") or event.get("error_code") or event.get("object") == "error"
    return words_of(event) if told else None


def retry_after(value: str | None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for (RFC 9110, 10.2.3: seconds, or a date); None without a valid one."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _words(body: bytes, kind: str) -> str:
    text = body.decode("utf-8", "replace")
    try:
        return words_of(json.loads(text.removeprefix("data:")))  # Triton refuses a stream with its first event
    except ValueError:
        pass
    if "html" in kind or text.lstrip()[:1] == "<":
        return f"a web page instead of JSON ({_short(_TAG.sub(' ', text)) or 'empty'}); is 'url' the server's own?"
    return _short(text) or "no words"


def _fault(value: Any) -> str:
    """One fault of a FastAPI validation error: its place and its words."""
    if isinstance(value, dict) and "msg" in value:
        return f"{'.'.join(map(str, value.get('loc', ())))}: {value['msg']}"
    return words_of(value)


def _short(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= _LONGEST else one_line[: _LONGEST - 1] + "…"
