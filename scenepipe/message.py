"""One message of a conversation, for the model's own chat template."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from scenepipe.tools import ToolCall


class Message(BaseModel):
    """What one side said. An assistant's message may hold calls; the result of each is a message of the role ``tool``.

    Args:
        tool_calls: what an assistant called.
        tool_call_id: the call that a ``tool`` message answers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _is_of_its_role(self) -> Self:
        if (self.role == "tool") != (self.tool_call_id is not None):
            raise ValueError("a message of the role 'tool' has a tool_call_id, and no other has one")
        if self.tool_calls and self.role != "assistant":
            raise ValueError(f"a message of the role '{self.role}' has no tool_calls; an assistant's may")
        return self

    @property
    def has_calls(self) -> bool:
        """Whether it calls tools, or tells what one gave."""
        return bool(self.tool_calls) or self.role == "tool"

    def wire(self) -> dict[str, Any]:
        """OpenAI's form, which chat templates take too."""
        told: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.tool_calls:
            told["tool_calls"] = [call.wire() for call in self.tool_calls]
        if self.tool_call_id is not None:
            told["tool_call_id"] = self.tool_call_id
        return told
