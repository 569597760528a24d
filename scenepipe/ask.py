"""What one caller asks of one run, over what the pipeline's stages are set to.

A server has one pipeline and many callers: each brings its own length, seed, stop strings or schema. `Pipeline.arun` and
`Pipeline.stream` take an `Ask` and every stage finds it as ``ctx.ask``; ``decode`` and ``remember`` follow it. What is
not asked for stays as the stage has it.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from scenepipe.errors import InputError
from scenepipe.message import Message
from scenepipe.sampling import Sampling
from scenepipe.tools import Tools


class Ask(BaseModel):
    """The wishes of one caller.

    Args:
        max_tokens: length of the reply; None leaves the stage's.
        sampling: settings of `Sampling` by name, instead of the stage's.
        stop: strings that end the reply, besides the stage's.
        seed: of the reply; None leaves the stage's.
        json_schema: the reply must be JSON of this schema, instead of the stage's.
        logprobs: alternatives told of each token, 0 for the token alone; None tells nothing.
        style: how to speak, for a whole chat: a system prompt. A line of the scene prompt before all others.
        messages: the conversation up to the reply, which goes through the model's own chat template instead of the scene
            prompt; None leaves the scene prompt.
        tools: what the model may call; with messages.
        remember: whether ``remember`` writes this run.
        keep: settings of the chat, remembered with its turn (``data["style"]`` of the encounter).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tokens: Annotated[int, Field(ge=1)] | None = None
    sampling: dict[str, Any] = {}
    stop: tuple[str, ...] = ()
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    json_schema: dict[str, Any] | None = None
    logprobs: Annotated[int, Field(ge=0, le=100)] | None = None
    style: str = ""
    messages: tuple[Message, ...] | None = None
    tools: Tools | None = None
    remember: bool = True
    keep: dict[str, Any] = {}

    def over(self, sampling: Sampling) -> Sampling:
        """The stage's settings with the caller's in their place.

        Raises:
            InputError: a setting that does not exist, or a value out of its range.
        """
        if not self.sampling:
            return sampling
        try:
            return Sampling(**(sampling.model_dump() | self.sampling))
        except ValueError as error:
            raise InputError(f"the settings {self.sampling} cannot be asked for: {error}") from None


NOTHING = Ask()
