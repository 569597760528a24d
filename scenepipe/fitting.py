"""How much of what is remembered fits into a prompt: texts whole or cut at a word, turns from the newest on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
Count = Callable[[str], Awaitable[int]]
"""Tokens of a text as it will stand in the prompt."""

ELLIPSIS = "…"
LONGEST_PIECE = 64
"""Characters of one token, at most: a text with more than that many per token is cut before it is counted."""

_LOOSE = " ,;:.-–—…"


async def fitting(text: str, tokens: int, count: Count) -> str | None:
    """The text if it has at most ``tokens``, else its first words that do, with «…»; None where not one word fits."""
    head = text[: max(tokens, 0) * LONGEST_PIECE]
    if len(head) == len(text) and await count(text) <= tokens:
        return text
    words = head.split()
    low, high = 0, len(words) - (len(head) == len(text))
    while low < high:
        middle = (low + high + 1) // 2
        if await count(_begun(words[:middle])) <= tokens:
            low = middle
        else:
            high = middle - 1
    return _begun(words[:low]) if low else None


def _begun(words: Sequence[str]) -> str:
    return " ".join(words).rstrip(_LOOSE) + ELLIPSIS


async def newest(items: Sequence[T], tokens: int, cost: Callable[[T], Awaitable[int]]) -> Sequence[T]:
    """The last items that fit together, in their order; the oldest go first, and none after one that did not fit."""
    left, start = tokens, len(items)
    while start and (left := left - await cost(items[start - 1])) >= 0:
        start -= 1
    return items[start:]
