"""The text of one row as its tokens come: whole characters, and nothing of a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
        self._stop = tuple(text for text in stop if text)
        self._held = ""
        self.stopped = False
        self.piece = ""

    def add(self, token: int) -> str:
        """What may be said after this token; `stopped` is true once a stop string was met."""
        self.piece = self._stream.step(self._tokenizer, token) or ""
        self._last = [*self._last[-_REMEMBERED:], token]
        self._held += self.piece
        at = min((place for text in self._stop if (place := self._held.find(text)) >= 0), default=None)
        if at is not None:
            self.stopped = True
            said, self._held = self._held[:at], ""
            return said
        keep = _beginning(self._held, self._stop)
        said, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return said

    def would_be(self, token: int) -> str:
        """What another token would add to the text here; U+FFFD for bytes that are no character yet."""
        return str(_stream(self._last).step(self._tokenizer, token) or self._tokenizer.decode([token]))

    def rest(self) -> str:
        """What was held back and did not become a stop string. Bytes of an unfinished character are left out."""
        rest, self._held = self._held, ""
        return rest


def _stream(before: Sequence[int]) -> Any:
    from tokenizers.decoders import DecodeStream

    return DecodeStream(ids=list(before), skip_special_tokens=True)


def _beginning(text: str, stop: Sequence[str]) -> int:
    """Length of the longest end of a text that begins a stop string."""
    longest = min(len(text), max((len(each) - 1 for each in stop), default=0))
    for size in range(longest, 0, -1):
        if any(each.startswith(text[-size:]) for each in stop):
            return size
    return 0
