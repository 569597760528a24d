"""What each token of a reply adds to its text, asked of a vLLM server."""

from __future__ import annotations

import asyncio
from typing import Any

from scenepipe.backends.openai_tokens import Tokens


class Server:
    """Token n is the letter n of a long word; remembers how many questions were open at once."""

    place = "here"

    def __init__(self) -> None:
        self.open = self.most = 0

    async def post(self, path: str, body: dict[str, Any], *, deadline: float | None = None) -> Any:
        assert path == "/detokenize"
        self.open += 1
        self.most = max(self.most, self.open)
        await asyncio.sleep(0)
        self.open -= 1
        return {"prompt": "".join(chr(0x430 + number) for number in body["tokens"])}


def test_a_long_reply_asks_a_few_questions_at_once() -> None:
    server = Server()
    tokens = Tokens("vllm", server, "m", None)  # type: ignore[arg-type]
    told = asyncio.run(tokens.texts(range(30), [31]))
    assert told == [chr(0x430 + number) for number in range(30)]
    assert server.most == 16
