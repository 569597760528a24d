"""Requests as vLLM's sampling parameters, and its outputs as pieces of a reply. Nothing here imports vLLM."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from scenepipe.backends.drawn_tokens import DrawnTokens, finite
from scenepipe.backends.row_text import RowText
from scenepipe.contracts import Chunk, DrawnToken, Request
from scenepipe.errors import BackendError
from scenepipe.scene import TokenScore, Usage

SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
)
_TEXT_BEFORE = 4


def sampling_arguments(request: Request, *, ends: Sequence[int] = (), watermark: bool = False) -> dict[str, Any]:
    """Keyword arguments of ``SamplingParams``, without what is of vLLM's own types.

    Args:
        ends: tokens that end a reply, beside those that the model's own files name.
        watermark: whether this engine has one, which it would put into every reply unless told not to.
    """
    sampling = request.sampling
    arguments: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or -1,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repeat_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "logit_bias": dict(sampling.logit_bias) or None,
        "seed": None if request.seed is None else request.seed % 2**63,
        "max_tokens": request.max_tokens,
        "logprobs": request.logprobs,
        "stop_token_ids": list(ends),
        "detokenize": False,
    }
    return {**arguments, "watermarking": sampling.watermark} if watermark else arguments


class VllmReply:
    """One reply as vLLM's deltas come. `done` is true once it has its last chunk.

    Text is made on this side (`RowText`), so that stop strings, whole characters and the probabilities of tokens are told
    as by the other engines in process.

    Args:
        tokenizer: a `tokenizers.Tokenizer`.
        prompt: token ids.
    """

    def __init__(self, request: Request, tokenizer: Any, prompt: Sequence[int]) -> None:
        self._text = RowText(tokenizer, request.stop, prompt[-_TEXT_BEFORE:])
        self._asked = request.logprobs
        self._drawn = DrawnTokens()
        self._prompt_tokens = len(prompt)
        self._reply_tokens = 0
        self._started = time.perf_counter()
        self.done = False

    def chunk(self, output: Any) -> Chunk | None:
        """The next piece, None where nothing can be said yet.

        Args:
            output: vLLM's ``CompletionOutput`` with the tokens since the last one.

        Raises:
            BackendError: vLLM ended the request by itself.
        """
        reason = output.finish_reason
        if reason not in (None, "stop", "length"):
            raise BackendError(f"vLLM ended the reply with '{reason}'; see what it logged on standard error")
        said = self._said(list(output.token_ids), output.logprobs, ended=reason == "stop")
        if self._text.stopped:
            reason = "stop"
        if reason is None:
            return Chunk(text=said, logprobs=self._drawn.said(said)) if said else None
        return self._last(said + self._text.rest(), reason)

    def _said(self, tokens: list[int], logprobs: Sequence[Mapping[int, Any]] | None, *, ended: bool) -> str:
        said = ""
        for number, token in enumerate(tokens):
            self._reply_tokens += 1
            if ended and number == len(tokens) - 1:
                break  # the token that ended the reply is no part of its text
            top = () if logprobs is None else self._top(logprobs[number])
            said += self._text.add(token)
            if logprobs is not None:
                own = finite(logprobs[number][token].logprob)
                self._drawn.add(DrawnToken(token=self._text.piece, logprob=own, top=top))
            if self._text.stopped:
                break
        return said

    def _top(self, told: Mapping[int, Any]) -> tuple[TokenScore, ...]:
        """The likeliest alternatives; vLLM adds the drawn token where it is none of them."""
        likely = sorted(told.items(), key=lambda item: -item[1].logprob)[: self._asked]
        return tuple(TokenScore(token=self._text.would_be(t), logprob=finite(one.logprob)) for t, one in likely)

    def _last(self, text: str, reason: Literal["stop", "length"]) -> Chunk:
        self.done = True
        usage = Usage(
            prompt_tokens=self._prompt_tokens,
            reply_tokens=self._reply_tokens,
            seconds=time.perf_counter() - self._started,
        )
        return Chunk(text=text, logprobs=self._drawn.said(text), finish_reason=reason, usage=usage)


def scores(texts: Sequence[str], tokens: Sequence[int], told: Sequence[Mapping[int, Any] | None]) -> list[TokenScore]:
    """Of each token of a reply, from vLLM's ``prompt_logprobs`` of its places.

    Raises:
        BackendError: vLLM left one out.
    """
    if len(told) != len(tokens) or any(
        row is None or token not in row for token, row in zip(tokens, told, strict=True)
    ):
        raise BackendError("vLLM did not tell the probability of every token; its engine arguments may switch that off")
    rows = [(text, row[token]) for text, token, row in zip(texts, tokens, told, strict=True) if row is not None]
    return [TokenScore(token=text, logprob=finite(one.logprob)) for text, one in rows]
