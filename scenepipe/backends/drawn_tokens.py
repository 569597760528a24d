"""Drawn tokens in step with the text that is said: a token is told with the piece of the reply in which it ends.

An engine holds text back that could still become a stop string, so what is said and what is drawn drift apart. What a
stop string cut away is told neither as text nor as a token.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

from scenepipe.contracts import DrawnToken
from scenepipe.errors import BackendError

MOST_ALTERNATIVES = 100
"""As many as `Request.logprobs` may ask for."""


_SMALLEST_LOGPROB = math.log(2.0**-149)


class DrawnTokens:
    """Tokens in as they are drawn, out as their text is said."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, DrawnToken]] = deque()
        self._drawn = 0
        self._said = 0

    def add(self, token: DrawnToken) -> None:
        """The next token; its ``token`` is what it adds to the text."""
        self._drawn += len(token.token)
        self._waiting.append((self._drawn, token))

    def forget(self) -> None:
        """Leave out the last token: it ended the reply and is no part of it."""
        if self._waiting:
            self._waiting.pop()

    def said(self, text: str) -> tuple[DrawnToken, ...]:
        """The tokens that end in this next piece of the reply."""
        self._said += len(text)
        told = []
        while self._waiting and self._waiting[0][0] <= self._said:
            told.append(self._waiting.popleft()[1])
        return tuple(told)


def finite(logprob: float | None) -> float:
    """A logarithm as a number: what a float32 cannot hold as a probability, or is not told, counts as its smallest one."""
    return _SMALLEST_LOGPROB if logprob is None else max(float(logprob), _SMALLEST_LOGPROB)


def check_logprobs(asked: int | None, most: int, engine: str) -> None:
    """Refuse alternatives that an engine does not tell.

    Raises:
        BackendError: more were asked for than there are, or the engine tells no probabilities at all.
    """
    if asked is not None and not most:
        raise BackendError(f"{engine} tells no probabilities; leave logprobs out, or choose another backend")
    if asked is not None and asked > most:
        raise BackendError(f"{engine} tells {most} alternatives of a token and {asked} were asked for; lower logprobs")


def check_bias(bias: Iterable[int], vocabulary: int, engine: str) -> None:
    """Refuse a bias on token ids that the model has not: engines drop them without a word.

    Raises:
        BackendError: an id is none of the vocabulary's.
    """
    if foreign := sorted(token for token in bias if token >= vocabulary):
        raise BackendError(
            f"{engine}: logit_bias names token {foreign[0]} and this model's tokens are 0 to {vocabulary - 1}"
        )
