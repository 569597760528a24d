"""Copying: how much of a reply stands, character for character, in the training replies.

The longest common substring is found by halving: a text that shares n characters with another shares n - 1, so a few
looks into sets of all n-grams are enough. Each set is made once, in time linear in the training text; case, ё/е, quotes
and white space are folded, so that a copy with a new line end is still a copy.
"""

from __future__ import annotations

from collections.abc import Sequence

from scenepipe.scene import fold

COPIED = 40
"""Characters in common from which on a reply counts as copied."""


class Training:
    """The training replies that a reply may have copied from."""

    def __init__(self, replies: Sequence[str]) -> None:
        self._replies = [fold(reply) for reply in replies]
        self._grams: dict[int, frozenset[str]] = {}

    def longest_shared(self, reply: str) -> int:
        """Characters of the longest stretch of a reply that stands in a training reply."""
        text = fold(reply)
        least, most = 0, min(len(text), max(map(len, self._replies), default=0))
        while least < most:
            length = (least + most + 1) // 2
            if self._shares(text, length):
                least = length
            else:
                most = length - 1
        return least

    def _shares(self, text: str, length: int) -> bool:
        if length not in self._grams:
            self._grams[length] = frozenset(
                each[i : i + length] for each in self._replies for i in range(len(each) - length + 1)
            )
        grams = self._grams[length]
        return any(text[i : i + length] in grams for i in range(len(text) - length + 1))
