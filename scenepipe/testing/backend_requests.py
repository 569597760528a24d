"""Prompts and requests that the conformance suite of backends is made of; good for tests of your own, too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from scenepipe.contracts import Backend, Chunk, DrawnToken, Request
from scenepipe.mixture import Mixture, MixtureMode, Plan, parse
from scenepipe.prompt import ScenePrompt
from scenepipe.sampling import Sampling

T = TypeVar("T")

RU = ScenePrompt("Почему я не чувствую шаг в себе?", "ru", linkage=("дрожь", "тишина", "вход")).render()
EN = ScenePrompt("Why can I not feel the step in me?", "en", linkage=("trembling", "silence", "entrance")).render()
GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, min_p=0.0)
WARM = Sampling(temperature=0.7, top_p=1.0, top_k=0, min_p=0.0)
WIDE = Sampling(temperature=1.5, top_p=1.0, top_k=0, min_p=0.0)
ANSWER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "word": {"type": "string", "maxLength": 12},
        "count": {"type": "integer", "minimum": 3, "maximum": 9},
    },
    "required": ["word", "count"],
    "additionalProperties": False,
}


def plan(mixture: str | Mixture, mode: MixtureMode = "exact") -> Plan:
    """The plan of a mixture that needs no change, such as ``poet@0.6+logician@0.4``."""
    used = parse(mixture) if isinstance(mixture, str) else mixture
    return Plan(asked=used, used=used, mode=mode)


def text_of(chunks: Sequence[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


def tokens_of(chunks: Sequence[Chunk]) -> list[DrawnToken]:
    """Every token that the chunks tell."""
    return [token for chunk in chunks for token in chunk.logprobs]


async def collect(backend: Backend, **request: Any) -> list[Chunk]:
    """All chunks of one reply."""
    return [chunk async for chunk in backend.generate(Request(**request))]


async def say(backend: Backend, **request: Any) -> str:
    """The text of one reply."""
    return text_of(await collect(backend, **request))


async def gather(*awaitables: Awaitable[T]) -> list[T]:
    return list(await asyncio.gather(*awaitables))
