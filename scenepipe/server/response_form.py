"""The shape of answers of the Responses API: whole, and as typed events."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any, Literal

from scenepipe.server import response_ids
from scenepipe.server.openai_parts import logprobs, usage
from scenepipe.server.openai_types import ResponsesBody
from scenepipe.server.problem import ApiError
from scenepipe.server.replies import Piece, Replies, Result
from scenepipe.server.service import Service
from scenepipe.server.sse import event
from scenepipe.server.turns import Asked, Turn
from scenepipe.tools import ToolCall, ToolCallPiece

Said = Literal["reasoning", "message"]
Item = Said | int
"""What is said, or the number of a call of a tool."""
_PARTS: dict[Said, str] = {"reasoning": "reasoning_text", "message": "output_text"}


class Form:
    """One response. Its items stand in the order in which they were begun."""

    def __init__(self, service: Service, question: Asked, body: ResponsesBody, turn: Turn) -> None:
        self._question = question
        self._body = body
        self._turn = turn
        self._number = 0
        lost = response_ids.PREFIX + uuid.uuid4().hex
        self._id = response_ids.response_id(turn.tip, turn.chat) if turn.tip and turn.chat else lost
        self._ids: dict[Item, str] = {"reasoning": f"rs_{uuid.uuid4().hex}", "message": f"msg_{uuid.uuid4().hex}"}
        self._begun: list[Item] = []
        self._created = time.time()
        self._model = body.model or service.pipeline.name

    def whole(self, result: Result) -> dict[str, Any]:
        """One ``response``."""
        for kind in _kinds(result):
            if kind not in self._begun:
                self._begun.append(kind)
        status = "incomplete" if result.finish == "length" else "completed"
        cut = {"reason": "max_output_tokens"} if result.finish == "length" else None
        found = self._response(status, [self._done(kind, result) for kind in self._begun])
        found |= {"incomplete_details": cut, "usage": _usage(result), "completed_at": time.time()}
        if self._question.scene:
            found["scenepipe"] = self._turn.told(result)
        return found

    async def events(self, replies: Replies) -> AsyncIterator[list[dict[str, Any]]]:
        """Typed events in the order of the API, in groups that belong together."""
        opening = self._opening()
        async for pieces in replies.pieces():
            told = [each for piece in pieces for each in self._told(piece)]
            yield opening + told
            opening = []
        result = (await replies.results())[0]
        yield opening + self._closing(result)

    def failed(self, error: ApiError) -> bytes:
        """The end of a stream that failed."""
        response = self._response("failed", []) | {"error": {"code": "server_error", "message": error.message}}
        return event(self._event("response.failed", response=response), "response.failed")

    def _opening(self) -> list[dict[str, Any]]:
        started = self._response("in_progress", [])
        names = ("response.created", "response.in_progress")
        return [self._event(name, response=started) for name in names]

    def _told(self, piece: Piece) -> list[dict[str, Any]]:
        found = []
        if piece.reasoning:
            found += [*self._begin("reasoning"), self._part_event("reasoning", "delta", delta=piece.reasoning)]
        if piece.text:
            told = logprobs(piece.logprobs)
            found += [*self._begin("message"), self._part_event("message", "delta", delta=piece.text, logprobs=told)]
        return found + [event for call in piece.tool_calls for event in self._called(call)]

    def _called(self, piece: ToolCallPiece) -> list[dict[str, Any]]:
        begun = self._begin(piece.index, ToolCall(id=piece.id, name=piece.name))
        where = self._place(piece.index)
        return [*begun, self._event("response.function_call_arguments.delta", **where, delta=piece.arguments)]

    def _begin(self, kind: Item, call: ToolCall | None = None) -> list[dict[str, Any]]:
        """What announces an item, the first time."""
        if kind in self._begun:
            return []
        self._begun.append(kind)
        if isinstance(kind, int):
            assert call is not None, "a call begins with its name"
            return [self._item_event("added", kind, self._call(kind, "in_progress", call))]
        added = self._item_event("added", kind, self._item(kind, "in_progress", []))
        return [added, self._event("response.content_part.added", **self._where(kind), part=_part(kind, ""))]

    def _closing(self, result: Result) -> list[dict[str, Any]]:
        found = []
        for kind in _kinds(result):
            found += self._begin(kind, result.tool_calls[kind] if isinstance(kind, int) else None)
        for kind in self._begun:
            item = self._done(kind, result)
            if isinstance(kind, int):
                told = {"name": item["name"], "arguments": item["arguments"]}
                found.append(self._event("response.function_call_arguments.done", **self._place(kind), **told))
            else:
                part = item["content"][0]
                more = {"logprobs": part["logprobs"]} if kind == "message" else {}
                found.append(self._part_event(kind, "done", text=part["text"], **more))
                found.append(self._event("response.content_part.done", **self._where(kind), part=part))
            found.append(self._item_event("done", kind, item))
        name = "response.incomplete" if result.finish == "length" else "response.completed"
        return [*found, self._event(name, response=self.whole(result))]

    def _event(self, name: str, /, **fields: Any) -> dict[str, Any]:
        number, self._number = self._number, self._number + 1
        return {"type": name, "sequence_number": number, **fields}

    def _item_event(self, what: str, kind: Item, item: dict[str, Any]) -> dict[str, Any]:
        return self._event(f"response.output_item.{what}", output_index=self._begun.index(kind), item=item)

    def _part_event(self, kind: Said, what: str, **fields: Any) -> dict[str, Any]:
        return self._event(f"response.{_PARTS[kind]}.{what}", **self._where(kind), **fields)

    def _place(self, kind: Item) -> dict[str, Any]:
        return {"item_id": self._id_of(kind), "output_index": self._begun.index(kind)}

    def _where(self, kind: Said) -> dict[str, Any]:
        return {**self._place(kind), "content_index": 0}

    def _id_of(self, kind: Item) -> str:
        return self._ids.setdefault(kind, f"fc_{uuid.uuid4().hex}")

    def _done(self, kind: Item, result: Result) -> dict[str, Any]:
        if isinstance(kind, int):
            return self._call(kind, "incomplete" if result.finish == "length" else "completed", result.tool_calls[kind])
        status = "incomplete" if result.finish == "length" and kind == "message" else "completed"
        text = result.text if kind == "message" else result.reasoning
        return self._item(kind, status, [_part(kind, text, result)])

    def _call(self, number: int, status: str, call: ToolCall) -> dict[str, Any]:
        told = {"call_id": call.id, "name": call.name, "arguments": call.arguments}
        return {"type": "function_call", "id": self._id_of(number), "status": status, **told}

    def _item(self, kind: Said, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        more: dict[str, Any] = {"role": "assistant"} if kind == "message" else {"summary": []}
        return {"type": kind, "id": self._ids[kind], "status": status, "content": content, **more}

    def _response(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        body = self._body
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "model": self._model,
            "output": output,
            "parallel_tool_calls": bool(body.tools) if body.parallel_tool_calls is None else body.parallel_tool_calls,
            "previous_response_id": body.previous_response_id,
            "store": self._question.ask.remember,
            "temperature": body.temperature,
            "text": {"format": {"type": body.text.format.type if body.text else "text"}},
            "tool_choice": (body.tool_choice or "auto") if body.tools else "none",
            "tools": body.tools or [],
            "top_p": body.top_p,
            "truncation": "disabled",
            "usage": None,
            "user": body.user,
        }


async def encoded(events: AsyncIterator[list[dict[str, Any]]]) -> AsyncIterator[bytes]:
    """Groups of events as server-sent events."""
    async for group in events:
        yield b"".join(event(each, each["type"]) for each in group)


def _kinds(result: Result) -> list[Item]:
    thought: list[Item] = ["reasoning"] if result.reasoning else []
    said: list[Item] = ["message"] if result.text or not result.tool_calls else []
    return [*thought, *said, *range(len(result.tool_calls))]


def _part(kind: Said, text: str, result: Result | None = None) -> dict[str, Any]:
    part: dict[str, Any] = {"type": _PARTS[kind], "text": text}
    if kind == "message":
        part |= {"annotations": [], "logprobs": logprobs(result.logprobs) if result is not None else []}
    return part


def _usage(result: Result) -> dict[str, Any]:
    told = usage([result])
    return {
        "input_tokens": told["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": told["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": told["total_tokens"],
    }
