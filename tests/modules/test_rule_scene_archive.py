"""``rule-scene`` with an archive: what stood together in earlier scenes is associated, and nothing else changes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from scenepipe.analysis.reading import read_text
from scenepipe.context import Context, Resources
from scenepipe.contracts import Neighbour
from scenepipe.encoders.usem3 import Usem3Encoder
from scenepipe.errors import ArchiveError
from scenepipe.memory.memory import MemoryArchive
from scenepipe.memory.sqlite import SqliteArchive
from scenepipe.modules.remember import Remember
from scenepipe.modules.rule_scene import RuleScene
from scenepipe.pipeline import Pipeline
from scenepipe.scene import Origin, Scene, Symbol, new_scene
from scenepipe.testing.stage_suite import StageSuite

ENCODER = Usem3Encoder()
TEXT = "Почему я не чувствую шаг в себе?"
WITH = ("дом", "вода", "утро", "город", "сад", "зима", "рука", "мост", "лес", "чай", "год", "стол")
HABITS = tuple(f"Шаг и сахар, и {word}." for word in WITH)


def given(text: str, namespace: str = "default") -> Scene:
    return new_scene(text, Origin(namespace=namespace)).with_(**read_text(text)._asdict())


def analysed(archive: Any, texts: Sequence[str], *, encoder: Any = None, namespace: str = "default") -> list[Scene]:
    """The scenes of these texts, each remembered before the next is read."""

    async def main() -> list[Scene]:
        resources = Resources(encoder=encoder, archive=archive)
        stage, found = RuleScene(), []
        stage.open(resources)
        if archive is not None:
            await archive.open()
        for text in texts:
            ctx = Context(resources, run="t", pipeline="t", emit=lambda event: None)
            (scene,) = await asyncio.to_thread(stage.run_batch, [given(text, namespace)], ctx)
            found.append(scene)
            if archive is not None:
                await archive.append([scene], [])
        if archive is not None:
            await archive.aclose()
        return found

    return asyncio.run(main())


def of_archive(scene: Scene) -> list[Symbol]:
    return [symbol for symbol in scene.hyperscene or () if symbol.origin == "archive"]


class TestWithArchive(StageSuite):
    def make_stage(self) -> RuleScene:
        return RuleScene()

    def resources(self) -> Resources:
        return Resources(archive=MemoryArchive())


class Reads:
    """Language and symbols of the text."""

    reads: ClassVar[frozenset[str]] = frozenset()
    writes: ClassVar[frozenset[str]] = frozenset({"language", "symbols"})

    async def run(self, scene: Scene, ctx: Context) -> Scene:
        return scene.with_(**read_text(scene.text)._asdict())


class Asked(MemoryArchive):
    """Keeps what it was asked; answers each time with these neighbours."""

    def __init__(self, *answers: Neighbour) -> None:
        super().__init__()
        self.asked: list[tuple[tuple[str, ...], str]] = []
        self.answers = answers

    async def neighbours(
        self, symbols: Sequence[str], *, namespace: str = "default", limit: int = 10
    ) -> Sequence[Neighbour]:
        self.asked.append((tuple(symbols), namespace))
        return self.answers[:limit]


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@pytest.mark.parametrize("encoder", [None, ENCODER], ids=["words", "encoder"])
def test_what_stood_beside_it_again_and_again_is_associated(store: str, encoder: Any, tmp_path: Path) -> None:
    archive = MemoryArchive() if store == "memory" else SqliteArchive(path=str(tmp_path / "a.db"))
    last = analysed(archive, [*HABITS, TEXT], encoder=encoder)[-1]
    (sugar,) = [symbol for symbol in last.hyperscene or () if symbol.lemma == "сахар"]
    assert sugar.concept == "sugar"
    (step,) = [symbol for symbol in last.symbols or () if symbol.lemma == "шаг"]
    if encoder is not None:
        assert sugar.origin == "archive"
        assert sugar.evidence == step.evidence
        assert last.linkage is not None
        assert "сахар" in last.linkage.chain
    (plain,) = analysed(None, [TEXT], encoder=encoder)
    assert "сахар" not in {symbol.lemma for symbol in plain.hyperscene or ()}
    assert last.delta == plain.delta, "a code never hangs on what is remembered"


def test_scenes_of_another_namespace_say_nothing() -> None:
    async def main() -> tuple[Scene, Scene]:
        archive, resources = MemoryArchive(), Resources()
        resources.archive = archive
        await archive.append([given(text, "чужой") for text in HABITS], [])
        stage = RuleScene()
        stage.open(resources)
        ctx = Context(resources, run="t", pipeline="t", emit=lambda event: None)
        here, there = await asyncio.to_thread(stage.run_batch, [given(TEXT), given(TEXT, "чужой")], ctx)
        return here, there

    here, there = asyncio.run(main())
    assert "сахар" not in {symbol.lemma for symbol in here.hyperscene or ()}
    assert "сахар" in {symbol.lemma for symbol in there.hyperscene or ()}


@pytest.mark.parametrize("encoder", [None, ENCODER], ids=["words", "encoder"])
def test_an_empty_archive_leaves_every_byte_as_it_is(encoder: Any) -> None:
    texts = (TEXT, "Мне страшно", "🙂", "Bread smells different when you are hungry.")
    for text in texts:
        (plain,), (empty,) = (analysed(archive, [text], encoder=encoder) for archive in (None, MemoryArchive()))
        same = {"created": plain.created}
        assert empty.with_(**same).to_json(vectors=True) == plain.with_(**same).to_json(vectors=True)


def test_one_earlier_scene_is_no_habit() -> None:
    first, second = analysed(MemoryArchive(), [HABITS[0], TEXT])
    (plain,) = analysed(None, [TEXT])
    assert second.hyperscene == plain.hyperscene
    assert second.analysis == first.analysis == plain.analysis


def test_the_archive_is_asked_for_the_strongest_symbols_in_the_scenes_namespace() -> None:
    archive = Asked()
    analysed(archive, [TEXT], namespace="дом")
    assert archive.asked == [(("шаг", "step"), "дом"), (("не:чувствовать",), "дом")]


def test_no_associations_no_question() -> None:
    archive, resources = Asked(), Resources()
    resources.archive = archive
    stage = RuleScene(associations=0)
    stage.open(resources)
    stage.run_batch([given(TEXT)], Context(resources, run="t", pipeline="t", emit=lambda event: None))
    assert archive.asked == []


def test_a_row_reads_the_same_alone_and_in_a_batch() -> None:
    neighbour = Neighbour(key="сахар", together=9, count=9, score=1.0)
    resources = Resources(archive=Asked(neighbour))
    stage = RuleScene()
    stage.open(resources)
    ctx = Context(resources, run="t", pipeline="t", emit=lambda event: None)
    scenes = [given(text) for text in (TEXT, "Мне страшно", "🙂", *HABITS[:3])]
    assert stage.run_batch(scenes, ctx) == [stage.run_batch([scene], ctx)[0] for scene in scenes]


def test_an_archive_that_cannot_be_read_fails_the_scene_by_name() -> None:
    class Broken(MemoryArchive):
        async def neighbours(
            self, symbols: Sequence[str], *, namespace: str = "default", limit: int = 10
        ) -> Sequence[Neighbour]:
            raise ArchiveError("the file is damaged")

    with (
        Pipeline([Reads(), RuleScene()], archive=Broken()) as pipe,
        pytest.raises(ArchiveError, match="damaged"),
    ):
        pipe.run(TEXT)


def test_a_pipeline_associates_by_what_it_remembered_itself() -> None:
    with Pipeline([Reads(), RuleScene(), Remember()], archive=MemoryArchive()) as pipe:
        first = pipe.run(TEXT)
        for text in (*HABITS, *(f"Здесь {word}." for word in WITH)):
            pipe.run(text)
        again = pipe.run(TEXT)
    assert "сахар" not in {symbol.lemma for symbol in first.hyperscene or ()}
    assert "сахар" in {symbol.lemma for symbol in again.hyperscene or ()}
    assert again.analysis != first.analysis
    assert again.id == first.id
