"""The model behind the fake servers: `FakeBackend`, with a voice for each adapter name, and token ids."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from scenepipe.contracts import Chunk, Request
from scenepipe.mixture import Plan, of
from scenepipe.sampling import Sampling
from scenepipe.testing.fake_backend import FakeBackend
from scenepipe.testing.fake_model import PIECE, SAMPLING, token_id

_CAN = {"chat": True, "tools": True, "tool_wishes": ("required", "named", "parallel")}

_LONG = 400
_NAMES = {"repetition_penalty": "repeat_penalty"}
_OFF = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0}


class TinyModel:
    """Tokens are words. ``voice`` is any text: equal voices say the same, others something else."""

    def __init__(self, *, delay_s: float = 0.0, long_s: float = 0.0) -> None:
        self._delay_s = delay_s
        self._long_s = long_s
        self._texts: dict[int, str] = {}

    async def say(
        self, prompt: str | None, voice: str, wire: Mapping[str, Any], **request: Any
    ) -> AsyncIterator[Chunk]:
        """A reply, drawn by whatever settings are on the wire; what is not there is off."""
        backend, plan = await self._opened(voice)
        asked = {_NAMES.get(name, name): value for name, value in wire.items()}
        asked["top_k"] = max(0, asked.get("top_k", 0))
        known = {name: value for name, value in asked.items() if name in SAMPLING}
        sampling = Sampling(**{**_OFF, **known})
        if request.get("max_tokens", 0) >= _LONG:
            backend.delay_s = max(self._delay_s, self._long_s)
        async for chunk in backend.generate(Request(prompt=prompt, plan=plan, sampling=sampling, **request)):
            self.ids(chunk.text)
            yield chunk

    async def score(self, prompt: str, voice: str, reply: str) -> list[float]:
        backend, plan = await self._opened(voice)
        return [score.logprob for score in await backend.score(Request(prompt=prompt, plan=plan), reply)]

    async def _opened(self, voice: str) -> tuple[FakeBackend, Plan]:
        name = "v" + hashlib.sha256(voice.encode()).hexdigest()[:20]
        backend = FakeBackend(delay_s=self._delay_s, capabilities=_CAN)
        await backend.open(None, [SimpleNamespace(name=name, adapters={})])  # type: ignore[list-item]
        mixture = of({name: 1.0} if voice else {})
        return backend, Plan(asked=mixture, used=mixture, mode="exact")

    def ids(self, text: str) -> list[int]:
        """Token ids, without any beginning-of-text token."""
        pieces = PIECE.findall(text)
        self._texts |= {token_id(piece): piece for piece in pieces}
        return [token_id(piece) for piece in pieces]

    def text(self, ids: Sequence[int]) -> str:
        return "".join(self._texts.get(number, "") for number in ids)
