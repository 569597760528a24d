"""Everything that can go wrong, in one tree.

    ScenepipeError
    ├── ConfigError        a YAML or constructor argument is wrong; carries every fault at once
    ├── InputError         a text or row cannot become a scene
    ├── StageError         a stage raised or broke its contract; names stage and pipeline
    ├── BackendError       an engine failed, answered nonsense or went away
    │   ├── DeadlineError  time or budget ran out
    │   └── UnreachableError  a server does not answer; the next request would wait as long
    ├── MixtureError       a register mixture is impossible, or impossible on this backend
    ├── RegisterError      a register folder, card or adapter is refused
    ├── ModelError         a model cannot be found, fetched or verified
    ├── ArchiveError       an archive cannot be read or written
    └── MissingExtraError  an optional dependency is not installed; gives the pip command

A message says what was given, what was possible and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class ScenepipeError(Exception):
    """Base of every error scenepipe raises on purpose."""


@dataclass(frozen=True)
class Fault:
    """One thing wrong in a configuration, with its place.

    Args:
        where: dotted path inside the value (``stages.2.top_k``); empty for the whole.
        message: what was given, what was possible, what to do.
        line: 1-based line in the file, or None when there is no file.
        column: 1-based column.
    """

    where: str
    message: str
    line: int | None = None
    column: int | None = None

    def render(self, source: str) -> str:
        place = f"{source}:{self.line}:{self.column}" if self.line is not None else source
        return f"{place}: {self.where}: {self.message}" if self.where else f"{place}: {self.message}"


class ConfigError(ScenepipeError):
    """All faults of one configuration, each with its place."""

    def __init__(self, faults: Sequence[Fault], source: str = "pipeline") -> None:
        self.faults = tuple(faults)
        self.source = source
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        lines = [f"{count} in {source}"] + ["  " + fault.render(source) for fault in self.faults]
        super().__init__("\n".join(lines))


class InputError(ScenepipeError):
    """A text or row that cannot become a scene."""


class StageError(ScenepipeError):
    """A stage raised, or touched a field that it did not declare."""

    def __init__(self, stage: str, pipeline: str, message: str) -> None:
        self.stage = stage
        self.pipeline = pipeline
        super().__init__(f"stage '{stage}' of pipeline '{pipeline}': {message}")


class BackendError(ScenepipeError):
    """An engine failed, answered nonsense or went away."""


class DeadlineError(BackendError):
    """The deadline or the run's budget ran out before the reply was finished."""


class UnreachableError(BackendError):
    """A server that does not answer. Who asks for several texts does not ask again for each of them."""


class MixtureError(ScenepipeError):
    """A register mixture that is impossible, or impossible on this backend."""


class RegisterError(ScenepipeError):
    """A register folder, card or adapter that is refused."""


class ModelError(ScenepipeError):
    """A model that cannot be found, fetched or verified."""


class ArchiveError(ScenepipeError):
    """An archive that cannot be read or written."""


class MissingExtraError(ScenepipeError):
    """An optional dependency that is not installed."""

    def __init__(self, what: str, module: str, extra: str) -> None:
        self.extra = extra
        super().__init__(f"{what} needs the Python package '{module}': pip install \"scenepipe[{extra}]\"")


def did_you_mean(given: str, possible: Iterable[str]) -> str:
    """Sentence that names the nearest possible value and lists all of them."""
    names = sorted(possible)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{hint}possible: {', '.join(names) if names else 'none'}"
