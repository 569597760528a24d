"""Scenes read by a pipeline's own stages, as far as no model has to speak: what an archive keeps of a text."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from scenepipe.context import Context, Failure, Resources, offload
from scenepipe.contracts import Archive
from scenepipe.errors import ConfigError, Fault
from scenepipe.scene import Scene
from scenepipe.steps import StageFailed, Step

if TYPE_CHECKING:
    from scenepipe.events import Event
    from scenepipe.pipeline import Pipeline

_OF_THE_OCCASION = frozenset({"echoes", "resonance", "turns", "reply", "outputs"})


class Reader:
    """A pipeline's analysing stages in their order.

    Left out are those that call the backend, and those that write only what belongs to one occasion. Where the SceneBuilder
    is one that asks a model, the rules (``rule-scene``) stand in for it.

    Args:
        pipeline: opened by `open`; its engine is not.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.steps = [step for step in pipeline.steps if _reads(step)]
        self._rules: Step | None = None
        if not any("linkage" in step.writes for step in self.steps):
            self._rules = _rules(pipeline.name)
            place = next((n + 1 for n, step in enumerate(self.steps) if "symbols" in step.writes), 0)
            self.steps.insert(place, self._rules)

    async def open(self) -> None:
        """Open the pipeline without its engine, and its archive."""
        await self.pipeline.aopen(backend=False)
        if self.pipeline.resources.archive is not None:
            await self.pipeline.resources.archive.open()
        if self._rules is not None:
            await offload(self._rules.stage.open, self._resources)

    async def aclose(self) -> None:
        """Close the archive where no stage of the pipeline has it, which then leaves it as it is."""
        archive = self._resources.archive
        if archive is not None and "archive" not in self.pipeline.needs | self.pipeline.uses:
            await archive.aclose()

    async def read(self, scenes: Sequence[Scene]) -> list[Scene | Failure]:
        """Each scene with its analysis, or what failed it, in order."""
        ctx = Context(self._resources, run=uuid.uuid4().hex, pipeline=self.pipeline.name, emit=_ignore)
        return await asyncio.gather(*(self._read(row, scene, ctx) for row, scene in enumerate(scenes)))

    async def _read(self, row: int, scene: Scene, ctx: Context) -> Scene | Failure:
        try:
            for step in self.steps:
                if all(getattr(scene, name) is not None for name in step.reads):
                    scene = await step.run(scene, ctx)
        except StageFailed as failed:
            kind, message = type(failed.error).__name__, str(failed.error)
            return Failure(scene=failed.scene, row=row, stage=failed.stage, error=kind, message=message)
        return scene

    def counter(self) -> Callable[[str], int]:
        """How the pipeline's tokenizer counts.

        Raises:
            ConfigError: no stage of it counts tokens.
        """
        for step in self.steps:
            count: Callable[[str], int] | None = getattr(step.stage, "count", None)
            if count is not None:
                return count
        fault = Fault("tokens", "no stage counts tokens; give 'characters', or a pipeline with 'sentencepiece'")
        raise ConfigError([fault], self.pipeline.name)

    @property
    def _resources(self) -> Resources:
        return self.pipeline.resources


class Words:
    """Language and symbols without pieces: what is read where there is no model with a vocabulary."""

    reads: ClassVar[frozenset[str]] = frozenset()
    writes: ClassVar[frozenset[str]] = frozenset({"language", "symbols"})
    batch_size: ClassVar[int] = 64

    def run_batch(self, scenes: Sequence[Scene], ctx: Context) -> list[Scene]:
        """Each scene with its language and symbols."""
        from scenepipe.analysis.reading import read_text

        readings = [read_text(scene.text) for scene in scenes]
        return [s.with_(language=r.language, symbols=r.symbols) for s, r in zip(scenes, readings, strict=True)]


def plain_pipeline(archive: Archive, *, name: str) -> Pipeline:
    """A pipeline over an archive that reads by dictionaries, rules and the default encoder, without any model."""
    from scenepipe.pipeline import Pipeline
    from scenepipe.registry import default_registry

    registry = default_registry()
    stages = [("words", Words()), ("rule-scene", registry.load("stage", "rule-scene")())]
    return Pipeline(stages, name=name, archive=archive, encoder=registry.load("encoder", "usem3")())


def _reads(step: Step) -> bool:
    return step.explains and "backend" not in step.needs and not step.writes <= _OF_THE_OCCASION


def _rules(pipeline: str) -> Step:
    from scenepipe.registry import default_registry

    stage: Any = default_registry().load("stage", "rule-scene")()
    return Step("rule-scene", stage, pipeline)


def _ignore(event: Event) -> None:
    """Nobody listens."""
