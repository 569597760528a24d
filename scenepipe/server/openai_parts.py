"""What answers of the OpenAI API have in common: usage and log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scenepipe.contracts import DrawnToken
from scenepipe.scene import TokenScore
from scenepipe.server.replies import Result


def usage(results: Sequence[Result]) -> dict[str, Any]:
    """Tokens of a request: its prompt once, all of its replies."""
    prompt = max((result.usage.prompt_tokens for result in results), default=0)
    reply = sum(result.usage.reply_tokens for result in results)
    return {"prompt_tokens": prompt, "completion_tokens": reply, "total_tokens": prompt + reply}


def logprobs(tokens: Sequence[DrawnToken]) -> list[dict[str, Any]]:
    """Tokens with their natural log-probabilities, each with its likeliest alternatives."""
    return [_token(drawn) | {"top_logprobs": [_token(top) for top in drawn.top]} for drawn in tokens]


def _token(token: DrawnToken | TokenScore) -> dict[str, Any]:
    return {"token": token.token, "logprob": token.logprob, "bytes": list(token.token.encode("utf-8", "replace"))}
