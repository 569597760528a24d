"""The triton backend against Triton's own server: its HTTP front end, its streams, its errors and its cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from scenepipe.backends.triton import Triton
from scenepipe.errors import BackendError
from scenepipe.testing.backend_suite import EN, GREEDY, RU, collect, plan, say, text_of
from tests.scenepipe.backends.servers.vocabulary import DEPLOYED, REGISTERS
from tests.scenepipe.backends.triton_suite import SERVED, TritonSuite

T = TypeVar("T")


class TestStreamed(TritonSuite):
    pass


class TestWhole(TritonSuite):
    streams = False


def told(url: str, ask: Callable[[Triton], Awaitable[T]], *, served: str = SERVED, **options: Any) -> T:
    """What an open backend says."""

    async def scenario() -> T:
        backend = Triton(url=url, served=served, **options)
        try:
            await backend.open(None, REGISTERS)
            return await ask(backend)
        finally:
            await backend.aclose()

    return asyncio.run(scenario())


async def nothing(backend: Triton) -> None:
    pass


def test_each_mixture_speaks_with_its_own_adapter_and_usage_is_counted(triton_server: str) -> None:
    async def ask(backend: Triton) -> list[str]:
        said = []
        for mixture in ("base", "poet", "poet@0.5+philosopher@0.5"):
            chunks = await collect(backend, prompt=EN, max_tokens=6, sampling=GREEDY, plan=plan(mixture, "premerged"))
            usage = chunks[-1].usage
            assert usage is not None
            assert (usage.prompt_tokens, usage.reply_tokens) == (len(EN.split()), 6)
            said.append(text_of(chunks))
        return said

    assert len(set(told(triton_server, ask, adapters=DEPLOYED))) == 3


@pytest.mark.parametrize("streaming", [True, False])
def test_what_the_model_refuses_is_said_in_its_words_and_the_server_goes_on(
    triton_server: str, streaming: bool
) -> None:
    with pytest.raises(BackendError, match=r"HTTP [45]00: [^{]*LoRA nobody is not supported"):
        told(triton_server, nothing, adapters={**DEPLOYED, "poet": "nobody"}, streaming=streaming)
    assert told(triton_server, lambda backend: say(backend, prompt=RU, max_tokens=4), adapters=DEPLOYED)


def test_a_model_that_is_not_there_is_named_with_those_that_are(triton_server: str) -> None:
    with pytest.raises(BackendError, match="no model 'base-modle' that is ready; did you mean 'base-model'"):
        told(triton_server, nothing, served="base-modle")
