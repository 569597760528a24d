"""Bodies of requests, as far as something here follows them. Unknown fields are passed over, wrong values refused.

Clients send far more than they need, and every one something else; refusing what is unknown would refuse most of them. What
is known and cannot be done (images, audio) is refused by name where it would change the answer.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, model_validator

Stop = Annotated[str, Field(min_length=1, max_length=256)]
Temperature = Annotated[float, Field(ge=0.0, le=2.0)]
TopP = Annotated[float, Field(gt=0.0, le=1.0)]
Penalty = Annotated[float, Field(ge=-2.0, le=2.0)]
Tokens = Annotated[StrictInt, Field(ge=1, le=2**31)]
Name = Annotated[str, Field(min_length=1, max_length=512)]
Seed = Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)]
MOST_STOPS = 16
MOST_CALLS = 128
"""Calls of tools in one message."""


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Stops = Annotated[list[Stop], BeforeValidator(_one_or_many), Field(max_length=MOST_STOPS)]


class Body(BaseModel):
    """A request's body."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Extension(Body):
    """``"scenepipe": {…}`` of a request: what no other server knows.

    Args:
        scene: the Scene rides along with the reply.
        chat: name of the chat.
        parent: the encounter that this turn follows; ``none`` begins at the root.
        remember: False leaves no trace of this request.
    """

    scene: bool = False
    chat: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    parent: Annotated[str, Field(max_length=64)] | None = None
    remember: bool = True


class StreamOptions(Body):
    include_usage: bool = False


class JsonSchema(Body):
    name: Annotated[str, Field(max_length=256)] = "schema"
    given: Annotated[dict[str, Any], Field(alias="schema")] = {}


class ResponseFormat(Body):
    """``response_format`` of chat completions."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> ResponseFormat:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("type 'json_schema' comes with 'json_schema': {'name': …, 'schema': {…}}")
        return self


class CalledFunction(Body):
    name: Annotated[str, Field(min_length=1, max_length=64)]
    arguments: str = ""


class Called(Body):
    """A call of a tool, as the model made it."""

    id: Annotated[str, Field(min_length=1, max_length=256)]
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(Body):
    """One message; ``content`` is a text, or parts of which only text is taken."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None
    tool_calls: Annotated[list[Called], Field(max_length=MOST_CALLS)] | None = None
    tool_call_id: Annotated[str, Field(max_length=256)] | None = None


class Drawing(Body):
    """What chat completions and completions have in common: how a reply is drawn."""

    model: Name | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: Annotated[StrictInt, Field(ge=-1, le=10_000)] | None = None
    min_p: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0.0, le=5.0)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[Annotated[int, Field(ge=0)], Annotated[float, Field(ge=-100.0, le=100.0)]] | None = None
    max_tokens: Tokens | None = None
    stop: Stops | None = None
    seed: Seed | None = None
    n: Annotated[StrictInt, Field(ge=1, le=128)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Annotated[str, Field(max_length=512)] | None = None
    scenepipe: Extension = Extension()

    def sampling(self) -> dict[str, Any]:
        """Settings by their names in `scenepipe.sampling.Sampling`, those that were given."""
        given = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": None if self.top_k is None else max(0, self.top_k),
            "min_p": self.min_p,
            "repeat_penalty": self.repetition_penalty,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "logit_bias": self.logit_bias or None,
        }
        return {name: value for name, value in given.items() if value is not None}

    @property
    def usage_wanted(self) -> bool:
        """Whether a stream ends with its usage."""
        return self.stream_options is not None and self.stream_options.include_usage


class ChatBody(Drawing):
    """``POST /v1/chat/completions``."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=4096)]
    max_completion_tokens: Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    functions: list[Any] | None = None
    modalities: list[str] | None = None
    metadata: dict[str, Any] | None = None
    conversation: str | dict[str, Any] | None = None


class CompletionBody(Drawing):
    """``POST /v1/completions``."""

    prompt: str | list[Any] | None = None
    suffix: str | None = None
    echo: bool | None = None
    best_of: StrictInt | None = None
    logprobs: Annotated[StrictInt, Field(ge=0, le=20)] | None = None


class TextFormat(Body):
    """``text.format`` of responses."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    given: Annotated[dict[str, Any], Field(alias="schema")] = {}


class TextOptions(Body):
    format: TextFormat = TextFormat()


class Reasoning(Body):
    effort: Literal["none", "minimal", "low", "medium", "high"] | None = None


class ResponsesBody(Body):
    """``POST /v1/responses``."""

    model: Name | None = None
    input: str | list[dict[str, Any]] | None = None
    instructions: str | None = None
    previous_response_id: Annotated[str, Field(max_length=2048)] | None = None
    conversation: str | dict[str, Any] | None = None
    max_output_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=20)] | None = None
    include: list[str] | None = None
    text: TextOptions | None = None
    reasoning: Reasoning | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    background: bool | None = None
    stream: bool | None = None
    store: bool | None = None
    user: Annotated[str, Field(max_length=512)] | None = None
    metadata: dict[str, Any] | None = None
    scenepipe: Extension = Extension()


class EmbeddingsBody(Body):
    """``POST /v1/embeddings``."""

    model: Name | None = None
    input: str | list[Any]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Tokens | None = None


class TextsBody(Body):
    """Texts to read: ``POST /v1/scenes`` and ``/v1/tokenize``."""

    input: Annotated[list[str], BeforeValidator(_one_or_many), Field(min_length=1)]
    vectors: bool = False


class SearchBody(Body):
    """``POST /v1/memory/search``; the filters of ``recall``."""

    input: str
    limit: Annotated[StrictInt, Field(ge=1, le=100)] = 10
    kinds: list[Literal["met", "spoken", "read", "linked"]] = []
    since: Annotated[str, Field(max_length=64)] | None = None
    until: Annotated[str, Field(max_length=64)] | None = None
    chat: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    registers: list[Annotated[str, Field(max_length=64)]] = []
    codes: list[Annotated[str, Field(max_length=64)]] = []
    ranges: dict[Literal["valence", "arousal", "dominance", "tension"], tuple[float, float]] = {}


class ExplainBody(Body):
    """``POST /v1/explain``; a ``scene`` that was replied to takes the place of ``input``, and nothing of it is read anew."""

    input: str
    model: Name | None = None
    scene: dict[str, Any] | None = None
