"""What a llama.cpp server is asked about its vocabulary, and how often."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from scenepipe.backends.llama_vocabulary import LlamaVocabulary

SNOWMAN = "☃".encode()


class Server:
    """Answers as llama-server does: bytes that are no text alone come as numbers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any, float | None]] = []

    async def post(self, path: str, body: Mapping[str, Any], *, deadline: float | None = None) -> Any:
        self.asked.append((path, body, deadline))
        if path == "/detokenize":
            return {"content": "☃\ufffd" if len(body["tokens"]) > 1 else "\ufffd"}
        if not body.get("with_pieces"):
            return {"tokens": [2, 5] if body["add_special"] else [5]}
        pieces: list[Any] = ["a", list(SNOWMAN[:2]), list(SNOWMAN[2:])]
        return {"tokens": [{"id": number, "piece": piece} for number, piece in enumerate(pieces)]}


def test_each_token_is_asked_for_once() -> None:
    server = Server()
    words = LlamaVocabulary(server.post)

    async def scenario() -> list[str]:
        return [await words.piece(token) for token in (7, 8, 7)]

    assert asyncio.run(scenario()) == ["\ufffd"] * 3
    assert [body["tokens"] for _, body, _ in server.asked] == [[7], [8]]


def test_control_tokens_stay_text_and_cut_characters_belong_to_their_last_token() -> None:
    server = Server()
    words = LlamaVocabulary(server.post)
    assert asyncio.run(words.tokens("x", special=True)) == [2, 5]
    assert asyncio.run(words.tokens("x", special=False)) == [5]
    assert asyncio.run(words.pieces("a☃")) == [(0, "a"), (1, ""), (2, "☃")]
    assert asyncio.run(words.text([1, 2, 1])) == "☃"
    assert [body["parse_special"] for path, body, _ in server.asked if path == "/tokenize"] == [False] * 3


def test_the_deadline_goes_with_every_question() -> None:
    server = Server()
    words = LlamaVocabulary(server.post)

    async def scenario() -> None:
        await words.tokens("x", special=False, deadline=4.0)
        await words.pieces("x", 4.0)
        await words.piece(1, 4.0)
        await words.text([1], 4.0)

    asyncio.run(scenario())
    assert [deadline for _, _, deadline in server.asked] == [4.0] * 4
