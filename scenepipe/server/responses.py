"""``POST /v1/responses``: the same turn in the form of the Responses API, whole or as its typed events."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

from pydantic import ValidationError
from starlette.requests import HTTPConnection
from starlette.requests import Request as HttpRequest

from scenepipe.server import response_ids
from scenepipe.server.auth import Caller
from scenepipe.server.chat import log_results, usage
from scenepipe.server.limits import check_text, read_body
from scenepipe.server.logs import LOG
from scenepipe.server.messages import conversation
from scenepipe.server.openai_types import ChatMessage, ResponsesBody
from scenepipe.server.places import NAMELESS
from scenepipe.server.problem import ApiError, invalid, of_validation
from scenepipe.server.replies import Maker, Piece, Replies, Result
from scenepipe.server.service import Service, caller_of, service_of
from scenepipe.server.sse import Answer, Reach, event, with_errors
from scenepipe.server.turns import Asked, Turn, asked, begin


async def responses(request: HttpRequest) -> Answer:
    """A response, or the stream of its events."""
    service, caller = service_of(request), caller_of(request)
    body = await read_body(request, ResponsesBody, service.settings)
    question = question_of(request, service, caller, body)

    async def work(reach: Reach) -> None:
        turns: list[Turn] = []

        async def makers() -> Sequence[Maker]:
            turns.append(await begin(service, caller, question))
            return turns[0].makers

        with service.spans.request("/v1/responses", request.scope["state"]["request_id"]):
            async with service.replying(caller, question.lane, makers) as replies:
                form = Form(service, question, body, turns[0])
                if body.stream:
                    worded = with_errors(encoded(form.events(replies)), form.failed, log=_log)
                    await reach.stream(worded, turns[0].headers)
                else:
                    await reach.whole(form.whole((await replies.results())[0]), turns[0].headers)
                log_results(request, service, question, replies)

    return Answer(work, stall_s=service.settings.stall_s)


def question_of(request: HTTPConnection, service: Service, caller: Caller, body: ResponsesBody) -> Asked:
    """What a request asks.

    Raises:
        ApiError: something that cannot be done.
    """
    wishes = service.wishes()
    wishes.refuse_tools(body.tools, body.tool_choice)
    if body.background:
        raise invalid("responses are not made in the background; leave 'background' out", "background", "unsupported")
    talk = conversation(_messages(body), service.settings)
    sampling: dict[str, Any] = {"temperature": body.temperature, "top_p": body.top_p}
    sampling["reasoning_effort"] = body.reasoning.effort if body.reasoning else None
    wanted = body.top_logprobs or ("message.output_text.logprobs" in (body.include or ()) or None)
    style = check_text(body.instructions or "", "instructions", service.settings)
    ask = wishes.ask(
        max_tokens=body.max_output_tokens,
        sampling={name: value for name, value in sampling.items() if value is not None},
        json_schema=wishes.schema(body.text.format if body.text else None, "text.format"),
        logprobs=None if wanted is None else body.top_logprobs or 0,
        style="\n".join(part for part in (style, talk.style) if part),
        remember=body.store is not False,
    )
    extension, chat = body.scenepipe, body.conversation
    if body.previous_response_id is not None:
        tip, chat = response_ids.parse(body.previous_response_id)
        extension = extension.model_copy(update={"parent": tip, "chat": None})
    elif chat is None and not talk.turns and extension.chat is None:
        chat = f"resp-{uuid.uuid4().hex}"
    return asked(
        request,
        service,
        caller,
        talk=talk,
        ask=ask,
        model=body.model,
        extension=extension,
        conversation=chat,
        user=body.user,
    )


def _messages(body: ResponsesBody) -> list[ChatMessage]:
    """The input as messages; items that are no messages are refused, but reasoning, which is passed over."""
    if not body.input:
        raise invalid("there is no input; give a text or a list of messages", "input", "missing")
    if isinstance(body.input, str):
        return [ChatMessage(role="user", content=body.input)]
    found = []
    for place, item in enumerate(body.input):
        kind = item.get("type", "message")
        if kind == "reasoning":
            continue
        if kind != "message":
            raise invalid(f"an item of type {str(kind)[:40]!r} cannot be taken", f"input.{place}", "unsupported")
        try:
            found.append(ChatMessage.model_validate(item))
        except ValidationError as error:
            fault = of_validation(error)
            raise invalid(fault.message, f"input.{place}.{fault.param}", fault.code) from None
    return found


class Form:
    """The shape of answers: responses, whole and as events."""

    def __init__(self, service: Service, question: Asked, body: ResponsesBody, turn: Turn) -> None:
        self._question = question
        self._body = body
        self._turn = turn
        self._number = 0
        stored = turn.tip is not None and turn.chat is not None and not turn.chat.startswith(NAMELESS)
        lost = response_ids.PREFIX + uuid.uuid4().hex
        self._id = response_ids.response_id(turn.tip or "", turn.chat or "") if stored else lost
        self._item = f"msg_{uuid.uuid4().hex}"
        self._created = time.time()
        self._model = body.model or service.pipeline.name

    def whole(self, result: Result) -> dict[str, Any]:
        """One ``response``."""
        status = "completed" if result.finish == "stop" else "incomplete"
        cut = {"reason": "max_output_tokens"} if result.finish == "length" else None
        output = [self._message(self._text(result.text, result), "completed" if cut is None else "incomplete")]
        if result.reasoning:
            thought = {"type": "reasoning_text", "text": result.reasoning}
            item = {"type": "reasoning", "id": f"rs_{uuid.uuid4().hex}", "summary": [], "content": [thought]}
            output.insert(0, item)
        found = self._response(status, output) | {"incomplete_details": cut, "usage": _usage(result)}
        found["completed_at"] = time.time()
        if self._question.scene:
            found["scenepipe"] = self._turn.told(result)
        return found

    async def events(self, replies: Replies) -> AsyncIterator[list[dict[str, Any]]]:
        """Typed events in the order of the API, in groups that belong together."""
        begun = False
        async for pieces in replies.pieces():
            opening = [] if begun else self._opening()
            begun = True
            yield opening + [self._delta(piece) for piece in pieces if piece.text]
        result = (await replies.results())[0]
        yield ([] if begun else self._opening()) + self._closing(result)

    def failed(self, error: ApiError) -> bytes:
        """The end of a stream that failed."""
        response = self._response("failed", []) | {"error": {"code": "server_error", "message": error.message}}
        return event(self._event("response.failed", response=response), "response.failed")

    def _opening(self) -> list[dict[str, Any]]:
        started = self._response("in_progress", [])
        return [
            self._event("response.created", response=started),
            self._event("response.in_progress", response=started),
            self._event("response.output_item.added", output_index=0, item=self._message(None, "in_progress")),
            self._event("response.content_part.added", **self._where(), part=self._text("")),
        ]

    def _delta(self, piece: Piece) -> dict[str, Any]:
        told = _logprobs(piece.logprobs)
        return self._event("response.output_text.delta", **self._where(), delta=piece.text, logprobs=told)

    def _closing(self, result: Result) -> list[dict[str, Any]]:
        part, whole = self._text(result.text, result), self.whole(result)
        done = self._message(part, "completed" if result.finish == "stop" else "incomplete")
        text = {"text": result.text, "logprobs": _logprobs(result.logprobs)}
        name = "response.completed" if result.finish == "stop" else "response.incomplete"
        return [
            self._event("response.output_text.done", **self._where(), **text),
            self._event("response.content_part.done", **self._where(), part=part),
            self._event("response.output_item.done", output_index=0, item=done),
            self._event(name, response=whole),
        ]

    def _event(self, name: str, **fields: Any) -> dict[str, Any]:
        number, self._number = self._number, self._number + 1
        return {"type": name, "sequence_number": number, **fields}

    def _where(self) -> dict[str, Any]:
        return {"item_id": self._item, "output_index": 0, "content_index": 0}

    def _text(self, text: str, result: Result | None = None) -> dict[str, Any]:
        told = _logprobs(result.logprobs) if result is not None else []
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": told}

    def _message(self, part: dict[str, Any] | None, status: str) -> dict[str, Any]:
        content = [] if part is None else [part]
        return {"type": "message", "id": self._item, "role": "assistant", "status": status, "content": content}

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
            "parallel_tool_calls": False,
            "previous_response_id": body.previous_response_id,
            "store": self._question.ask.remember,
            "temperature": body.temperature,
            "text": {"format": {"type": body.text.format.type if body.text else "text"}},
            "tool_choice": "none",
            "tools": [],
            "top_p": body.top_p,
            "truncation": "disabled",
            "usage": None,
            "user": body.user,
        }


async def encoded(events: AsyncIterator[list[dict[str, Any]]]) -> AsyncIterator[bytes]:
    """Groups of events as server-sent events."""
    async for group in events:
        yield b"".join(event(each, each["type"]) for each in group)


def _usage(result: Result) -> dict[str, Any]:
    told = usage([result])
    return {
        "input_tokens": told["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": told["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": told["total_tokens"],
    }


def _logprobs(tokens: Sequence[Any]) -> list[dict[str, Any]]:
    return [
        {
            "token": drawn.token,
            "bytes": list(drawn.token.encode("utf-8", "replace")),
            "logprob": drawn.logprob,
            "top_logprobs": [
                {"token": top.token, "bytes": list(top.token.encode("utf-8", "replace")), "logprob": top.logprob}
                for top in drawn.top
            ],
        }
        for drawn in tokens
    ]


def _log(error: BaseException) -> None:
    LOG.error("a stream failed after it had begun", exc_info=error)
