"""Tools at the fake servers: requests checked as documented, calls told as each server tells them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from scenepipe.contracts import Chunk
from scenepipe.message import Message
from scenepipe.tools import Tool, ToolCall, ToolCallPiece, Tools, joined

WHOLE = ("ollama", "lm-studio", "tabbyapi")
"""Servers that tell a call all at once."""
_FIELDS = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls"},
    "tool": {"role", "content", "tool_call_id"},
}


class WrongTools(Exception):
    """A request that no server takes."""


def conversation(flavour: str, body: dict[str, Any]) -> dict[str, Any]:
    """``messages`` and ``tools`` of a request; nothing where it has neither tools nor calls."""
    messages = [_message(each, body["messages"][:place]) for place, each in enumerate(body["messages"])]
    if not body.get("tools"):
        if "tools" in body or "tool_choice" in body or "parallel_tool_calls" in body:
            raise WrongTools("when using `tool_choice`, `tools` must be set")
        return {"messages": messages} if any(message.has_calls for message in messages) else {}
    return {"messages": messages, "tools": _tools(flavour, body)}


def _message(given: dict[str, Any], before: Sequence[dict[str, Any]]) -> Message:
    if unknown := set(given) - _FIELDS[given["role"]]:
        raise WrongTools(f"a message of the role {given['role']} with {unknown}")
    known = {call["id"] for message in before for call in message.get("tool_calls", ())}
    if given["role"] == "tool" and given["tool_call_id"] not in known:
        raise WrongTools(f"no call has the id {given['tool_call_id']}")
    calls = given.get("tool_calls", ())
    if any(set(call) != {"id", "type", "function"} or call["type"] != "function" for call in calls):
        raise WrongTools(f"calls that are none: {calls}")
    parts = [ToolCall(id=call["id"], **call["function"]) for call in calls]
    return Message.model_validate({**given, "tool_calls": parts})


def _tools(flavour: str, body: dict[str, Any]) -> Tools:
    if any(set(tool) != {"type", "function"} or tool["type"] != "function" for tool in body["tools"]):
        raise WrongTools(f"tools that are none: {body['tools']}")
    offered = [Tool(**tool["function"]) for tool in body["tools"]]
    choice: Any = body.get("tool_choice", "auto")
    named = choice["function"]["name"] if isinstance(choice, dict) else None
    if named is not None and flavour == "llama-server":
        raise WrongTools("Invalid tool_choice: it is no string")
    return Tools(
        offered=tuple(offered),
        choice="auto" if named is not None else choice,
        named=named,
        parallel=body.get("parallel_tool_calls"),
    )


class CallEvents:
    """The calls of one reply as deltas: each in pieces, or all at once before the end."""

    def __init__(self, flavour: str, body: dict[str, Any]) -> None:
        self._flavour = flavour
        self._named = isinstance(body.get("tool_choice"), dict)
        self._held: list[ToolCallPiece] = []

    def of(self, chunk: Chunk) -> Iterator[dict[str, Any]]:
        """LMDeploy gives every piece an id of its own; TabbyAPI's older versions count no calls."""
        if self._flavour in WHOLE:
            self._held += chunk.tool_calls
            if self._held and chunk.finish_reason:
                yield {"role": "assistant", "content": None, "tool_calls": list(self._whole())}
            return
        for piece in chunk.tool_calls:
            own = {"id": f"call_{piece.arguments!r}", "type": "function"} if self._flavour == "lmdeploy" else {}
            yield {"tool_calls": [{**piece.wire(), **own}]}

    def _whole(self) -> Iterator[dict[str, Any]]:
        for index, call in enumerate(joined(self._held)):
            yield call.wire() if self._flavour == "tabbyapi" else {"index": index, **call.wire()}

    def finish(self, chunk: Chunk) -> str | None:
        """Of a call that was asked for by name OpenAI says ``stop``."""
        called = chunk.finish_reason == "tool_calls"
        return "stop" if called and self._named and self._flavour == "generic" else chunk.finish_reason
