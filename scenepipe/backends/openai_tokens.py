"""Tokens at a server: how many a text has, and how probable each token of a given reply is."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from scenepipe.backends.drawn_tokens import finite
from scenepipe.backends.openai_http import HttpServer
from scenepipe.backends.openai_wire import Voice
from scenepipe.context import offload
from scenepipe.errors import BackendError
from scenepipe.scene import TokenScore

if TYPE_CHECKING:
    from scenepipe.models.catalogue import LocalModel

_AT_ONCE = 16


class Tokens:
    """Counts by the server's own tokenizer, or by the local model's where the server has none to ask.

    Args:
        kind: the server's tokenizer endpoint.
        model: whose vocabulary stands in.
    """

    def __init__(
        self,
        kind: Literal["vllm", "llama", "tgi", "tabby", "lmdeploy"] | None,
        server: HttpServer,
        served: str,
        model: LocalModel | None,
    ) -> None:
        self._kind = kind
        self._server = server
        self._served = served
        self._model = model
        self._local: Any = None

    async def count(self, text: str, deadline: float | None = None) -> int:
        """Tokens of a text, without any beginning-of-text token.

        Raises:
            BackendError: the server refused, or nobody can count.
        """
        if not text:
            return 0
        if self._kind is None:
            return await self._counted_here(text)
        path, body = _QUESTIONS[self._kind](text, self._served)
        told = await self._server.post(path, body, deadline=deadline)
        try:
            return _counted(self._kind, told)
        except (KeyError, TypeError, ValueError):
            raise BackendError(
                f"{self._server.place}: {path} answered {str(told)[:100]}, which counts no tokens; is 'flavour' right?"
            ) from None

    async def ids(self, text: str, *, special: bool, deadline: float | None = None) -> list[int]:
        """Token ids at a vLLM server."""
        body = {"model": self._served, "prompt": text, "add_special_tokens": special}
        return [int(token) for token in (await self._server.post("/tokenize", body, deadline=deadline))["tokens"]]

    async def texts(self, ids: Sequence[int], before: Sequence[int], deadline: float | None = None) -> list[str]:
        """What each token adds to the text after ``before``, at a vLLM server; a cut character belongs to its last token."""
        ends = [[*before, *ids[:end]] for end in range(len(ids) + 1)]
        told: list[str] = []
        for at in range(0, len(ends), _AT_ONCE):
            told += await asyncio.gather(*(self._text(each, deadline) for each in ends[at : at + _AT_ONCE]))
        whole = [text.rstrip("\ufffd") for text in told[:-1]] + [told[-1]]
        return [after[len(first) :] for first, after in itertools.pairwise(whole)]

    async def _text(self, ids: Sequence[int], deadline: float | None) -> str:
        body = {"model": self._served, "tokens": list(ids)}
        return str((await self._server.post("/detokenize", body, deadline=deadline))["prompt"])

    async def _counted_here(self, text: str) -> int:
        if self._local is None:
            self._local = await offload(_vocabulary, self._model, self._server.place)
        return len(self._local.encode(text))


async def score_at_vllm(
    server: HttpServer, tokens: Tokens, voice: Voice, prompt: str, reply: str, deadline: float | None
) -> list[TokenScore]:
    """One request with ``prompt_logprobs`` over prompt and reply."""
    before = await tokens.ids(prompt, special=True, deadline=deadline)
    ids = await tokens.ids(reply, special=False, deadline=deadline)
    body = {"model": voice.model, "prompt": [*before, *ids], "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
    told = (await server.post("/v1/completions", body, deadline=deadline))["choices"][0].get("prompt_logprobs")
    if not told or len(told) != len(before) + len(ids):
        raise BackendError(f"{server.place}: it told no probabilities of the prompt; is 'flavour' right?")
    texts = await tokens.texts(ids, before[-1:], deadline)
    found = [each[str(token)]["logprob"] for token, each in zip(ids, told[len(before) :], strict=True)]
    return [TokenScore(token=text, logprob=finite(logprob)) for text, logprob in zip(texts, found, strict=True)]


_QUESTIONS: Mapping[str, Callable[[str, str], tuple[str, dict[str, Any]]]] = {
    "vllm": lambda text, served: ("/tokenize", {"model": served, "prompt": text, "add_special_tokens": False}),
    "llama": lambda text, served: ("/tokenize", {"content": text, "add_special": False, "parse_special": False}),
    "tgi": lambda text, served: ("/tokenize", {"inputs": text}),
    "tabby": lambda text, served: ("/v1/token/encode", {"text": text, "add_bos_token": False}),
    "lmdeploy": lambda text, served: ("/v1/encode", {"input": text, "add_bos": False}),
}


def _counted(kind: str, told: Any) -> int:
    if kind in ("vllm", "llama"):
        return len(told["tokens"])
    if kind == "tgi":  # a special token covers no characters
        return sum(each["stop"] > each["start"] for each in told)
    return int(told["length"])


def _vocabulary(model: LocalModel | None, place: str) -> Any:
    if model is None or model.tokenizer is None:
        raise BackendError(
            f"{place}: it counts no tokens, and there is no local vocabulary to count with; name the model that it serves "
            "with 'model:', one with a SentencePiece vocabulary"
        )
    from sentencepiece import SentencePieceProcessor

    return SentencePieceProcessor(model_file=str(model.tokenizer))
