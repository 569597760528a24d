"""Token ids and their texts at a llama.cpp server, in process or elsewhere (llama.cpp ``tools/server/README.md``)."""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Post(Protocol):
    """One request, one JSON answer; ``deadline`` in monotonic seconds."""

    async def __call__(self, path: str, body: Mapping[str, Any], *, deadline: float | None = None) -> Any: ...


class LlamaVocabulary:
    """One server's vocabulary. What looks like a control token in a text stays text.

    Every question raises what ``post`` raises.
    """

    def __init__(self, post: Post) -> None:
        self._post = post
        self._known: dict[int, str] = {}

    async def tokens(self, text: str, *, special: bool, deadline: float | None = None) -> list[int]:
        """Token ids of a text.

        Args:
            special: put the model's beginning-of-text token in front.
        """
        body = {"content": text, "add_special": special, "parse_special": False}
        return [int(token) for token in (await self._post("/tokenize", body, deadline=deadline))["tokens"]]

    async def pieces(self, text: str, deadline: float | None = None) -> list[tuple[int, str]]:
        """Token ids of a text with their characters; a character cut by a token belongs to the token that ends it."""
        body = {"content": text, "add_special": False, "parse_special": False, "with_pieces": True}
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        pieces = []
        for token in (await self._post("/tokenize", body, deadline=deadline))["tokens"]:
            piece = token["piece"]
            raw = piece.encode() if isinstance(piece, str) else bytes(piece)
            pieces.append((int(token["id"]), decoder.decode(raw)))
        return pieces

    async def piece(self, token: int, deadline: float | None = None) -> str:
        """Characters of one token id; U+FFFD for bytes that are none alone. Each is asked for once."""
        if token not in self._known:
            self._known[token] = await self._content([token], deadline)
        return self._known[token]

    async def text(self, tokens: Sequence[int], deadline: float | None = None) -> str:
        """Characters of token ids, without one that the last token leaves unfinished."""
        return (await self._content(tokens, deadline)).rstrip("\ufffd")

    async def _content(self, tokens: Sequence[int], deadline: float | None) -> str:
        return str((await self._post("/detokenize", {"tokens": list(tokens)}, deadline=deadline))["content"])
