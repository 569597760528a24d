"""From a request's settings to an `Ask`, and to a refusal where the engine could not honour it: all before the answer begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scenepipe.ask import Ask
from scenepipe.contracts import Capabilities
from scenepipe.errors import BackendError, InputError
from scenepipe.sampling import Sampling, check_sampling
from scenepipe.server.openai_types import ResponseFormat, TextFormat
from scenepipe.server.problem import invalid
from scenepipe.server.schemas import checked
from scenepipe.server.settings import Settings
from scenepipe.server.tools import tools_of
from scenepipe.tools import WISHES, Tools, lacks

_NOTHING_ASKED = Sampling(temperature=1.0, top_p=1.0, top_k=0, min_p=0.0)
ANY_OBJECT: dict[str, Any] = {"type": "object"}


class Wishes:
    """Checks what a request wishes against one engine.

    Args:
        engine: its name, for messages.
    """

    def __init__(self, can: Capabilities, engine: str, settings: Settings) -> None:
        self.can = can
        self.engine = engine
        self.settings = settings

    def ask(
        self,
        *,
        max_tokens: int | None,
        sampling: dict[str, Any],
        stop: Sequence[str] | None = None,
        seed: int | None = None,
        json_schema: dict[str, Any] | None = None,
        logprobs: int | None = None,
        style: str = "",
        tools: Tools | None = None,
        remember: bool = True,
    ) -> Ask:
        """The wishes as an `Ask`.

        Raises:
            ApiError: one that the engine or the server does not grant, by its name in the request.
        """
        if max_tokens is not None and max_tokens > self.settings.most_tokens:
            most = self.settings.most_tokens
            raise invalid(f"max_tokens is {max_tokens}; possible: 1 to {most}", "max_tokens", "invalid_value")
        self._check_sampling(sampling)
        if logprobs is not None:
            self._check_logprobs(logprobs)
        if json_schema is not None and not self.can.json_schema:
            raise self._lacks("response_format", "JSON Schemas")
        if stop and not self.can.stop:
            raise self._lacks("stop", "stop strings")
        return Ask(
            max_tokens=max_tokens,
            sampling=sampling,
            stop=tuple(stop or ()),
            seed=None if seed is None else seed % 2**31,
            json_schema=json_schema,
            logprobs=logprobs,
            style=style,
            tools=tools,
            remember=remember,
        )

    def schema(self, wanted: ResponseFormat | TextFormat | None, where: str) -> dict[str, Any] | None:
        """The JSON Schema of a response format.

        Raises:
            ApiError: a schema that cannot be taken, see `scenepipe.server.schemas`.
        """
        if wanted is None or wanted.type == "text":
            return None
        if wanted.type == "json_object":
            return ANY_OBJECT
        if isinstance(wanted, TextFormat):
            return checked(wanted.given, f"{where}.schema")
        assert wanted.json_schema is not None
        return checked(wanted.json_schema.given, f"{where}.json_schema.schema") or ANY_OBJECT

    def tools(self, tools: Sequence[Any] | None, choice: Any, *, parallel: bool | None) -> Tools | None:
        """The tools that may be called; None where there are none, or none may.

        Raises:
            ApiError: the engine calls none, or not as it is asked to; a tool that cannot be taken.
        """
        if not tools or choice == "none":
            return None
        if not self.can.tools:
            raise self._lacks("tools", "tools")
        found = tools_of(tools, choice, parallel)
        if (wish := lacks(found, self.can.tool_wishes)) is not None:
            where = "parallel_tool_calls" if wish == "parallel" else "tool_choice"
            raise self._lacks(where, WISHES[wish])
        return found

    def refuse_functions(self, functions: Sequence[Any] | None) -> None:
        """What tools were called before there were tools.

        Raises:
            ApiError: there are some.
        """
        if functions:
            raise invalid("'functions' cannot be taken; give them as 'tools'", "functions", "unsupported_parameter")

    def refuse_sound(self, modalities: Sequence[str] | None) -> None:
        """Text alone.

        Raises:
            ApiError: another modality.
        """
        if modalities and set(modalities) != {"text"}:
            raise self._lacks("modalities", "modalities other than text")

    def _check_sampling(self, sampling: dict[str, Any]) -> None:
        try:
            asked = Ask(sampling=sampling).over(_NOTHING_ASKED)
            check_sampling(asked, self.can.sampling, self.engine)
        except (InputError, BackendError) as error:
            wrong = next((name for name in sampling if name in str(error)), None)
            raise invalid(str(error), wrong, "unsupported_value") from None

    def _check_logprobs(self, logprobs: int) -> None:
        if not self.can.logprobs:
            raise self._lacks("logprobs", "log-probabilities")
        if logprobs > self.can.logprobs:
            most = self.can.logprobs
            raise invalid(f"{logprobs} alternatives were asked for; {self.engine} tells {most}", "top_logprobs")

    def _lacks(self, param: str, what: str) -> Exception:
        return invalid(f"the engine '{self.engine}' has no {what}; leave '{param}' out", param, "unsupported_parameter")
