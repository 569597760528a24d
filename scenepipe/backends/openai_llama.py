"""Replies and probabilities of a llama-server at another address, asked and read as the one in process is.

`scenepipe.backends.llama_reply` knows the requests and the events (llama.cpp ``tools/server/README.md``); here they go
through HTTP. No request uses a prompt cache: llama-server's do not know which LoRA wrote them.
"""

from __future__ import annotations

import codecs
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from scenepipe.backends.llama_reply import LlamaReply, completion, lora
from scenepipe.backends.openai_http import HttpServer, new_id
from scenepipe.backends.openai_reply import understood
from scenepipe.backends.openai_wire import Voice
from scenepipe.contracts import Chunk, Request
from scenepipe.errors import BackendError
from scenepipe.scene import TokenScore

if TYPE_CHECKING:
    from scenepipe.backends.llama_engine import LlamaEngine

_FORCED = 1e6
SMALLEST_LOGPROB = -103.28  # log(2**-149): what a float32 holds


class Vocabulary:
    """Token ids and their texts at a llama-server; control tokens in a text stay text."""

    def __init__(self, server: HttpServer, deadline: float | None = None) -> None:
        self._server = server
        self._deadline = deadline

    async def tokens(self, text: str, *, special: bool) -> list[int]:
        """Token ids, with the beginning-of-text token where ``special``."""
        body = {"content": text, "add_special": special, "parse_special": False}
        return [int(token) for token in (await self._post("/tokenize", body))["tokens"]]

    async def pieces(self, text: str) -> list[tuple[int, str]]:
        """Token ids with their characters; a character cut by a token belongs to the token that ends it."""
        body = {"content": text, "add_special": False, "parse_special": False, "with_pieces": True}
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        pieces = []
        for token in (await self._post("/tokenize", body))["tokens"]:
            piece = token["piece"]
            raw = piece.encode() if isinstance(piece, str) else bytes(piece)
            pieces.append((int(token["id"]), decoder.decode(raw)))
        return pieces

    async def text(self, tokens: Sequence[int]) -> str:
        """Characters of token ids, without one that the last token leaves unfinished."""
        return str((await self._post("/detokenize", {"tokens": list(tokens)}))["content"]).rstrip("\ufffd")

    async def piece(self, token: int) -> str:
        """Characters of one token; U+FFFD for bytes that are none."""
        return str((await self._post("/detokenize", {"tokens": [token]}))["content"])

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        return await self._server.post(path, body, deadline=self._deadline)


async def llama_reply(
    server: HttpServer, request: Request, prompt: str, voice: Voice, until: float
) -> AsyncGenerator[Chunk, None]:
    """The chunks of one reply.

    Raises:
        BackendError: the server failed, or did something else than it was asked for.
        DeadlineError: ``until`` passed.
    """
    vocabulary, scales = Vocabulary(server, until), voice.scales or ()
    body = {**completion(request, await vocabulary.tokens(prompt, special=True), scales, -1), "stream": True}
    if not scales:  # an empty list would mean the server's own scales, and it has no adapters
        del body["lora"]
    reply = LlamaReply(cast("LlamaEngine", vocabulary), request, scales)
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


async def llama_score(server: HttpServer, prompt: str, reply: str, voice: Voice, until: float) -> list[TokenScore]:
    """One forced token a request: its figure comes from the raw logits."""
    vocabulary = Vocabulary(server, until)
    ids = await vocabulary.tokens(prompt, special=True)
    scores = []
    for token, text in await vocabulary.pieces(reply):
        told = await server.post("/completion", _forced(ids, token, voice.scales or ()), deadline=until)
        first = (told.get("completion_probabilities") or [{}])[0]
        if first.get("id") != token:
            raise BackendError(f"{server.place}: it scored token {first.get('id')} where {token} was asked for")
        scores.append(TokenScore(token=text, logprob=max(float(first["logprob"]), SMALLEST_LOGPROB)))
        ids.append(token)
    return scores


def _forced(ids: Sequence[int], token: int, scales: Sequence[float]) -> dict[str, Any]:
    body: dict[str, Any] = {
        "prompt": list(ids),
        "n_predict": 1,
        "n_probs": 1,
        "temperature": 0.0,
        "cache_prompt": False,
        "logit_bias": [[token, _FORCED]],
        "response_fields": ["completion_probabilities"],
    }
    return {**body, "lora": lora(scales)} if scales else body
