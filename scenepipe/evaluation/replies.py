"""Replies as users get them: the stages of a pipeline build the scenes, its ``decode`` speaks them, its engine draws.

What differs from a run of that pipeline: the mixture and the seed are given, weights are not snapped to a grid, and
nothing is recalled or remembered, so that no prompt has echoes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scenepipe.context import Context, Failure
from scenepipe.errors import BackendError, ConfigError, Fault, InputError, MissingExtraError
from scenepipe.evaluation.inputs import Asked
from scenepipe.mixture import Mixture
from scenepipe.pipeline import Pipeline
from scenepipe.registry import Registry, default_registry
from scenepipe.scene import Linkage, Origin, Scene, new_scene

if TYPE_CHECKING:
    from scenepipe.config import Component, PipelineConfig
    from scenepipe.models.catalogue import LocalModel
    from scenepipe.register import Register

MOST_FAILED = 0.1
RUN = "evaluation"
SPEAKS = "decode"
_LATER = frozenset({"registers", "echoes", "resonance", "reply", "outputs"})

Tick = Callable[[int, int], None]
"""Called with what is done and what there is to do."""


@dataclass(frozen=True)
class Task:
    """One reply to draw.

    Args:
        scene: the input's scene; its linkage is what the reply is asked to unfold.
    """

    asked: Asked
    scene: Scene
    mixture: Mixture
    seed: int

    @property
    def linkage(self) -> tuple[str, ...]:
        return self.scene.linkage.unfolds if self.scene.linkage else ()

    def relinked(self, linkage: Sequence[str]) -> Task:
        """The same input, mixture and seed with another linkage."""
        scene = self.scene.with_(linkage=Linkage(chain=tuple(linkage)))
        return Task(self.asked, scene, self.mixture, self.seed)


@dataclass(frozen=True)
class Drawn:
    """A drawn reply; ``fault`` says why there is none, and the text is empty then."""

    task: Task
    text: str
    finish: str = "stop"
    fault: str | None = None

    def as_json(self) -> dict[str, Any]:
        task = self.task
        return {
            "id": task.asked.id,
            "language": task.asked.language,
            "text": task.asked.text,
            "mixture": task.mixture.id,
            "linkage": list(task.linkage),
            "seed": task.seed,
            "reply": self.text,
            "finish": self.finish,
            "fault": self.fault,
        }


class Speaker:
    """Scenes and replies of one pipeline's configuration.

    Args:
        config: the pipeline whose stages and settings speak.
        registers: voices for the engine to open.
        model: the base model.
        candidates: replies drawn for each that is kept; the pipeline's own number for None.

    Raises:
        ConfigError: the pipeline has no engine or no ``decode`` stage.
        MissingExtraError: the engine's package is not installed.
    """

    def __init__(
        self,
        config: PipelineConfig,
        registers: Sequence[Register],
        model: LocalModel | None,
        *,
        candidates: int | None = None,
        registry: Registry | None = None,
    ) -> None:
        self._registry = registry or default_registry()
        part = _speaking(config)
        options = part.options | ({} if candidates is None else {"candidates": candidates})
        self.settings: Mapping[str, Any] = options | {"mixture_step": 0.0}
        assert config.backend is not None, "seen by _speaking"
        _need(self._registry, config.backend.use)
        backend, self.encoder = self._make("backend", config.backend), self._make("encoder", config.encoder)
        shared: dict[str, Any] = {"encoder": self.encoder, "model": (lambda: model) if model else None}
        self._seeded = _Seeded(self._registry.load("stage", part.use), self.settings)
        self._in_flight = int(backend.capabilities.parallel)
        stages = [(each.use, self._make("stage", each)) for each in config.stages if self._builds_scenes(each)]
        self._scenes = Pipeline(stages, name=f"{config.name}: scenes", **shared)
        self._speech = Pipeline(
            [(SPEAKS, self._seeded)],
            name=f"{config.name}: replies",
            backend=backend,
            registers={register.name: register for register in registers},
            given=("language", "linkage", "registers"),
            **shared,
        )

    async def scenes(self, asked: Sequence[Asked]) -> dict[str, Scene]:
        """The scene of each input by its id.

        Raises:
            InputError: a stage failed one of them.
        """
        found: dict[str, Scene] = {}
        rows = [new_scene(row.text) for row in asked]
        async for scene in self._scenes.map(rows, concurrency=64):
            row = asked[len(found)]
            if isinstance(scene, Failure):
                raise InputError(f"input {row.id}: stage '{scene.stage}': {scene.message}")
            found[row.id] = scene
        return found

    async def draw(self, tasks: Sequence[Task], tick: Tick | None = None, *, alone: bool = False) -> list[Drawn]:
        """A reply for each task, in their order; drawn mixture by mixture, with every slot of the engine busy.

        Args:
            tick: called after each reply.
            alone: one at a time. A seed fixes a reply only so: in a batch, sums are taken in another order, and most
                replies of the default model take another turn somewhere.

        Raises:
            BackendError: more than one reply in ten failed; the first one's words.
        """
        order = sorted(range(len(tasks)), key=lambda index: tasks[index].mixture.id)
        drawn: dict[int, Drawn] = {}
        async for result in self._spoken([tasks[index] for index in order], 1 if alone else self._in_flight):
            index = order[len(drawn)]
            drawn[index] = _drawn(tasks[index], result)
            if tick is not None:
                tick(len(drawn), len(tasks))
        _see_failures(list(drawn.values()))
        return [drawn[index] for index in range(len(tasks))]

    async def aclose(self) -> None:
        """Close the stages and the engine."""
        await self._scenes.aclose()
        await self._speech.aclose()

    async def _spoken(self, tasks: Sequence[Task], in_flight: int) -> AsyncIterator[Scene | Failure]:
        self._seeded.seeds = [task.seed for task in tasks]
        rows = [
            task.scene.with_(registers=task.mixture, reply=None, origin=Origin(run=RUN, row=row))
            for row, task in enumerate(tasks)
        ]
        async for result in self._speech.map(rows, concurrency=in_flight, run=RUN):
            yield result

    def _make(self, kind: Any, part: Component | None) -> Any:
        return None if part is None else self._registry.load(kind, part.use)(**part.options)

    def _builds_scenes(self, part: Component) -> bool:
        """Whether a stage only analyses: no engine, no archive, nothing that comes after the scene is built."""
        stage = self._registry.load("stage", part.use)
        return not stage.writes & _LATER and not getattr(stage, "needs", frozenset()) & {"backend", "archive"}


class _Seeded:
    """``decode`` with a seed for each row."""

    explains = False

    def __init__(self, decode: type[Any], options: Mapping[str, Any]) -> None:
        self.reads, self.writes, self.needs = decode.reads, decode.writes, decode.needs
        self.seeds: Sequence[int] = ()
        self._decode = decode
        self._options = options

    async def run(self, scene: Scene, ctx: Context) -> Scene:
        stage = self._decode(**self._options, seed=self.seeds[scene.origin.row])
        spoken: Scene = await stage.run(scene, ctx)
        return spoken


def _speaking(config: PipelineConfig) -> Component:
    found = [part for part in config.stages if part.use.partition("@")[0] == SPEAKS]
    if not found or config.backend is None:
        raise ConfigError(
            [
                Fault(
                    "stages",
                    f"evaluation draws replies with a backend and a stage '{SPEAKS}'; name a pipeline with both",
                )
            ],
            config.source,
        )
    return found[0].model_copy(update={"options": {k: v for k, v in found[0].options.items() if k != "seed"}})


def _need(registry: Registry, backend: str) -> None:
    for module, extra in registry.missing("backend", backend):
        raise MissingExtraError(f"backend '{backend}'", module, extra)


def _drawn(task: Task, result: Scene | Failure) -> Drawn:
    if isinstance(result, Failure):
        return Drawn(task, "", "error", result.message)
    assert result.reply is not None, "decode wrote it"
    return Drawn(task, result.reply.text, result.reply.finish_reason)


def _see_failures(drawn: Sequence[Drawn]) -> None:
    failed = [each for each in drawn if each.fault is not None]
    if len(failed) > MOST_FAILED * len(drawn):
        raise BackendError(f"{len(failed)} of {len(drawn)} replies failed; the first: {failed[0].fault}")
