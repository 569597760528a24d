"""The openai backend against a real llama-server: xllamacpp's own, listening over HTTP, with two registers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from scenepipe.backends.llama_engine import EngineOptions, common_params, import_engine
from scenepipe.backends.openai import OpenAI
from scenepipe.contracts import Backend, Message, Request
from scenepipe.errors import BackendError
from scenepipe.models.catalogue import LocalModel
from scenepipe.models.gguf_lora import gguf_adapter
from scenepipe.register import Register, adapter_of, find_registers
from scenepipe.testing.backend_suite import GREEDY, RU, BackendSuite, collect, plan, say
from tests.scenepipe.backends.whole_pipeline import spoken

pytestmark = [pytest.mark.model, pytest.mark.slow]

ROOT = Path(__file__).parents[3] / "registers"
NAMES = ("poet", "philosopher")
KEY = "a key that no message may show"
SLOTS = 2


@pytest.fixture(scope="module")
def url(local_model: LocalModel, shipped: list[Register]) -> Iterator[str]:
    """A server as ``llama-server --lora A,B --api-key …`` starts it, its adapters in another order than ours."""
    options = EngineOptions(
        context=1024,
        parallel=SLOTS,
        threads=None,
        gpu_layers=0,
        tensor_split=(),
        main_gpu=0,
        batch=256,
        ubatch=256,
        flash_attention="auto",
        kv_type="f16",
        mmap=True,
        mlock=False,
        swa_full=True,
    )
    adapters = [str(gguf_adapter(register, local_model)) for register in reversed(shipped)]
    server = import_engine().Server(common_params(options, str(local_model.gguf), adapters, KEY))
    yield server.listening_address
    del server


def client(url: str, **options: Any) -> OpenAI:
    return OpenAI(url=url, flavour="llama-server", api_key=SecretStr(KEY), **options)


class TestConformance(BackendSuite):
    registers = NAMES
    batch_tolerance = 0.2  # matrix products are summed in another order in another batch

    async def token_ids(self, backend: Backend, text: str) -> Sequence[int]:
        assert isinstance(backend, OpenAI)
        return await backend._words.tokens(text, special=False)

    @pytest.fixture(scope="class")
    @classmethod
    def backend(
        cls, url: str, local_model: LocalModel, shipped: list[Register], runner: asyncio.Runner
    ) -> Iterator[OpenAI]:
        backend = client(url)
        proofs = runner.run(backend.open(local_model, shipped))
        assert [proof.sha256 for proof in proofs] == [adapter_of(register, local_model).sha256 for register in shipped]
        assert not any(proof.zero_effect for proof in proofs)
        assert backend.capabilities.parallel == SLOTS
        yield backend
        runner.run(backend.aclose())


def test_it_gives_a_reply_the_probability_of_the_engine_in_process(
    url: str, local_model: LocalModel, shipped: list[Register], runner: asyncio.Runner
) -> None:
    """Near the same mixture's, nearer than any other's: both read prompts in pieces of their own, and with weights of four bits
    that moves the probability of an unlikely token by up to 0.3 nats."""
    from scenepipe.backends.llama_cpp import LlamaCpp

    async def told(backend: Backend) -> list[list[float]]:
        await backend.open(local_model, shipped)
        plans = [plan(each) for each in ("base", "poet", "poet@0.6+philosopher@0.4")]
        scores = [await backend.score(Request(prompt=RU, plan=each), " Тишина — это вход.") for each in plans]
        await backend.aclose()
        return [[score.logprob for score in each] for each in scores]

    served, inside = runner.run(told(client(url))), runner.run(told(LlamaCpp(parallel=1, context=256)))
    assert served == [pytest.approx(each, abs=0.5) for each in inside]
    for one in served:
        assert min(inside, key=lambda other: math.dist(one, other)) is inside[served.index(one)]


def test_a_whole_pipeline_speaks_through_it(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_KEY", KEY)
    options = {"url": url, "flavour": "llama-server", "api_key": {"secret": "LLAMA_KEY"}}
    for receipt in spoken(tmp_path, "exact", use="openai", **options):
        assert receipt.mode == "exact"
        assert len(receipt.used) == 2


def test_the_chat_endpoint_takes_messages_scales_and_tells_probabilities(
    url: str, local_model: LocalModel, shipped: list[Register], runner: asyncio.Runner
) -> None:
    async def told() -> tuple[str, str, Any]:
        backend = client(url, endpoint="chat")
        await backend.open(local_model, shipped)
        messages = (Message(role="user", content="Почему тихо?"),)
        common = {"messages": messages, "max_tokens": 8, "sampling": GREEDY}
        base = await say(backend, **common)
        chunks = await collect(backend, **common, plan=plan("poet"), logprobs=2)
        await backend.aclose()
        return base, "".join(chunk.text for chunk in chunks), [token for chunk in chunks for token in chunk.logprobs]

    base, poet, tokens = runner.run(told())
    assert base
    assert base != poet
    assert "".join(token.token for token in tokens) == poet
    assert all(len(token.top) == 2 for token in tokens)


def test_a_wrong_key_and_a_register_that_is_not_there_are_named(
    url: str, local_model: LocalModel, shipped: list[Register], runner: asyncio.Runner
) -> None:
    wrong = OpenAI(url=url, flavour="llama-server", api_key=SecretStr("another key"), retries=0)
    with pytest.raises(BackendError, match=r"HTTP 401: Invalid API Key; give the key as api_key"):
        runner.run(wrong.open(local_model, shipped))
    (other,) = find_registers(["body"], [ROOT]).values()
    with pytest.raises(
        BackendError, match=r"register 'body' is not among its adapters .* start it with --lora "
    ) as told:
        runner.run(client(url).open(local_model, [*shipped, other]))
    assert KEY not in str(told.value)


def test_a_prompt_that_does_not_fit_is_refused_in_the_servers_words(
    url: str, local_model: LocalModel, runner: asyncio.Runner
) -> None:
    async def told() -> None:
        backend = client(url)
        await backend.open(local_model, [])
        try:
            await say(backend, prompt="тишина " * 4000, max_tokens=2)
        finally:
            await backend.aclose()

    with pytest.raises(
        BackendError, match=r"llama-server.*, request [0-9a-f]{32}: HTTP 400: .* exceeds the available context"
    ):
        runner.run(told())
