"""``POST /v1/responses``: the same turn in the form of the Responses API, whole or as its typed events."""

from __future__ import annotations

import uuid
from typing import Any

from starlette.requests import HTTPConnection
from starlette.requests import Request as HttpRequest

from scenepipe.server import response_ids
from scenepipe.server.auth import Caller
from scenepipe.server.limits import check_text, read_body
from scenepipe.server.messages import conversation
from scenepipe.server.openai_types import ResponsesBody
from scenepipe.server.places import RESPONSE
from scenepipe.server.problem import invalid
from scenepipe.server.response_form import Form, encoded
from scenepipe.server.response_input import messages_of
from scenepipe.server.service import Service, caller_of, note, service_of
from scenepipe.server.sse import Answer, Reach, with_errors
from scenepipe.server.turns import Asked, asked, log_fields, spoken


async def responses(request: HttpRequest) -> Answer:
    """A response, or the stream of its events."""
    service, caller = service_of(request), caller_of(request)
    body = await read_body(request, ResponsesBody, service.settings)
    question = question_of(request, service, caller, body)

    async def work(reach: Reach) -> None:
        name = request.scope["state"]["request_id"]
        async with spoken(service, caller, question, route="/v1/responses", request_id=name) as (turn, replies):
            form = Form(service, question, body, turn)
            if body.stream:
                await reach.stream(with_errors(encoded(form.events(replies)), form.failed), turn.headers)
            else:
                await reach.whole(form.whole((await replies.results())[0]), turn.headers)
            note(request, **log_fields(service, question, replies))

    return Answer(work, stall_s=service.settings.stall_s)


def question_of(request: HTTPConnection, service: Service, caller: Caller, body: ResponsesBody) -> Asked:
    """What a request asks.

    Raises:
        ApiError: something that cannot be done.
    """
    wishes = service.wishes()
    tools = wishes.tools(body.tools, body.tool_choice, parallel=body.parallel_tool_calls)
    if body.background:
        raise invalid("responses are not made in the background; leave 'background' out", "background", "unsupported")
    talk = conversation(messages_of(body), service.settings, tools=wishes.can.tools)
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
        tools=tools,
        remember=body.store is not False,
    )
    extension, chat, lost = body.scenepipe, body.conversation, None
    if body.previous_response_id is not None:
        lost = response_ids.not_found(body.previous_response_id)
        tip, chat = response_ids.parse(body.previous_response_id)
        extension = extension.model_copy(update={"parent": tip, "chat": None})
    elif chat is None and not talk.turns and not talk.goes_on and extension.chat is None:
        chat = f"{RESPONSE}{uuid.uuid4().hex}"
    return asked(
        request,
        service,
        caller,
        talk=talk,
        ask=ask,
        model=body.model,
        extension=extension,
        conversation=chat,
        lost=lost,
        user=body.user,
    )
