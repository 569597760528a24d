"""The text of one row as its tokens come: whole characters, and nothing of a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scenepipe.backends.stops import StopText

_REMEMBERED = 4


class RowText:
    """Tokens in, text out. What could still become a stop string is held back until it is decided.

    ``piece`` is what the last token added to the text, said or held back.

    Args:
        tokenizer: a `tokenizers.Tokenizer`.
        stop: texts that end the reply and are left out.
        before: last tokens of the prompt, so that a space at the reply's start is one.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str] = (), before: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._last = list(before)
        self._stream = _stream(self._last)
        self._watch = StopText(stop)
        self.piece = ""

    @property
    def stopped(self) -> bool:
        """Whether a stop string was met."""
        return self._watch.stopped

    def add(self, token: int) -> str:
        """What may be said after this token; `stopped` is true once a stop string was met."""
        self.piece = self._stream.step(self._tokenizer, token) or ""
        self._last = [*self._last[-_REMEMBERED:], token]
        return self._watch.add(self.piece)

    def would_be(self, token: int) -> str:
        """What another token would add to the text here; U+FFFD for bytes that are no character yet."""
        return str(_stream(self._last).step(self._tokenizer, token) or self._tokenizer.decode([token]))

    def rest(self) -> str:
        """What was held back and did not become a stop string. Bytes of an unfinished character are left out."""
        return self._watch.rest()


def _stream(before: Sequence[int]) -> Any:
    from tokenizers.decoders import DecodeStream

    return DecodeStream(ids=list(before), skip_special_tokens=True)
