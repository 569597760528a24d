"""A pipeline from what the person typed, with a missing model's way shown on stderr."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING

from scenepipe.cli.guard import Refused
from scenepipe.errors import MixtureError, did_you_mean
from scenepipe.rooms import find_pipeline

if TYPE_CHECKING:
    from scenepipe.cli.meter import Meter
    from scenepipe.mixture import Mixture
    from scenepipe.pipeline import Pipeline


def open_pipeline(given: str, meter: Meter | None = None) -> Pipeline:
    """The pipeline of a YAML file or of a shipped name.

    Raises:
        ConfigError: all faults of the file.
    """
    from scenepipe.build import load

    path = find_pipeline(given)
    if meter is None:
        return load(path)
    return load(path, say=meter.say, progress=meter.progress)


@contextlib.asynccontextmanager
async def running(pipeline: Pipeline, meter: Meter) -> AsyncIterator[None]:
    """Close the pipeline at the end; on an error or Ctrl-C end a download first, which closing would wait for."""
    try:
        yield
    except BaseException:
        meter.abandon()
        raise
    finally:
        await pipeline.aclose()


def mixture_given(weights: Iterable[str], pipeline: Pipeline) -> Mixture | None:
    """The mixture of ``--register NAME=WEIGHT …``, None where the router chooses.

    Raises:
        Refused: a weight is wrong, or the pipeline has no such register.
    """
    from scenepipe.mixture import Reason, of

    given: dict[str, float] = {}
    for text in weights:
        name, value = _pair(text)
        if name in given:
            raise Refused(f"--register {name} stands twice; give it once")
        if name not in pipeline.resources.registers:
            possible = did_you_mean(name, pipeline.resources.registers)
            raise Refused(f"pipeline '{pipeline.name}' has no register '{name}'; {possible}")
        given[name] = value
    if not given:
        return None
    try:
        mixture = of(given)
    except MixtureError as error:
        raise Refused(f"--register: {error}") from None
    reasons = {name: (Reason(cause="given by the caller", amount=weight),) for name, weight in given.items()}
    return mixture.model_copy(update={"reasons": reasons})


def _pair(text: str) -> tuple[str, float]:
    name, equals, weight = text.partition("=")
    try:
        return name.strip(), float(weight) if equals else 1.0
    except ValueError:
        raise Refused(f"--register {text!r} is not NAME=WEIGHT, for example poet=0.6") from None
