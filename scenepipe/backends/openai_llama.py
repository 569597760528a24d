"""Replies and probabilities of a llama-server at another address, asked and read as the one in process is.

`scenepipe.backends.llama_reply` knows the requests and the events (llama.cpp ``tools/server/README.md``); here they go
through HTTP. No request uses a prompt cache: llama-server's do not know which LoRA wrote them.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from scenepipe.backends.llama_reply import LlamaReply, completion, forced_score, forced_token
from scenepipe.backends.llama_vocabulary import LlamaVocabulary
from scenepipe.backends.openai_http import HttpServer, new_id
from scenepipe.backends.openai_reply import understood
from scenepipe.backends.openai_wire import Voice
from scenepipe.contracts import Chunk, Request
from scenepipe.errors import BackendError
from scenepipe.scene import TokenScore


async def llama_reply(
    server: HttpServer, vocabulary: LlamaVocabulary, request: Request, prompt: str, voice: Voice, until: float
) -> AsyncGenerator[Chunk, None]:
    """The chunks of one reply.

    Raises:
        BackendError: the server failed, or did something else than it was asked for.
        DeadlineError: ``until`` passed.
    """
    scales, ids = voice.scales or (), await vocabulary.tokens(prompt, special=True, deadline=until)
    body = {**_spoken(completion(request, ids, scales, -1)), "stream": True}
    reply = LlamaReply(vocabulary, request, scales, until)
    started = time.perf_counter()
    request_id = new_id()
    told = server.told(request_id)
    async with aclosing(server.stream("/completion", body, deadline=until, request_id=request_id)) as events:
        async for event in events:
            with understood(told):
                chunk = await reply.chunk(event, time.perf_counter() - started)
            if chunk is not None:
                yield chunk
            if event["stop"]:
                return
    raise BackendError(f"{told}: it broke the reply off in the middle; look into its log")


async def llama_score(
    server: HttpServer, vocabulary: LlamaVocabulary, prompt: str, reply: str, voice: Voice, until: float
) -> list[TokenScore]:
    """One forced token a request: its figure comes from the raw logits."""
    ids, scores = await vocabulary.tokens(prompt, special=True, deadline=until), []
    for token, text in await vocabulary.pieces(reply, until):
        body = _spoken(forced_token(ids, token, voice.scales or ()))
        answer = await server.post("/completion", body, deadline=until)
        with understood(server.place):
            scores.append(forced_score(answer, token, text))
        ids.append(token)
    return scores


def _spoken(body: dict[str, Any]) -> dict[str, Any]:
    """A request without the scales of no adapters: an empty list would mean the server's own."""
    if not body["lora"]:
        del body["lora"]
    return body
