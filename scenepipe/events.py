"""The one typed event stream: the same on Python streams, WebSocket, JSONL logs and tracing spans.

Every event names its run and the scene it belongs to. A cached replay emits the same events.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from scenepipe.contracts import DrawnToken
from scenepipe.scene import Reply, Scene
from scenepipe.tools import ToolCallPiece


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str = ""
    scene_id: str = ""


class RunStarted(_Event):
    """A text became a scene and enters the first stage."""

    type: Literal["run_started"] = "run_started"
    pipeline: str
    scene: Scene


class StageStarted(_Event):
    type: Literal["stage_started"] = "stage_started"
    stage: str


class SceneUpdated(_Event):
    """A stage filled fields; ``fields`` holds the changed ones in JSON form."""

    type: Literal["scene_updated"] = "scene_updated"
    stage: str
    fields: dict[str, Any]


class Token(_Event):
    """A stretch of the reply as the engine released it.

    ``reasoning`` is a stretch of what the model thought before it; ``logprobs`` are there where the caller asked for them;
    ``tool_calls`` are stretches of calls.
    """

    type: Literal["token"] = "token"
    text: str
    reasoning: str = ""
    logprobs: tuple[DrawnToken, ...] = ()
    tool_calls: tuple[ToolCallPiece, ...] = ()


class ReplyFinished(_Event):
    type: Literal["reply_finished"] = "reply_finished"
    reply: Reply


class StageFinished(_Event):
    type: Literal["stage_finished"] = "stage_finished"
    stage: str
    seconds: float


class Warned(_Event):
    """Something that did not stop the run and that the caller should know."""

    type: Literal["warning"] = "warning"
    stage: str
    message: str


class Failed(_Event):
    """A stage failed this scene; the run ends here."""

    type: Literal["failure"] = "failure"
    stage: str
    error: str
    message: str


class RunFinished(_Event):
    type: Literal["run_finished"] = "run_finished"
    scene: Scene
    seconds: float


Event = Annotated[
    RunStarted | StageStarted | SceneUpdated | Token | ReplyFinished | StageFinished | Warned | Failed | RunFinished,
    Field(discriminator="type"),
]

_ADAPTER: TypeAdapter[Event] = TypeAdapter(Event)


def parse_event(data: str | bytes) -> Event:
    """Read one event from its JSON line.

    Raises:
        pydantic.ValidationError: the line is not one of the event types.
    """
    return _ADAPTER.validate_json(data)
