"""The input of the Responses API as messages: texts, and calls of tools with what they gave."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from scenepipe.server.openai_types import Called, CalledFunction, ChatMessage, ResponsesBody
from scenepipe.server.problem import invalid, of_validation


def messages_of(body: ResponsesBody) -> list[ChatMessage]:
    """The input as messages; an item of another type is refused, but reasoning, which is passed over.

    Raises:
        ApiError: there is none, or an item that cannot be taken.
    """
    if not body.input:
        raise invalid("there is no input; give a text or a list of messages", "input", "missing")
    if isinstance(body.input, str):
        return [ChatMessage(role="user", content=body.input)]
    found: list[ChatMessage] = []
    for place, item in enumerate(body.input):
        kind = item.get("type", "message")
        if kind not in ("message", "function_call", "function_call_output", "reasoning"):
            raise invalid(f"an item of type {str(kind)[:40]!r} cannot be taken", f"input.{place}", "unsupported")
        try:
            _add(found, kind, item)
        except ValidationError as error:
            fault = of_validation(error)
            raise invalid(fault.message, f"input.{place}.{fault.param}", fault.code) from None
    return found


def _add(found: list[ChatMessage], kind: str, item: dict[str, Any]) -> None:
    if kind == "function_call":
        function = CalledFunction.model_validate(item)
        call = Called.model_validate({"id": item.get("call_id"), "function": function})
        before = found.pop().tool_calls or [] if found and found[-1].tool_calls else []
        found.append(ChatMessage(role="assistant", tool_calls=[*before, call]))
    elif kind == "function_call_output":
        given = {"role": "tool", "content": item.get("output"), "tool_call_id": item.get("call_id")}
        found.append(ChatMessage.model_validate(given))
    elif kind == "message":
        found.append(ChatMessage.model_validate(item))
