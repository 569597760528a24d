"""The openai backend against a real ``vllm serve``: composed adapters loaded at run time, on the default model.

`conftest` starts the server, or takes the one at ``SCENEPIPE_VLLM_URL``: with ``--enable-lora --max-loras 4 --max-cpu-loras
8 --max-lora-rank 32`` at least and ``VLLM_ALLOW_RUNTIME_LORA_UPDATING=1``; ``SCENEPIPE_VLLM_MODEL`` is the model's name there.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from scenepipe.backends.openai import OpenAI
from scenepipe.contracts import Backend
from scenepipe.errors import BackendError
from scenepipe.models.catalogue import LocalModel
from scenepipe.register import Register, adapter_of
from scenepipe.testing.backend_suite import EN, RU, BackendSuite
from tests.scenepipe.backends.whole_pipeline import spoken

pytestmark = [pytest.mark.model, pytest.mark.slow]

NAMES = ("poet", "philosopher")


def client(url: str, folder: Path, **options: Any) -> OpenAI:
    served = os.environ["SCENEPIPE_VLLM_MODEL"]
    return OpenAI(url=url, flavour="vllm", served=served, composed=str(folder), max_rank=32, max_cpu_loras=8, **options)


class TestConformance(BackendSuite):
    registers = NAMES
    batch_tolerance = 0.2  # bfloat16 sums in another order in another batch
    score_tolerance = 0.3

    async def token_ids(self, backend: Backend, text: str) -> Sequence[int]:
        assert isinstance(backend, OpenAI)
        return await backend._tokens.ids(text, special=False)

    @pytest.fixture(scope="class")
    @classmethod
    def backend(
        cls,
        vllm_server: str,
        local_model: LocalModel,
        registers: list[Register],
        runner: asyncio.Runner,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> Iterator[OpenAI]:
        backend = client(vllm_server, tmp_path_factory.mktemp("composed"), parallel=4)
        proofs = runner.run(backend.open(local_model, registers))
        assert [proof.sha256 for proof in proofs] == [adapter_of(each, local_model).sha256 for each in registers]
        assert not any(proof.zero_effect for proof in proofs)
        yield backend
        runner.run(backend.aclose())


def _loaded(url: str) -> list[str]:
    listed = httpx.get(f"{url}/v1/models", timeout=10).json()["data"]
    return [row["id"] for row in listed if row.get("parent")]


def _apart(one: dict[str, float], other: dict[str, float]) -> float:
    """The greatest difference of log-probabilities among the likely tokens that both tell."""
    shared = one.keys() & other.keys()
    assert len(shared) >= 0.5 * len(one)
    return max(abs(one[token] - other[token]) for token in shared)


def test_many_mixtures_share_the_servers_places_and_closing_leaves_none(
    vllm_server: str, local_model: LocalModel, registers: list[Register], tmp_path: Path
) -> None:
    """Twelve mixtures at once over eight places: each is loaded, each says what it says alone.

    In float32 the first and the last of one prompt are 0.8 (Russian) and 1.5 nats apart, the next ones 0.14 to 0.5.
    """
    suite, before = TestConformance(), set(_loaded(vllm_server))

    async def scenario() -> None:
        backend = client(vllm_server, tmp_path, parallel=12)
        await backend.open(local_model, registers)
        mixtures = [f"poet@{step / 20}+philosopher@{1 - step / 20:g}" for step in range(1, 13)]
        asked = list(zip(mixtures, [RU, EN] * 6, strict=True))
        alone = [await suite.told(backend, mixture, prompt) for mixture, prompt in asked]
        together = await asyncio.gather(*(suite.told(backend, mixture, prompt) for mixture, prompt in asked))
        assert max(map(_apart, alone, together)) <= suite.batch_tolerance
        assert min(_apart(alone[0], alone[-2]), _apart(alone[1], alone[-1])) > 2 * suite.batch_tolerance
        assert 0 < len(set(_loaded(vllm_server)) - before) <= 8
        await backend.aclose()

    asyncio.run(scenario())
    assert set(_loaded(vllm_server)) == before


def test_a_whole_pipeline_speaks_through_it(vllm_server: str, tmp_path: Path) -> None:
    served, folder = os.environ["SCENEPIPE_VLLM_MODEL"], str(tmp_path / "composed")
    options = {"url": vllm_server, "flavour": "vllm", "served": served, "composed": folder, "max_rank": 32}
    for receipt in spoken(tmp_path, "premerged", use="openai", **options):
        assert receipt.mode == "premerged"
        assert len(receipt.used) == 2


def test_an_unknown_model_is_named(vllm_server: str) -> None:
    with pytest.raises(BackendError, match=r"does not serve 'another'; possible: "):
        asyncio.run(OpenAI(url=vllm_server, flavour="vllm", served="another").open(None, []))
