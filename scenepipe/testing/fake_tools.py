"""Which tools the fake model calls: those that the user's last words name, with the smallest arguments that are allowed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from scenepipe.message import Message
from scenepipe.testing.minimal import minimal_instance
from scenepipe.tools import Tool, ToolCall, Tools


def called(tools: Tools, messages: Sequence[Message], seed: int | None) -> list[ToolCall]:
    """The calls of one reply; none where none is required and the last words name none, or tell what a tool gave."""
    free = tools.choice == "auto" and tools.named is None
    if free and messages and messages[-1].role == "tool":
        return []
    said = next((message.content for message in reversed(messages) if message.role == "user"), "")
    wanted = [tool for tool in tools.offered if tool.name == tools.named or (not tools.named and tool.name in said)]
    if not wanted and tools.choice == "required":
        wanted = [tools.offered[0]]
    return [
        _call(tool, f"{len(messages)} {said} {seed}")
        for tool in (wanted if tools.parallel is not False else wanted[:1])
    ]


def _call(tool: Tool, occasion: str) -> ToolCall:
    name = hashlib.sha256(f"{tool.name}\n{occasion}".encode()).hexdigest()[:24]
    arguments = minimal_instance(tool.parameters) if tool.parameters else {}
    return ToolCall(id=f"call_{name}", name=tool.name, arguments=json.dumps(arguments, ensure_ascii=False))
