"""What clients send as messages becomes a style, earlier turns, and the text that is to be answered.

System messages, wherever they stand, are the style. Messages of one side that follow each other are one. Clients send the
whole history with every request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scenepipe.contracts import Message
from scenepipe.scene import Turn
from scenepipe.server.limits import check_text
from scenepipe.server.openai_types import ChatMessage
from scenepipe.server.problem import invalid
from scenepipe.server.settings import Settings

_TEXT_PARTS = ("text", "input_text", "output_text", "refusal")


@dataclass(frozen=True)
class Conversation:
    """One request's messages, put in order.

    Args:
        style: system messages, joined.
        turns: texts with their answers, oldest first.
        text: what is to be answered; empty where the client wants its own last answer continued.
        begun: that answer; empty where there is none.
    """

    style: str
    turns: tuple[Turn, ...]
    text: str
    begun: str = ""

    @property
    def history(self) -> tuple[tuple[str, str | None], ...]:
        """The turns as pairs of exact words."""
        return tuple((turn.text, turn.reply) for turn in self.turns)

    def messages(self) -> tuple[Message, ...]:
        """The same as messages in turn."""
        found = [Message(role="system", content=self.style)] if self.style else []
        for turn in self.turns:
            found.append(Message(role="user", content=turn.text))
            found += [Message(role="assistant", content=turn.reply)] if turn.reply else []
        found += [Message(role="user", content=self.text)] if self.text else []
        found += [Message(role="assistant", content=self.begun)] if self.begun else []
        return tuple(found)


def conversation(messages: Sequence[ChatMessage], settings: Settings) -> Conversation:
    """The messages of a request, put in order.

    Raises:
        ApiError: none of a user, a part that is no text, or a role that needs tools.
    """
    style: list[str] = []
    sides: list[tuple[str, str]] = []
    for place, message in enumerate(messages):
        where = f"messages.{place}"
        if message.role in ("tool", "function"):
            raise invalid("tool messages cannot be taken: no engine here calls tools", f"{where}.role", "unsupported")
        text = check_text(text_of(message.content, f"{where}.content"), f"{where}.content", settings)
        if message.role in ("system", "developer"):
            style.append(text)
        elif text.strip():
            sides.append((message.role, text))
    return _paired("\n".join(s for s in style if s.strip()), _merged(sides))


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


def _merged(sides: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    merged: list[tuple[str, str]] = []
    for role, text in sides:
        if merged and merged[-1][0] == role:
            merged[-1] = (role, f"{merged[-1][1]}\n{text}")
        else:
            merged.append((role, text))
    return merged


def _paired(style: str, sides: Sequence[tuple[str, str]]) -> Conversation:
    """Pairs of text and answer. An answer that stands first, a greeting, answers nothing and goes to the style."""
    said = list(sides)
    if said and said[0][0] == "assistant" and len(said) > 1:
        style = "\n".join(part for part in (style, said.pop(0)[1]) if part)
    if not any(role == "user" for role, _ in said):
        raise invalid("there is no message of a user with a text to answer", "messages", "no_user_message")
    begun = said.pop()[1] if said[-1][0] == "assistant" else ""
    text = said.pop()[1]
    turns = tuple(Turn(text=said[n][1], reply=said[n + 1][1]) for n in range(0, len(said) - 1, 2))
    return Conversation(style=style, turns=turns, text=text, begun=begun)
