"""A pipeline that reads without a model: every word is a symbol."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import pytest

from scenepipe.context import Context
from scenepipe.errors import BackendError
from scenepipe.memory.memory import MemoryArchive
from scenepipe.mixture import Mixture
from scenepipe.modules.decode import Decode
from scenepipe.modules.recall import Recall
from scenepipe.modules.remember import Remember
from scenepipe.pipeline import Pipeline
from scenepipe.scene import Analysis, Language, Linkage, Scene, Symbol
from scenepipe.testing.fake_backend import FakeBackend


class Words:
    """Counts how many scenes it read."""

    reads: ClassVar[frozenset[str]] = frozenset()
    writes: ClassVar[frozenset[str]] = frozenset({"language", "symbols", "linkage", "analysis", "registers"})

    def __init__(self) -> None:
        self.read = 0

    def count(self, text: str) -> int:
        return len(text.split())

    async def run(self, scene: Scene, ctx: Context) -> Scene:
        self.read += 1
        if "BOOM" in scene.text:
            raise BackendError("the words fail on BOOM")
        symbols = tuple(Symbol(lemma=word, language="ru") for word in re.findall(r"\w{4,}", scene.text.lower()))
        return scene.with_(
            language=Language(code="ru", confidence=1.0),
            symbols=symbols,
            linkage=Linkage(chain=tuple(symbol.key for symbol in symbols[:3])),
            analysis=Analysis(analysers=("words@1",)),
            registers=Mixture(),
        )


@pytest.fixture
def words() -> Words:
    return Words()


@pytest.fixture
def archive() -> MemoryArchive:
    return MemoryArchive()


@pytest.fixture
def pipeline(words: Words, archive: MemoryArchive) -> Any:
    stages = [("words", words), ("recall", Recall()), ("decode", Decode(seed=1)), ("remember", Remember())]
    with Pipeline(stages, name="toy", backend=FakeBackend(), archive=archive) as pipe:
        yield pipe
