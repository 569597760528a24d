"""The conformance suite over a Triton server at the fixture ``triton_server``, the fake one or Triton's own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import ClassVar

import pytest

from scenepipe.backends.triton import Triton
from scenepipe.testing.backend_suite import BackendSuite
from tests.scenepipe.backends.servers.vocabulary import DEPLOYED, REGISTERS, word_model

SERVED = "base-model"


class TritonSuite(BackendSuite):
    streams: ClassVar[bool] = True

    @pytest.fixture(scope="class")
    @classmethod
    def backend(
        cls, triton_server: str, runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[Triton]:
        backend = Triton(url=triton_server, served=SERVED, adapters=DEPLOYED, parallel=4, streaming=cls.streams)
        runner.run(backend.open(word_model(tmp_path_factory.mktemp("words")), REGISTERS))
        yield backend
        runner.run(backend.aclose())
