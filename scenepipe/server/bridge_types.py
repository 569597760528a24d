"""What clients send over the bridge. Unknown fields are refused: there is one bridge, and a misspelt wish is a wish unheard."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from scenepipe.server.openai_types import Name, Seed, Stops, Temperature, Tokens, TopP

Id = Annotated[str, Field(min_length=1, max_length=64)]
ChatName = Annotated[str, Field(min_length=1, max_length=200)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Run(_Message):
    """Speak a text.

    Args:
        id: the client's name for this run; everything that is told of it carries it.
        model: a model id or a mixture, as ``/v1/models`` has them.
        chat: the chat that it belongs to.
        parent: the encounter that it follows; ``none`` begins at the root.
        system: how to speak; it stays with the chat.
        again: the same for a run that is sent again: what was answered is told again, nothing is spoken or remembered twice.
        remember: False leaves no trace.
    """

    type: Literal["run"]
    id: Id
    text: str
    model: Name | None = None
    chat: ChatName | None = None
    parent: Annotated[str, Field(max_length=64)] | None = None
    system: str = ""
    max_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    stop: Stops | None = None
    seed: Seed | None = None
    again: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    remember: bool = True


class Cancel(_Message):
    """Stop a run; ``cancelled`` says that it has stopped."""

    type: Literal["cancel"]
    id: Id


class Subscribe(_Message):
    """Hear every run of a chat, from the next one on, whoever speaks."""

    type: Literal["subscribe"]
    chat: ChatName


class Unsubscribe(_Message):
    """Hear it no longer."""

    type: Literal["unsubscribe"]
    chat: ChatName


class Auth(_Message):
    """The first message of a client that could send no header."""

    type: Literal["auth"]
    key: Annotated[str, Field(max_length=512)]


Said = Annotated[Run | Cancel | Subscribe | Unsubscribe | Auth, Field(discriminator="type")]
SAID: TypeAdapter[Run | Cancel | Subscribe | Unsubscribe | Auth] = TypeAdapter(Said)
