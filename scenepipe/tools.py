"""Tools that a model may call: what is offered, what it calls, and how a call arrives in pieces.

The values are those of OpenAI's chat completions, which the servers that call tools speak. Nothing here is run: a call goes to
the caller, and its result comes back as a message of the role ``tool`` (`scenepipe.message`).

https://developers.openai.com/api/reference/resources/chat
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from scenepipe.errors import BackendError, did_you_mean

if TYPE_CHECKING:
    from scenepipe.contracts import Capabilities, Request

ToolWish = Literal["required", "named", "parallel"]
"""What may be asked of an engine about its calls: that there is one, which one, and whether there may be several."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tool(_Value):
    """A function that the caller can run.

    Args:
        parameters: JSON Schema of its arguments, an object; None: it takes none.
        strict: the arguments shall follow the schema to the letter; told to engines that know the word.
    """

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tools(_Value):
    """The tools of one request.

    Args:
        choice: ``required``: the reply is a call; ``auto``: the model chooses between a call and a text.
        named: the tool that is to be called; None leaves it to ``choice``.
        parallel: whether one reply may have several calls; None leaves it to the engine.
    """

    offered: Annotated[tuple[Tool, ...], Field(min_length=1)]
    choice: Literal["auto", "required"] = "auto"
    named: str | None = None
    parallel: bool | None = None

    @model_validator(mode="after")
    def _can_be_told_apart(self) -> Self:
        names = [tool.name for tool in self.offered]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"the tool '{twice}' is there twice; give each a name of its own")
        if self.named is not None and self.named not in names:
            raise ValueError(f"there is no tool '{self.named}' to be called; {did_you_mean(self.named, names)}")
        return self

    @property
    def wishes(self) -> tuple[ToolWish, ...]:
        """What is asked beside the tools; several calls are a permission, which an engine need not know."""
        found: list[ToolWish] = []
        if self.named is not None:
            found.append("named")
        elif self.choice == "required":
            found.append("required")
        if self.parallel is False:
            found.append("parallel")
        return tuple(found)


class ToolCall(_Value):
    """A call that the model made; ``arguments`` is JSON as the model wrote it, so it may be wrong."""

    id: str
    name: str
    arguments: str = ""

    def wire(self) -> dict[str, Any]:
        """OpenAI's form."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


class ToolCallPiece(_Value):
    """A piece of the ``index``-th call of a reply. The first one of a call has its id and name, every one some arguments."""

    index: Annotated[int, Field(ge=0)]
    id: str = ""
    name: str = ""
    arguments: str = ""

    def wire(self) -> dict[str, Any]:
        """OpenAI's form, an entry of ``delta.tool_calls``."""
        function = {"name": self.name} if self.name else {}
        head = {"id": self.id, "type": "function"} if self.id else {}
        return {"index": self.index, **head, "function": {**function, "arguments": self.arguments}}


def joined(pieces: Iterable[ToolCallPiece]) -> tuple[ToolCall, ...]:
    """Whole calls, in the order of their indices."""
    heads: dict[int, ToolCallPiece] = {}
    arguments: dict[int, list[str]] = {}
    for piece in pieces:
        heads.setdefault(piece.index, piece)
        arguments.setdefault(piece.index, []).append(piece.arguments)
    return tuple(ToolCall(id=heads[n].id, name=heads[n].name, arguments="".join(arguments[n])) for n in sorted(heads))


def check_tools(request: Request, can: Capabilities, engine: str) -> None:
    """Refuse tools, and messages with calls, where an engine has none.

    Raises:
        BackendError: names what it lacks.
    """
    if not can.tools and (request.tools is not None or any(m.has_calls for m in request.messages or ())):
        raise BackendError(f"{engine} calls no tools; leave them out, or use a server that does by 'endpoint: chat'")
    if request.tools is None:
        return
    if request.messages is None:
        raise BackendError("tools need messages: they stand in the model's own chat template, not in a prompt")
    if lacking := lacks(request.tools, can.tool_wishes):
        raise BackendError(f"{engine} takes no {WISHES[lacking]}; leave it out")


def lacks(tools: Tools, known: Sequence[ToolWish]) -> ToolWish | None:
    """The first wish that is not known."""
    return next((wish for wish in tools.wishes if wish not in known), None)


WISHES: dict[ToolWish, str] = {
    "required": "tool_choice 'required'",
    "named": "tool_choice that names a tool",
    "parallel": "parallel_tool_calls",
}
"""The wishes by the words of a request."""
