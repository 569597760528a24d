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
from scenepipe.server.logs import LOG
from scenepipe.server.messages import conversation
from scenepipe.server.openai_types import ChatBody
from scenepipe.server.problem import ApiError
from scenepipe.server.replies import Piece, Replies, Result
from scenepipe.server.service import Service, caller_of, note, service_of
from scenepipe.server.sse import DONE, Answer, Reach, event, with_errors
from scenepipe.server.turns import Asked, Turn, asked, begin


async def chat_completions(request: HttpRequest) -> Answer:
    """A reply, or a stream of its pieces."""
    service, caller = service_of(request), caller_of(request)
    body = await read_body(request, ChatBody, service.settings)
    question = _asked(request, service, body)

    async def work(reach: Reach) -> None:
        form = Form(service, question, body.model or service.pipeline.name)
        turns: list[Turn] = []

        async def makers() -> Sequence[Any]:
            turns.append(await begin(service, caller, question))
            return turns[0].makers

        with service.spans.request("/v1/chat/completions", request.scope["state"]["request_id"]):
            async with service.replying(caller, question.lane, makers) as replies:
                if body.stream:
                    chunks = form.stream(replies, turns[0], usage=body.usage_wanted)
                    failed = with_errors(chunks, _failed, log=_log)
                    await reach.stream(failed, turns[0].headers)
                else:
                    results = await replies.results()
                    await reach.whole(form.whole(results, turns[0]), turns[0].headers)
                log_results(request, service, question, replies)

    return Answer(work, stall_s=service.settings.stall_s)


def _asked(request: HttpRequest, service: Service, body: ChatBody) -> Asked:
    wishes = service.wishes()
    wishes.refuse_tools(body.tools, body.tool_choice)
    wishes.refuse_tools(body.functions, None, "functions")
    wishes.refuse_sound(body.modalities)
    talk = conversation(body.messages, service.settings)
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
        if result.reasoning:
            message |= {"reasoning_content": result.reasoning, "reasoning": result.reasoning}
        told = _logprobs(result.logprobs) if self._question.ask.logprobs is not None else None
        return {"index": index, "message": message, "logprobs": told, "finish_reason": result.finish}

    async def stream(self, replies: Replies, turn: Turn, *, usage: bool) -> AsyncIterator[bytes]:
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
        if usage:
            yield event(self._chunk([]) | {"usage": _usage(results)})
        yield DONE

    def _role(self, index: int) -> bytes:
        return event(self._chunk([_delta(index, {"role": "assistant", "content": ""})]))

    def _piece(self, piece: Piece) -> bytes:
        if not piece.reasoning and not piece.logprobs:
            return self._text(piece.index) + to_json(piece.text) + b'},"logprobs":null,"finish_reason":null}]}\n\n'
        delta: dict[str, Any] = {"content": piece.text} if piece.text else {}
        if piece.reasoning:
            delta |= {"reasoning_content": piece.reasoning, "reasoning": piece.reasoning}
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


def usage(results: Sequence[Result]) -> dict[str, Any]:
    """Tokens of a request: its prompt once, all of its replies."""
    prompt = max((result.usage.prompt_tokens for result in results), default=0)
    reply = sum(result.usage.reply_tokens for result in results)
    return {"prompt_tokens": prompt, "completion_tokens": reply, "total_tokens": prompt + reply}


_usage = usage


def _logprobs(tokens: Sequence[DrawnToken]) -> dict[str, Any]:
    content = [
        {
            "token": drawn.token,
            "logprob": drawn.logprob,
            "bytes": list(drawn.token.encode("utf-8", "replace")),
            "top_logprobs": [
                {"token": top.token, "logprob": top.logprob, "bytes": list(top.token.encode("utf-8", "replace"))}
                for top in drawn.top
            ],
        }
        for drawn in tokens
    ]
    return {"content": content, "refusal": None}


def _failed(error: ApiError) -> bytes:
    return event(error.body()) + DONE


def _log(error: BaseException) -> None:
    LOG.error("a stream failed after it had begun", exc_info=error)


def log_results(request: HttpRequest, service: Service, question: Asked, replies: Replies) -> None:
    """Figures of the replies for the log line; words only where the operator wants them."""
    results = replies.finished
    told = usage(results)
    note(request, model=question.model, prompt_tokens=told["prompt_tokens"], reply_tokens=told["completion_tokens"])
    note(request, task=question.task, finish=results[0].finish if results else None)
    if service.settings.log_content and results:
        note(request, text=question.talk.text, reply=results[0].text)
