"""Everything that is drawn for an evaluation: each register alone, the steps of each mixture curve, the swaps."""

from __future__ import annotations

import asyncio
import itertools
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from scenepipe.errors import RegisterError
from scenepipe.evaluation.causality import swap_tasks
from scenepipe.evaluation.curves import mixtures
from scenepipe.evaluation.inputs import LANGUAGES, Asked, Written, chosen, unseen
from scenepipe.evaluation.matrix import case_id
from scenepipe.evaluation.replies import Drawn, Speaker, Task
from scenepipe.mixture import Mixture, of

if TYPE_CHECKING:
    from scenepipe.config import PipelineConfig
    from scenepipe.contracts import Encoder
    from scenepipe.models.catalogue import LocalModel
    from scenepipe.register import Register
    from scenepipe.registry import Registry
    from scenepipe.scene import Scene

Progress = Callable[[str, int, int], None]
"""Called with the part of the work, what is done of it and what there is to do."""

FEWEST = 2
CONTROLS = 20
"""Replies of the swap test that are drawn a second time with nothing changed."""


@dataclass(frozen=True)
class Options:
    """What is measured, and on how much.

    Args:
        inputs: JSONL of texts that no register has learnt from; the test split's texts for None.
        candidates: replies drawn for each that is kept; the pipeline's own number for None.
        replies: inputs of each language that each register answers alone.
        prompts: inputs of each language at each step of a mixture curve; the first of those.
        rows: test rows of each language and register that are scored; all of them for None.
        swaps: replies that are drawn again with another input's linkage.
        seed: chooses inputs and, with an input's id, the seed of its replies: a smaller run is part of a larger one.
        dtype: of the base that scores.
    """

    inputs: Path | None = None
    candidates: int | None = None
    replies: int = 60
    prompts: int = 40
    rows: int | None = None
    swaps: int = 100
    seed: int = 7
    dtype: Literal["bfloat16", "float32"] = "bfloat16"


@dataclass(frozen=True)
class Replies:
    """Everything that was drawn.

    Args:
        by: reply by mixture id and input id.
        first, swapped, again: the replies of the swap test, each drawn alone: with their own linkage, with another, and
            the first few with their own once more.
        settings: of the stage that spoke.
        encoder: the pipeline's, which aptness is measured with.
    """

    asked: Sequence[Asked]
    by: Mapping[str, Mapping[str, Drawn]]
    first: Sequence[Drawn]
    swapped: Sequence[Drawn]
    again: Sequence[Drawn]
    settings: Mapping[str, Any]
    encoder: Encoder | None = None

    def rows(self) -> list[dict[str, Any]]:
        """Every reply as JSON, with what it was drawn for."""
        drawn = [{"for": "voice and curves"} | each.as_json() for some in self.by.values() for each in some.values()]
        for what, some in (
            ("swap: own", self.first),
            ("swap: another's", self.swapped),
            ("swap: own again", self.again),
        ):
            drawn += [{"for": what} | each.as_json() for each in some]
        return drawn


def draw_replies(
    registers: Sequence[Register],
    config: PipelineConfig,
    model: LocalModel | None,
    options: Options,
    progress: Progress,
    *,
    registry: Registry | None = None,
) -> Replies:
    """Draw everything that will be judged, then close the engine.

    Raises:
        RegisterError: fewer than two registers, or one without written replies.
        BackendError, ConfigError, InputError, MissingExtraError: as `Speaker`.
    """
    if len(registers) < FEWEST:
        raise RegisterError("evaluation tells registers apart: give at least two, for example poet and yours")
    asked = chosen(unseen(Written(registers), options.inputs), max(options.replies, options.prompts), options.seed)
    speaker = Speaker(config, registers, model, candidates=options.candidates, registry=registry)
    return asyncio.run(_draw(speaker, [register.name for register in registers], asked, options, progress))


async def _draw(
    speaker: Speaker, names: Sequence[str], asked: Sequence[Asked], options: Options, progress: Progress
) -> Replies:
    try:
        progress("scenes", 0, len(asked))
        scenes = await speaker.scenes(asked)
        progress("scenes", len(asked), len(asked))
        tasks = _tasks(names, asked, scenes, options)
        drawn = await speaker.draw(tasks, lambda done, of: progress("replies", done, of))
        by: dict[str, dict[str, Drawn]] = {}
        for each in drawn:
            by.setdefault(each.task.mixture.id, {})[each.task.asked.id] = each
        alone = [each for name in names for each in by[case_id(name)].values()]
        swaps = swap_tasks(alone, options.swaps)
        own, n = [task for task, _ in swaps], len(swaps)
        every = own + [task for _, task in swaps] + own[:CONTROLS]
        drawn = await speaker.draw(every, lambda done, of: progress("swaps", done, of), alone=True)
    finally:
        await speaker.aclose()
    return Replies(asked, by, drawn[:n], drawn[n : 2 * n], drawn[2 * n :], dict(speaker.settings), speaker.encoder)


def _tasks(names: Sequence[str], asked: Sequence[Asked], scenes: Mapping[str, Scene], options: Options) -> list[Task]:
    """Each register alone, and each inner step of each pair; an input has one seed, whatever the mixture."""
    seeds = {row.id: zlib.crc32(f"{options.seed} {row.id}".encode()) % 2**31 for row in asked}
    many, few = (first_inputs(asked, most) for most in (options.replies, options.prompts))
    wanted: dict[tuple[str, str], tuple[Mixture, Asked]] = {}
    for name in names:
        wanted |= {(case_id(name), row.id): (of({name: 1.0}), row) for row in {*many, *few}}
    for pair in itertools.combinations(names, 2):
        wanted |= {(mixture.id, row.id): (mixture, row) for mixture in mixtures(pair) for row in few}
    return [Task(row, scenes[row.id], mixture, seeds[row.id]) for mixture, row in wanted.values()]


def first_inputs(asked: Sequence[Asked], most: int) -> list[Asked]:
    """The first inputs of each language."""
    return [row for code in LANGUAGES for row in [each for each in asked if each.language == code][:most]]
