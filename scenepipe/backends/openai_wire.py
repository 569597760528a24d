"""Requests and events of the two endpoints that OpenAI described: ``/v1/completions`` and ``/v1/chat/completions``.

https://developers.openai.com/api/reference/resources/completions and ``…/chat``; what a server adds to them is in its row of
`scenepipe.backends.openai_flavours`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from scenepipe.backends.llama_reply import lora
from scenepipe.backends.openai_calls import CallReader, tools_body
from scenepipe.backends.openai_flavours import Endpoint, Flavour
from scenepipe.contracts import DrawnToken, Finish, Request
from scenepipe.errors import BackendError
from scenepipe.sampling import COMMON
from scenepipe.scene import TokenScore
from scenepipe.tools import ToolCallPiece

SMALLEST_LOGPROB = -9999.0
_FINISH: Mapping[str, Finish] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "word": "stop",
    "length": "length",
    "limit": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
}


@dataclass(frozen=True)
class Voice:
    """How a mixture is asked for at one server.

    Args:
        model: what goes into the field ``model``.
        adapter: name of one adapter, where another field chooses it.
        scales: of every adapter that the server has, in its order, where it takes scales.
    """

    model: str
    adapter: str | None = None
    scales: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Call:
    """One reply to be asked for."""

    request: Request
    flavour: Flavour
    endpoint: Endpoint
    voice: Voice


@dataclass(frozen=True)
class Delta:
    """What one event adds to a reply. Token counts are of the whole reply; None: not told here."""

    text: str = ""
    reasoning: str = ""
    logprobs: tuple[DrawnToken, ...] = ()
    calls: tuple[ToolCallPiece, ...] = ()
    finish: Finish | None = None
    prompt_tokens: int | None = None
    reply_tokens: int | None = None
    last: bool = False


class Reader(Protocol):
    """Reads the events of one reply."""

    def read(self, event: Mapping[str, Any]) -> Delta: ...


# --- requests --------------------------------------------------------------------------------------------------------


def completions_body(call: Call) -> dict[str, Any]:
    """A request to ``/v1/completions``."""
    body = {"prompt": call.request.prompt, **_shared(call)}
    if call.request.logprobs is not None:
        body["logprobs"] = call.request.logprobs
    return body


def chat_body(call: Call) -> dict[str, Any]:
    """A request to ``/v1/chat/completions``; a prompt is one message of the user."""
    request = call.request
    messages = [{"role": "user", "content": request.prompt}] if request.messages is None else None
    body: dict[str, Any] = {
        "messages": messages or [message.wire() for message in request.messages or ()],
        **_shared(call),
    }
    if request.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": request.logprobs}
    if request.tools is not None:
        body |= tools_body(request.tools, call.endpoint.tools or ())
    return body


def _shared(call: Call) -> dict[str, Any]:
    request, endpoint = call.request, call.endpoint
    body: dict[str, Any] = {
        "model": call.voice.adapter or call.voice.model,
        "max_tokens": request.max_tokens,
        "stream": True,
    }
    if endpoint.usage:
        body["stream_options"] = {"include_usage": True}
    body |= sampling_body(call)
    if stop := stops_of(call):
        body["stop"] = stop
    if request.seed is not None and endpoint.seed:
        body["seed"] = request.seed
    if call.voice.scales is not None:
        body["cache_prompt"] = False
    if call.voice.scales:
        body["lora"] = lora(call.voice.scales)
    if request.json_schema is not None:
        body |= schema_body(call)
    return body


def sampling_body(call: Call) -> dict[str, Any]:
    """The settings under the server's names. The common ones always: servers have defaults of their own."""
    sampling, asked = call.request.sampling, call.request.sampling.asked()
    body: dict[str, Any] = {}
    for ours, theirs in call.endpoint.sampling.items():
        value = getattr(sampling, ours)
        if ours == "top_k" and value == 0:
            value = call.flavour.top_k_off
        if ours in COMMON or ours in asked:
            body[theirs] = {str(key): bias for key, bias in value.items()} if ours == "logit_bias" else value
    return body


def schema_body(call: Call) -> dict[str, Any]:
    """How this endpoint is asked for JSON of a schema."""
    schema = call.request.json_schema
    if call.endpoint.schema == "response_format":
        named = {"name": "reply", "schema": schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    return {"json_schema": schema}


def stops_of(call: Call) -> list[str]:
    """The stop strings that the server is given; it may take only a few of them."""
    return list(call.request.stop[: call.endpoint.stops])


# --- events ----------------------------------------------------------------------------------------------------------


class OpenAIReader:
    """Events of either endpoint. Fields that are not known are passed over."""

    def __init__(self, call: Call) -> None:
        self._most = call.request.logprobs or 0
        self._model = call.voice.model if call.flavour.names_model else None
        self._calls = CallReader()

    def read(self, event: Mapping[str, Any]) -> Delta:
        self._check_model(event.get("model"))
        prompt_tokens, reply_tokens = _counts(event.get("usage"))
        choices = event.get("choices") or ()
        if not choices:
            return Delta(prompt_tokens=prompt_tokens, reply_tokens=reply_tokens)
        choice = choices[0]
        delta = choice.get("delta") or choice.get("message") or {}
        return Delta(
            text=choice.get("text") or delta.get("content") or "",
            reasoning=delta.get("reasoning_content") or delta.get("reasoning") or "",
            logprobs=self._logprobs(choice.get("logprobs"), choice.get("text") or delta.get("content") or ""),
            calls=self._calls.read(delta.get("tool_calls") or ()),
            finish=finish_of(choice.get("finish_reason")),
            prompt_tokens=prompt_tokens,
            reply_tokens=reply_tokens,
        )

    def _check_model(self, told: Any) -> None:
        if self._model is not None and isinstance(told, str) and told != self._model:
            raise BackendError(
                f"the server spoke as '{told}' where '{self._model}' was asked for: it ignores adapters; "
                "compare its start with 'flavour'"
            )

    def _logprobs(self, told: Any, text: str) -> tuple[DrawnToken, ...]:
        if not isinstance(told, dict):
            return ()
        if (content := told.get("content")) is not None:
            rows: list[tuple[Any, Any, Any]] = [
                (
                    each["token"],
                    each["logprob"],
                    [(top["token"], top["logprob"]) for top in each.get("top_logprobs") or ()],
                )
                for each in content
            ]
        else:
            many: Any = told.get("top_logprobs") or itertools.repeat(None)
            tokens, logprobs = told.get("tokens") or (), told.get("token_logprobs") or ()
            rows = [(t, v, (top or {}).items()) for t, v, top in zip(tokens, logprobs, many, strict=False)]
        texts = _aligned([row[0] for row in rows], text)
        return tuple(
            DrawnToken(token=each, logprob=_finite(row[1]), top=_likeliest(row[2], self._most))
            for each, row in zip(texts, rows, strict=True)
        )


def _aligned(tokens: list[str], text: str) -> list[str]:
    """What each token adds to the text: servers show a token that ends in the middle of a character as U+FFFD.

    A token may come before its text: vLLM holds back what could still become a stop string.
    """
    if "".join(tokens) == text:
        return tokens
    if len(tokens) == 1 and text and "\ufffd" in tokens[0]:
        return [text]
    return [token.replace("\ufffd", "") for token in tokens]


def finish_of(reason: Any) -> Finish | None:
    """Why a reply ended, in our words.

    Raises:
        BackendError: the server gave it up.
    """
    if reason is None or reason == "":
        return None
    if reason not in _FINISH:
        raise BackendError(f"the server gave the reply up ({reason}); look into its log")
    return _FINISH[reason]


def _likeliest(pairs: Any, most: int) -> tuple[TokenScore, ...]:
    scores = [TokenScore(token=token, logprob=_finite(logprob)) for token, logprob in pairs]
    return tuple(sorted(scores, key=lambda score: -score.logprob)[:most])


def _finite(logprob: Any) -> float:
    """A logarithm as a number: what a server calls nothing or minus infinity is very little."""
    return SMALLEST_LOGPROB if logprob is None else max(float(logprob), SMALLEST_LOGPROB)


def _counts(usage: Any) -> tuple[int | None, int | None]:
    if not isinstance(usage, dict):
        return None, None
    return usage.get("prompt_tokens"), usage.get("completion_tokens")
