"""The triton backend against a strict fake of Triton's generate extension with its vLLM backend."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from scenepipe.backends.triton import Triton
from scenepipe.errors import BackendError, ConfigError, MixtureError
from scenepipe.register import Register
from scenepipe.testing.backend_suite import GREEDY, RU, collect, plan, say
from tests.scenepipe.backends.servers.fake import SSE, FakeServer
from tests.scenepipe.backends.servers.http import Answer
from tests.scenepipe.backends.servers.vocabulary import DEPLOYED, NAMES, REGISTERS
from tests.scenepipe.backends.triton_suite import TritonSuite


@pytest.fixture(scope="module")
def triton_server() -> Iterator[str]:
    with FakeServer("triton", adapters=list(DEPLOYED.values()), long_s=0.2) as server:
        yield server.url


class TestStreamed(TritonSuite):
    pass


class TestWhole(TritonSuite):
    streams = False


def told(server: FakeServer, *, registers: list[Register] = REGISTERS, **options: Any) -> Any:
    """What an open backend says, by a function of it."""

    async def scenario(use: Any) -> Any:
        backend = Triton(url=server.url, served="base-model", **options)
        await backend.open(None, registers)
        try:
            return await use(backend)
        finally:
            await backend.aclose()

    return lambda use: asyncio.run(scenario(use))


def test_registers_are_asked_for_by_their_own_names() -> None:
    with FakeServer("triton", adapters=NAMES) as server:
        run = told(server)
        said = run(
            lambda backend: say(backend, prompt=RU, max_tokens=8, sampling=GREEDY, plan=plan("poet", "premerged"))
        )
        sampling = json.loads(server.asked[-1].body["sampling_parameters"])
    assert said
    assert sampling["lora_name"] == "poet"


def test_a_mixture_without_an_adapter_names_those_there_are() -> None:
    with (
        FakeServer("triton", adapters=NAMES) as server,
        pytest.raises(MixtureError, match="it has philosopher@1, poet@1"),
    ):
        told(server)(lambda b: say(b, prompt=RU, sampling=GREEDY, plan=plan("poet@0.6+philosopher@0.4", "premerged")))


def test_an_adapter_that_is_not_deployed_is_named() -> None:
    with (
        FakeServer("triton", adapters=["poet"]) as server,
        pytest.raises(BackendError, match=r"HTTP 400: LoRA philosopher is not supported"),
    ):
        told(server)(lambda backend: say(backend, prompt=RU))


def test_an_ignored_adapter_is_found() -> None:
    with FakeServer("triton", adapters=NAMES, ignores=True) as server:
        with pytest.raises(BackendError, match="the same with and without the adapter of poet, philosopher"):
            told(server)(lambda backend: say(backend, prompt=RU))
        run = told(server, verify="unverified")
        assert run(lambda backend: say(backend, prompt=RU, sampling=GREEDY, plan=plan("poet", "premerged")))


def test_an_unknown_model_and_wrong_options_are_refused() -> None:
    with (
        FakeServer("triton") as server,
        pytest.raises(BackendError, match="no model 'another' that is ready; .*base-model"),
    ):
        asyncio.run(Triton(url=server.url, served="another").open(None, []))
    with pytest.raises(ConfigError, match=r"3 faults(.|\n)*url(.|\n)*served(.|\n)*adapters.poet@x"):
        Triton(url="localhost:8000", served="a/b", adapters={"poet@x": "p"})


def test_usage_is_the_servers_and_the_key_is_sent() -> None:
    with FakeServer("triton") as server:
        run = told(server, registers=[], api_key=SecretStr("k"))
        chunks = run(lambda backend: collect(backend, prompt=RU, max_tokens=5, sampling=GREEDY))
        assert server.asked[-1].headers["authorization"] == "Bearer k"
    usage = chunks[-1].usage
    assert (usage.prompt_tokens, usage.reply_tokens) == (9, 5)


@pytest.mark.parametrize("streaming", [True, False])
def test_a_message_names_the_request_that_was_sent(streaming: bool) -> None:
    with FakeServer("triton") as server:

        async def use(backend: Triton) -> str:
            server._triton = _breaks_off  # type: ignore[method-assign]
            with pytest.raises(BackendError, match="an event is not of its kind") as error:
                await say(backend, prompt=RU, max_tokens=4, sampling=GREEDY)
            return str(error.value)

        words = told(server, registers=[], streaming=streaming)(use)
        assert server.asked[-1].headers["x-request-id"] in words


async def _breaks_off(body: dict[str, Any]) -> Answer:
    event = json.dumps({"text_output": "a", "num_output_tokens": "many"}).encode()
    return Answer(b"data: " + event + b"\n\n", headers=SSE) if body["stream"] else Answer(event)
