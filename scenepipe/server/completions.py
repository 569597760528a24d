"""``POST /v1/completions``: a prompt passes through to the engine as it is. No scene is made, nothing is remembered."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.requests import Request as HttpRequest

from scenepipe.contracts import DrawnToken, Request
from scenepipe.server import makers
from scenepipe.server.limits import check_text, read_body
from scenepipe.server.openai_parts import usage
from scenepipe.server.openai_types import CompletionBody
from scenepipe.server.problem import invalid
from scenepipe.server.replies import Piece, Replies, Result
from scenepipe.server.service import Service, caller_of, note, service_of
from scenepipe.server.sse import DONE, Answer, Reach, event, with_errors
from scenepipe.server.turns import seed_of

DEFAULT_TOKENS = 16
"""``max_tokens`` where none is given, as the API has it."""
MOST_PROMPTS = 64


async def completions(request: HttpRequest) -> Answer:
    """One completion for each prompt and choice, whole or as a stream."""
    service, caller = service_of(request), caller_of(request)
    body = await read_body(request, CompletionBody, service.settings)
    prompts = _prompts(body, service)
    requests = _requests(service, body, prompts)
    made = service.made(body.model)
    form = Form(service, body, [prompt for prompt in prompts for _ in range(body.n or 1)])

    async def work(reach: Reach) -> None:
        with service.spans.request("/v1/completions", request.scope["state"]["request_id"]):
            async with (
                service.admission.place(caller.name, f"user:{body.user}" if body.user else ""),
                service.replies([makers.of_prompt(made, each) for each in requests]) as replies,
            ):
                if body.stream:
                    await reach.stream(with_errors(form.stream(replies)))
                else:
                    await reach.whole(form.whole(await replies.results()))
                told = usage(replies.finished)
                note(request, model=body.model, prompt_tokens=told["prompt_tokens"])
                note(request, reply_tokens=told["completion_tokens"])

    return Answer(work, stall_s=service.settings.stall_s)


def _prompts(body: CompletionBody, service: Service) -> list[str]:
    given = body.prompt if isinstance(body.prompt, list) else [body.prompt or ""]
    if not all(isinstance(prompt, str) for prompt in given):
        raise invalid("prompts are texts here; token numbers cannot be taken", "prompt", "unsupported")
    prompts = [check_text(str(prompt), "prompt", service.settings) for prompt in given]
    if not prompts or not all(prompt.strip() for prompt in prompts):
        raise invalid("there is no prompt, or an empty one", "prompt", "missing")
    if len(prompts) > MOST_PROMPTS:
        raise invalid(f"{len(prompts)} prompts were given; at most {MOST_PROMPTS}", "prompt", "invalid_value")
    return prompts


def _requests(service: Service, body: CompletionBody, prompts: Sequence[str]) -> list[Request]:
    wishes, count = service.wishes(), body.n or 1
    if body.suffix:
        raise invalid("no engine here fills in a middle; leave 'suffix' out", "suffix", "unsupported_parameter")
    if body.best_of not in (None, count):
        raise invalid("'best_of' is not taken; leave it out", "best_of", "unsupported_parameter")
    if count * len(prompts) > service.settings.most_choices * MOST_PROMPTS or count > service.settings.most_choices:
        raise invalid(f"n is {count}; possible: 1 to {service.settings.most_choices}", "n", "invalid_value")
    if body.echo and body.logprobs is not None:
        message = "no log-probabilities are told of a prompt; leave 'echo' or 'logprobs' out"
        raise invalid(message, "echo", "unsupported_parameter")
    mixture = service.voices.mixture(body.model)
    ask = wishes.ask(
        max_tokens=body.max_tokens,
        sampling=body.sampling(),
        stop=body.stop,
        seed=body.seed,
        logprobs=body.logprobs,
    )
    found: list[Request] = []
    for prompt in prompts:
        one = service.through.request(ask, mixture, prompt=prompt, default_tokens=DEFAULT_TOKENS)
        found += [one.model_copy(update={"seed": seed_of(ask.seed, index)}) for index in range(count)]
    return found


class Form:
    """The shape of answers: text completions.

    Args:
        prompts: the prompt of each choice.
    """

    def __init__(self, service: Service, body: CompletionBody, prompts: Sequence[str]) -> None:
        self._body = body
        self._prompts = prompts
        self._said: Counter[int] = Counter()
        self._head = {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": body.model or service.pipeline.name,
            "system_fingerprint": service.fingerprint(),
        }

    def whole(self, results: Sequence[Result]) -> dict[str, Any]:
        """One ``text_completion``."""
        choices = []
        for index, result in enumerate(results):
            text = (self._prompts[index] if self._body.echo else "") + result.text
            choices.append(_choice(index, text, self._logprobs(index, result.logprobs), result.finish))
        return self._head | {"choices": choices, "usage": usage(results)}

    async def stream(self, replies: Replies) -> AsyncIterator[bytes]:
        """Chunks, the end of each choice, usage where it was asked for."""
        begun: set[int] = set()
        async for pieces in replies.pieces():
            yield b"".join(event(self._chunk(piece, begun)) for piece in pieces)
        results = await replies.results()
        for index, result in enumerate(results):
            yield event(self._head | {"choices": [_choice(index, "", None, result.finish)]})
        if self._body.usage_wanted:
            yield event(self._head | {"choices": [], "usage": usage(results)})
        yield DONE

    def _chunk(self, piece: Piece, begun: set[int]) -> dict[str, Any]:
        echoed = self._prompts[piece.index] if self._body.echo and piece.index not in begun else ""
        begun.add(piece.index)
        told = self._logprobs(piece.index, piece.logprobs)
        return self._head | {"choices": [_choice(piece.index, echoed + piece.text, told, None)]}

    def _logprobs(self, index: int, tokens: Sequence[DrawnToken]) -> dict[str, Any] | None:
        if self._body.logprobs is None:
            return None
        offsets = []
        for drawn in tokens:
            offsets.append(self._said[index])
            self._said[index] += len(drawn.token)
        return {
            "tokens": [drawn.token for drawn in tokens],
            "token_logprobs": [drawn.logprob for drawn in tokens],
            "top_logprobs": [{top.token: top.logprob for top in drawn.top} for drawn in tokens],
            "text_offset": offsets,
        }


def _choice(index: int, text: str, logprobs: dict[str, Any] | None, finish: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}
