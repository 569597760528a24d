"""The openai backend against a strict fake server of every flavour: the conformance suite, adapters, the canary."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from scenepipe.backends.openai import OpenAI
from scenepipe.contracts import Backend
from scenepipe.models.catalogue import LocalModel
from scenepipe.register import Register, find_registers
from scenepipe.testing.backend_suite import BackendSuite
from scenepipe.testing.fake_model import PLACES, VERBS, token_id
from tests.scenepipe.backends.servers.fake import FakeServer
from tests.scenepipe.backends.servers.vocabulary import DEPLOYED, NAMES, REGISTERS, word_model

ROOT = Path(__file__).parents[3] / "registers"
LONG_S = 0.2  # a word: ten of them take longer than the deadline that the suite sets


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    """A model of which nothing is there but a vocabulary of words, as the fake servers have."""
    return word_model(tmp_path_factory.mktemp("vocabulary"))


class FlavourSuite(BackendSuite):
    """The suite with every mixture that it asks for; where adapters have names, each has one."""

    flavour: ClassVar[str] = ""
    some_tokens: ClassVar[Sequence[int]] = [token_id(f" {word}") for word in (*VERBS["en"], *PLACES["en"])]

    async def token_ids(self, backend: Backend, text: str) -> list[int]:
        return [token_id(text)]

    @pytest.fixture(scope="class")
    @classmethod
    def backend(
        cls, vocabulary: LocalModel, runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[OpenAI]:
        with FakeServer(cls.flavour, adapters=cls.adapters(), long_s=LONG_S) as server:
            options = cls.options(tmp_path_factory.mktemp("composed"))
            backend = OpenAI(url=server.url, flavour=cls.flavour, parallel=4, **options)  # type: ignore[arg-type]
            model, registers = cls.material(vocabulary)
            runner.run(backend.open(model, registers))
            yield backend
            runner.run(backend.aclose())

    @classmethod
    def adapters(cls) -> Sequence[str]:
        return list(DEPLOYED.values())

    @classmethod
    def options(cls, folder: Path) -> dict[str, Any]:
        return {"adapters": DEPLOYED}

    @classmethod
    def material(cls, vocabulary: LocalModel) -> tuple[LocalModel | None, Sequence[Register]]:
        return vocabulary, REGISTERS


class TestGeneric(FlavourSuite):
    flavour = "generic"


class TestOllama(FlavourSuite):
    flavour = "ollama"


class TestTgi(FlavourSuite):
    flavour = "tgi"


class TestNim(FlavourSuite):
    flavour = "nim"


class TestLmdeploy(FlavourSuite):
    flavour = "lmdeploy"


class TestSglang(FlavourSuite):
    flavour = "sglang"


class TestLmStudio(FlavourSuite):
    flavour = "lm-studio"


class TestFastChat(FlavourSuite):
    flavour = "fastchat"


class TestTabby(FlavourSuite):
    flavour = "tabbyapi"

    @classmethod
    def options(cls, folder: Path) -> dict[str, Any]:
        return {}

    @classmethod
    def material(cls, vocabulary: LocalModel) -> tuple[LocalModel | None, Sequence[Register]]:
        return None, []


class TestLlamaServer(FlavourSuite):
    flavour = "llama-server"

    @classmethod
    def adapters(cls) -> Sequence[str]:
        return NAMES

    @classmethod
    def options(cls, folder: Path) -> dict[str, Any]:
        return {}

    @classmethod
    def material(cls, vocabulary: LocalModel) -> tuple[LocalModel | None, Sequence[Register]]:
        return None, REGISTERS


class TestVllm(FlavourSuite):
    flavour = "vllm"

    @classmethod
    def adapters(cls) -> Sequence[str]:
        return ()

    @classmethod
    def options(cls, folder: Path) -> dict[str, Any]:
        return {"composed": str(folder), "max_cpu_loras": 3}

    @classmethod
    def material(cls, vocabulary: LocalModel) -> tuple[LocalModel | None, Sequence[Register]]:
        return None, list(find_registers(NAMES, [ROOT]).values())


class TestChat(FlavourSuite):
    """The chat endpoint: a prompt is a message, reasoning is told apart."""

    flavour = "generic"

    @classmethod
    def options(cls, folder: Path) -> dict[str, Any]:
        return {"adapters": DEPLOYED, "endpoint": "chat"}
