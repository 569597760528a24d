"""Tools in requests to ``/v1/chat/completions``, and calls in its events.

https://developers.openai.com/api/reference/resources/chat; what each server takes of it is in its row of
`scenepipe.backends.openai_flavours`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from scenepipe.tools import Tool, ToolCallPiece, Tools, ToolWish


def tools_body(tools: Tools, known: Sequence[ToolWish]) -> dict[str, Any]:
    """The fields of a request. The choice always where there is one: servers have defaults of their own."""
    body: dict[str, Any] = {"tools": [_offered(tool) for tool in tools.offered]}
    if "required" in known:
        body["tool_choice"] = tools.choice
    if tools.named is not None:
        body["tool_choice"] = {"type": "function", "function": {"name": tools.named}}
    if tools.parallel is not None and "parallel" in known:
        body["parallel_tool_calls"] = tools.parallel
    return body


def _offered(tool: Tool) -> dict[str, Any]:
    return {"type": "function", "function": tool.model_dump(exclude_none=True)}


class CallReader:
    """Entries of ``tool_calls`` to pieces of calls that are numbered in the order in which they began.

    A name begins a call. Servers tell the rest of it in pieces of the same index (vLLM, llama-server; LMDeploy with another
    id in each), or all of it at once (Ollama, LM Studio), some without an id or an index.
    """

    def __init__(self) -> None:
        self._begun = 0
        self._open: dict[int, int] = {}

    def read(self, entries: Sequence[Mapping[str, Any]]) -> tuple[ToolCallPiece, ...]:
        """The pieces of one event.

        Raises:
            KeyError: a piece of a call that was not begun.
        """
        pieces = []
        for place, entry in enumerate(entries):
            function, told = entry.get("function") or {}, entry.get("index")
            index, name, arguments = place if told is None else told, function.get("name"), function.get("arguments")
            if name:
                self._open[index] = self._begun
                self._begun += 1
            if name or arguments:
                begun = {"id": entry.get("id") or f"call_{uuid.uuid4().hex}", "name": name} if name else {}
                pieces.append(ToolCallPiece(index=self._open[index], arguments=_json(arguments), **begun))
        return tuple(pieces)


def _json(arguments: Any) -> str:
    if arguments is None or isinstance(arguments, str):
        return arguments or ""
    return json.dumps(arguments, ensure_ascii=False)
