"""The conformance suite of backends: subclass it in a test file and give it one fixture.

    class TestMyEngine(BackendSuite):
        registers = ("poet", "logician")

        @pytest.fixture(scope="class")
        @classmethod
        def backend(cls, runner):
            engine = MyEngine()
            runner.run(engine.open(model, registers))
            yield engine
            runner.run(engine.aclose())

What the backend's ``capabilities`` do not claim is skipped, or must be refused. The suite needs pytest, so only tests
import this module.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from scenepipe.testing.backend_requests import (
    ANSWER_SCHEMA,
    EN,
    GREEDY,
    RU,
    WIDE,
    collect,
    gather,
    plan,
    say,
    text_of,
    tokens_of,
)
from scenepipe.testing.backend_suite_draws import DrawSuite
from scenepipe.testing.backend_suite_mixtures import MixtureSuite
from scenepipe.testing.backend_suite_reply import ReplySuite
from scenepipe.testing.backend_suite_time import TimeSuite
from scenepipe.testing.backend_suite_tools import ToolSuite


class BackendSuite(TimeSuite, DrawSuite, MixtureSuite, ToolSuite, ReplySuite):
    """What every backend must do. What a subclass may set is said with each part.

    pytest runs the tests of the last base first: the one that closes the backend is in the first base, and comes last.
    """

    @pytest.fixture(scope="class")
    @classmethod
    def runner(cls) -> Iterator[asyncio.Runner]:
        """One event loop for all tests of the class: an open backend belongs to the loop that opened it."""
        with asyncio.Runner() as runner:
            yield runner


__all__ = [
    "ANSWER_SCHEMA",
    "EN",
    "GREEDY",
    "RU",
    "WIDE",
    "BackendSuite",
    "collect",
    "gather",
    "plan",
    "say",
    "text_of",
    "tokens_of",
]
