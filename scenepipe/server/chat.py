"""``POST /v1/chat/completions``."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request as HttpRequest

from scenepipe.contracts import DrawnToken
from scenepipe.server.limits import read_body
from scenepipe.server.messages import conversation
from scenepipe.server.openai_parts import logprobs, usage
from scenepipe.server.openai_types import ChatBody
from scenepipe.server.replies import Piece, Replies, Result
from scenepipe.server.service import Service, caller_of, note, service_of
from scenepipe.server.sse import DONE, Answer, Reach, event, with_errors
from scenepipe.server.turns import Asked, Turn, asked, log_fields, spoken


async def chat_completions(request: HttpRequest) -> Answer:
    """A reply, or a stream of its pieces."""
    service, caller = service_of(request), caller_of(request)
    body = await read_body(request, ChatBody, service.settings)
    question = _asked(request, service, body)

    async def work(reach: Reach) -> None:
        form = Form(service, question, body.model or service.pipeline.name)
        name = request.scope["state"]["request_id"]
        async with spoken(service, caller, question, route="/v1/chat/completions", request_id=name) as (turn, replies):
            if body.stream:
                chunks = form.stream(replies, turn, with_usage=body.usage_wanted)
                await reach.stream(with_errors(chunks), turn.headers)
            else:
                await reach.whole(form.whole(await replies.results(), turn), turn.headers)
            note(request, **log_fields(service, question, replies))

    return Answer(work, stall_s=service.settings.stall_s)


def _asked(request: HttpRequest, service: Service, body: ChatBody) -> Asked:
    wishes = service.wishes()
    tools = wishes.tools(body.tools, body.tool_choice, parallel=body.parallel_tool_calls)
    wishes.refuse_functions(body.functions)
    wishes.refuse_sound(body.modalities)
    talk = conversation(body.messages, service.settings, tools=wishes.can.tools)
    sampling = body.sampling()
    if body.reasoning_effort is not None:
        sampling["reasoning_effort"] = body.reasoning_effort
    ask = wishes.ask(
        max_tokens=body.max_completion_tokens or body.max_tokens,
        sampling=sampling,
        stop=body.stop,
        seed=body.seed,
        json_schema=wishes.schema(body.response_format, "response_format"),
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        style=talk.style,
        tools=tools,
    )
    meta = (body.metadata or {}).get("session_id")
    return asked(
        request,
        service,
        caller_of(request),
        talk=talk,
        ask=ask,
        model=body.model,
        extension=body.scenepipe,
        conversation=body.conversation or meta,
        n=body.n or 1,
        user=body.user,
    )


class Form:
    """The shape of answers: chat completions, whole and in chunks."""

    def __init__(self, service: Service, question: Asked, model: str) -> None:
        self._question = question
        self._fingerprint = service.fingerprint()
        self._head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}

    def whole(self, results: Sequence[Result], turn: Turn) -> dict[str, Any]:
        """One ``chat.completion``."""
        body: dict[str, Any] = {"object": "chat.completion", **self._head, "system_fingerprint": self._fingerprint}
        body["choices"] = [self._choice(index, result) for index, result in enumerate(results)]
        body["usage"] = usage(results)
        if self._question.scene:
            body["scenepipe"] = turn.told(results[0])
        return body

    def _choice(self, index: int, result: Result) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": result.text, "refusal": None}
        if result.tool_calls:
            message |= {"content": result.text or None, "tool_calls": [call.wire() for call in result.tool_calls]}
        if result.reasoning:
            message |= {"reasoning_content": result.reasoning, "reasoning": result.reasoning}
        told = _logprobs(result.logprobs) if self._question.ask.logprobs is not None else None
        return {"index": index, "message": message, "logprobs": told, "finish_reason": result.finish}

    async def stream(self, replies: Replies, turn: Turn, *, with_usage: bool) -> AsyncIterator[bytes]:
        """Chunks: the role with the first token, one a piece, the end of each reply, usage where it was asked for."""
        begun: set[int] = set()
        async for pieces in replies.pieces():
            first = {piece.index for piece in pieces} - begun
            begun |= first
            roles = b"".join(map(self._role, sorted(first)))
            yield roles + b"".join(map(self._piece, pieces))
        results = await replies.results()
        for index, result in enumerate(results):
            yield (b"" if index in begun else self._role(index)) + self._end(index, result, turn)
        if with_usage:
            yield event(self._chunk([]) | {"usage": usage(results)})
        yield DONE

    def _role(self, index: int) -> bytes:
        return event(self._chunk([_delta(index, {"role": "assistant", "content": ""})]))

    def _piece(self, piece: Piece) -> bytes:
        if not (piece.reasoning or piece.logprobs or piece.tool_calls):
            return self._text(piece.index) + to_json(piece.text) + b'},"logprobs":null,"finish_reason":null}]}\n\n'
        delta: dict[str, Any] = {"content": piece.text} if piece.text else {}
        if piece.reasoning:
            delta |= {"reasoning_content": piece.reasoning, "reasoning": piece.reasoning}
        if piece.tool_calls:
            delta["tool_calls"] = [call.wire() for call in piece.tool_calls]
        told = _logprobs(piece.logprobs) if piece.logprobs else None
        return event(self._chunk([_delta(piece.index, delta) | {"logprobs": told}]))

    def _text(self, index: int) -> bytes:
        """A chunk up to its text: the same for every token of a reply, and 200 replies have 10,000 tokens a second."""
        if not hasattr(self, "_before"):
            head = to_json({**self._head, "object": "chat.completion.chunk", "system_fingerprint": self._fingerprint})
            self._before = b"data: " + head[:-1] + b',"choices":[{"index":'
        return self._before + str(index).encode() + b',"delta":{"content":'

    def _end(self, index: int, result: Result, turn: Turn) -> bytes:
        chunk = self._chunk([_delta(index, {}) | {"finish_reason": result.finish}])
        if self._question.scene and index == 0:
            chunk["scenepipe"] = turn.told(result)
        return event(chunk)

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        head = {**self._head, "object": "chat.completion.chunk", "system_fingerprint": self._fingerprint}
        return head | {"choices": choices}


def _delta(index: int, delta: dict[str, Any]) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}


def _logprobs(tokens: Sequence[DrawnToken]) -> dict[str, Any]:
    return {"content": logprobs(tokens), "refusal": None}
