"""What clients send as messages becomes a style, earlier turns, and the text that is to be answered.

System messages, wherever they stand, are the style. Messages of one side that follow each other are one. Calls of tools and their
results belong to the text that they were made for, which is not answered before the model has said something about them. Clients
send the whole history with every request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from scenepipe.message import Message
from scenepipe.scene import Turn
from scenepipe.server.limits import check_text
from scenepipe.server.openai_types import Called, ChatMessage
from scenepipe.server.problem import invalid
from scenepipe.server.settings import Settings
from scenepipe.tools import ToolCall

_TEXT_PARTS = ("text", "input_text", "output_text", "refusal")


@dataclass(frozen=True)
class Conversation:
    """One request's messages, put in order.

    Args:
        style: system messages, joined.
        turns: texts with their answers, oldest first.
        text: what is to be answered; empty where the client wants its own last answer continued.
        begun: that answer; empty where there is none.
        calls: calls and results after each text that has some, by its number among the texts.
    """

    style: str
    turns: tuple[Turn, ...]
    text: str
    begun: str = ""
    calls: Mapping[int, tuple[Message, ...]] = field(default_factory=dict)

    @property
    def goes_on(self) -> bool:
        """Whether results of tools wait for words: the text was met before, and nothing was answered yet."""
        return len(self.turns) in self.calls and not self.begun

    def after(self, turns: Sequence[Turn]) -> Conversation:
        """The same text and its calls after other turns."""
        own = self.calls.get(len(self.turns))
        return replace(self, turns=tuple(turns), calls={len(turns): own} if own else {})

    def messages(self) -> tuple[Message, ...]:
        """The same as messages in turn."""
        found = [Message(role="system", content=self.style)] if self.style else []
        for number, (text, answer) in enumerate([*((t.text, t.reply) for t in self.turns), (self.text, self.begun)]):
            found += [Message(role="user", content=text)] if text else []
            found += self.calls.get(number, ())
            found += [Message(role="assistant", content=answer)] if answer else []
        return tuple(found)


def conversation(messages: Sequence[ChatMessage], settings: Settings, *, tools: bool) -> Conversation:
    """The messages of a request, put in order.

    Args:
        tools: whether the engine calls tools; where it does not, what tools gave cannot be taken.

    Raises:
        ApiError: none of a user, a part that is no text, a call without its result, or a result without its call.
    """
    style: list[str] = []
    sides = _Sides()
    for place, message in enumerate(messages):
        where = f"messages.{place}"
        if message.role == "function" or (message.role == "tool" and not tools):
            raise invalid("the engine calls no such tools; leave their messages out", f"{where}.role", "unsupported")
        text = check_text(text_of(message.content, f"{where}.content"), f"{where}.content", settings)
        if message.role in ("system", "developer"):
            style.append(text)
        elif message.role == "tool":
            sides.gave(text, message.tool_call_id, where)
        elif message.tool_calls and tools:
            sides.called(text, message.tool_calls, where, settings)
        elif text.strip():
            sides.said("user" if message.role == "user" else "assistant", text, where)
    sides.closed("messages")
    return _paired("\n".join(s for s in style if s.strip()), sides.found)


def text_of(content: str | Sequence[dict[str, Any]] | None, where: str) -> str:
    """The text of a message's content.

    Raises:
        ApiError: a part that is no text.
    """
    if content is None or isinstance(content, str):
        return content or ""
    texts = []
    for place, part in enumerate(content):
        kind = part.get("type", "text")
        text = part.get("refusal" if kind == "refusal" else "text")
        if kind not in _TEXT_PARTS or not isinstance(text, str):
            raise invalid(
                f"a part of type {str(kind)[:40]!r} cannot be taken; text alone is", f"{where}.{place}", "unsupported"
            )
        texts.append(text)
    return "\n".join(texts)


@dataclass
class _Side:
    """What one side said in a row; ``calls`` are of a user's text."""

    role: Literal["user", "assistant"]
    text: str
    calls: list[Message] = field(default_factory=list)


class _Sides:
    """User and assistant in turn, as the messages come."""

    def __init__(self) -> None:
        self.found: list[_Side] = []
        self._open: list[str] = []

    def said(self, role: Literal["user", "assistant"], text: str, where: str) -> None:
        self.closed(where)
        last = self.found[-1] if self.found else None
        if last is None or last.role != role:
            self.found.append(_Side(role, text))
        elif last.calls:  # the user went on without an answer to what the tools gave
            self.found += [_Side("assistant", ""), _Side(role, text)]
        else:
            last.text = f"{last.text}\n{text}"

    def called(self, text: str, calls: Sequence[Called], where: str, settings: Settings) -> None:
        self.closed(where)
        before = [self.found.pop()] if self.found and self.found[-1].role == "assistant" else []
        if not self.found:
            raise invalid("tools are called before a user has said anything", where, "no_user_message")
        said = [Message(role="assistant", content=side.text) for side in before if side.text]
        made = tuple(_call(call, f"{where}.tool_calls", settings) for call in calls)
        self.found[-1].calls += [*said, Message(role="assistant", content=text, tool_calls=made)]
        self._open = [call.id for call in calls]

    def gave(self, text: str, call: str | None, where: str) -> None:
        if call is None or call not in self._open:
            message = (
                f"no call before it has the id {str(call)[:80]!r} and no result; send a call and its results together"
            )
            raise invalid(message, f"{where}.tool_call_id", "unknown_tool_call")
        self._open.remove(call)
        self.found[-1].calls.append(Message(role="tool", content=text, tool_call_id=call))

    def closed(self, where: str) -> None:
        """Every call so far has its result."""
        if self._open:
            missing = ", ".join(self._open)[:200]
            raise invalid(f"these calls of tools have no result: {missing}; send one for each", where, "missing_result")


def _call(call: Called, where: str, settings: Settings) -> ToolCall:
    arguments = check_text(call.function.arguments, where, settings)
    return ToolCall(id=call.id, name=call.function.name, arguments=arguments)


def _paired(style: str, sides: Sequence[_Side]) -> Conversation:
    """Pairs of text and answer. An answer that stands first, a greeting, answers nothing and goes to the style."""
    said = list(sides)
    if said and said[0].role == "assistant" and len(said) > 1:
        style = "\n".join(part for part in (style, said.pop(0).text) if part)
    if not any(side.role == "user" for side in said):
        raise invalid("there is no message of a user with a text to answer", "messages", "no_user_message")
    begun = said.pop().text if said[-1].role == "assistant" else ""
    texts = said[::2]
    turns = tuple(Turn(text=u.text, reply=a.text or None) for u, a in zip(texts, said[1::2], strict=False))
    calls = {number: tuple(side.calls) for number, side in enumerate(texts) if side.calls}
    return Conversation(style=style, turns=turns, text=texts[-1].text, begun=begun, calls=calls)
