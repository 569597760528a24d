"""The tools of a request, in the form of chat completions or of the Responses API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from scenepipe.server.problem import invalid, of_validation
from scenepipe.server.schemas import checked
from scenepipe.tools import Tool, Tools

MOST_TOOLS = 128


def tools_of(given: Sequence[Any], choice: Any, parallel: bool | None) -> Tools:
    """The tools with what is asked about their calls; ``choice`` is not ``none``.

    Raises:
        ApiError: a tool that is no function, has no name or a wrong schema; a choice that is none.
    """
    if len(given) > MOST_TOOLS:
        raise invalid(f"there are {len(given)} tools, at most {MOST_TOOLS} are taken", "tools", "invalid_value")
    offered = [_function(tool, f"tools.{place}") for place, tool in enumerate(given)]
    named = _named(choice)
    try:
        return Tools(
            offered=tuple(offered),
            choice="required" if choice == "required" else "auto",
            named=named,
            parallel=parallel,
        )
    except ValidationError as error:
        where = "tools" if named is None else "tool_choice"
        raise invalid(str(error.errors()[0]["msg"]), where, "invalid_value") from None


def _function(tool: Any, where: str) -> Tool:
    if not isinstance(tool, Mapping) or tool.get("type", "function") != "function":
        kind = tool.get("type") if isinstance(tool, Mapping) else type(tool).__name__
        raise invalid(f"a tool of type {str(kind)[:40]!r} cannot be taken; a function can", where, "unsupported")
    given = tool.get("function", tool)  # the Responses API has its fields beside the type
    if not isinstance(given, Mapping):
        raise invalid(f"{where}.function must be an object", f"{where}.function", "invalid_type")
    if given.get("parameters") is not None:
        checked(given["parameters"], f"{where}.parameters")
    try:
        return Tool.model_validate({name: given[name] for name in Tool.model_fields if name in given})
    except ValidationError as error:
        fault = of_validation(error)
        raise invalid(fault.message, f"{where}.{fault.param}", fault.code) from None


def _named(choice: Any) -> str | None:
    if choice in (None, "auto", "required"):
        return None
    inside = choice.get("function", choice) if isinstance(choice, Mapping) else None
    name = inside.get("name") if isinstance(inside, Mapping) else None
    if not isinstance(name, str) or choice.get("type", "function") != "function":
        possible = "'none', 'auto', 'required', or {'type': 'function', 'function': {'name': …}}"
        raise invalid(f"this tool_choice cannot be taken; possible: {possible}", "tool_choice", "unsupported_value")
    return name
