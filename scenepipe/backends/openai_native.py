"""Requests and events of servers whose own endpoint can do more than the one they share with OpenAI.

TGI's ``/generate_stream`` (``docs/openapi.json``), Ollama's
``/api/generate`` with ``raw``, without which it would put the prompt into a chat template.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scenepipe.backends.openai_wire import Call, Delta, finish_of, sampling_body, stops_of

# --- TGI -------------------------------------------------------------------------------------------------------------


def tgi_body(call: Call) -> dict[str, Any]:
    """A request to ``/generate_stream``. TGI refuses a temperature of 0, a top_k of 0 and a top_p of 1: left out."""
    request = call.request
    sampling = sampling_body(call)
    parameters: dict[str, Any] = {"max_new_tokens": request.max_tokens, "details": True, "return_full_text": False}
    greedy = request.sampling.temperature == 0
    parameters["do_sample"] = not greedy
    off = {"top_k"} if not request.sampling.top_k else set()
    off |= {"top_p"} if request.sampling.top_p == 1 else set()
    off |= {"temperature", "top_k", "top_p"} if greedy else set()
    parameters |= {name: value for name, value in sampling.items() if name not in off}
    if stop := stops_of(call):
        parameters["stop"] = stop
    if request.seed is not None:
        parameters["seed"] = max(1, request.seed)
    if call.voice.adapter is not None:
        parameters["adapter_id"] = call.voice.adapter
    if request.json_schema is not None:
        parameters["grammar"] = {"type": "json", "value": request.json_schema}
    return {"inputs": request.prompt, "parameters": parameters}


class TgiReader:
    """Events of ``/generate_stream``: a token each, the last one with ``details``. Special tokens are no text."""

    def __init__(self, call: Call) -> None:
        del call

    def read(self, event: Mapping[str, Any]) -> Delta:
        token = event.get("token") or {}
        details = event.get("details") or {}
        return Delta(
            text="" if token.get("special") else token.get("text") or "",
            finish=finish_of(details.get("finish_reason")),
            prompt_tokens=details.get("input_length"),
            reply_tokens=details.get("generated_tokens"),
            last=bool(details) or event.get("generated_text") is not None,
        )


# --- Ollama ----------------------------------------------------------------------------------------------------------


def ollama_body(call: Call) -> dict[str, Any]:
    """A request to ``/api/generate``."""
    request = call.request
    options = {"num_predict": request.max_tokens, **sampling_body(call)}
    if stop := stops_of(call):
        options["stop"] = stop
    if request.seed is not None:
        options["seed"] = request.seed
    body = {"model": call.voice.model, "prompt": request.prompt, "raw": True, "stream": True, "options": options}
    if request.json_schema is not None:
        body["format"] = request.json_schema
    return body


class OllamaReader:
    """Lines of ``/api/generate``; the last one is ``done``."""

    def __init__(self, call: Call) -> None:
        del call

    def read(self, event: Mapping[str, Any]) -> Delta:
        done = bool(event.get("done"))
        return Delta(
            text=event.get("response") or "",
            reasoning=event.get("thinking") or "",
            finish=finish_of(event.get("done_reason") or "stop") if done else None,
            prompt_tokens=event.get("prompt_eval_count"),
            reply_tokens=event.get("eval_count"),
            last=done,
        )
