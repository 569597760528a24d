"""A frozen codebook: 64 cells on the sphere of scene features, and what is needed to place a text in one.

The file pair ``c1.safetensors`` (int8 centroids and projection) and ``c1.json`` (manifest) is made by
`scenepipe.training.codebook`. Codes of different codebooks are never compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scenepipe.errors import ModelError

if TYPE_CHECKING:
    from scenepipe.analysis.signed_bytes import Bytes, Floats

DEFAULT_CODEBOOK = "c1"
CELLS = 64


class Cell(BaseModel):
    """One region: its number, what is typical of it in both languages, how many training texts fell in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: Annotated[int, Field(ge=0, lt=CELLS)]
    ru: str
    en: str
    texts: int


class Manifest(BaseModel):
    """What a codebook is made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    codebook: str
    features: str
    encoder: str
    lexicon: str
    weights: dict[str, float]
    seed: int
    texts: int
    texts_sha256: str
    centroids_sha256: str
    analysers: tuple[str, ...]
    cells: Annotated[tuple[Cell, ...], Field(min_length=CELLS, max_length=CELLS)]


@dataclass(frozen=True)
class Projection:
    """Linear view of a centred vector: ``weights`` int8 [width, dim], ``scale`` float32 [width]."""

    weights: Bytes
    scale: Floats

    def of(self, centred: Bytes) -> Floats:
        """Float32 [n, width] of signed-byte vectors [n, dim]; sums are exact (under 2**24 for 1,040 components)."""
        import numpy as np

        exact = centred.astype(np.float32) @ self.weights.astype(np.float32).T
        return np.asarray(exact * self.scale)


@dataclass(frozen=True)
class Codebook:
    """Manifest, centroids int8 [64, features], the projection of its vector block."""

    manifest: Manifest
    centroids: Bytes
    projection: Projection

    @property
    def name(self) -> str:
        return self.manifest.codebook

    def gloss(self, code: int) -> dict[str, str]:
        cell = self.manifest.cells[code]
        return {"ru": cell.ru, "en": cell.en}


@cache
def shipped_codebook(name: str = DEFAULT_CODEBOOK) -> Codebook | None:
    """The codebook of this name that ships with scenepipe, None where there is none.

    Raises:
        ModelError: its files are damaged or do not belong together.
    """
    data = files("scenepipe.analysis.data")
    manifest, tensors = data.joinpath(f"{name}.json"), data.joinpath(f"{name}.safetensors")
    if not (manifest.is_file() and tensors.is_file()):
        return None
    return parse_codebook(manifest.read_bytes(), tensors.read_bytes(), name)


def parse_codebook(manifest: bytes, tensors: bytes, name: str) -> Codebook:
    """Check a codebook's two files against each other.

    Raises:
        ModelError: one is damaged, or the centroids are not those of the manifest.
    """
    from safetensors.numpy import load

    digest = hashlib.sha256(tensors).hexdigest()
    try:
        parsed = Manifest.model_validate_json(manifest)
    except ValidationError as error:
        raise ModelError(f"codebook {name}.json is damaged: {error.errors()[0]['msg']}; reinstall scenepipe") from None
    if parsed.centroids_sha256 != digest or [cell.code for cell in parsed.cells] != list(range(CELLS)):
        raise ModelError(
            f"codebook {name}.safetensors has SHA-256 {digest}, its manifest says {parsed.centroids_sha256}; "
            "reinstall scenepipe, or make both anew with python -m scenepipe.training.codebook"
        )
    loaded: Mapping[str, Any] = load(tensors)
    projection = Projection(loaded["projection"], loaded["projection_scale"])
    return Codebook(manifest=parsed, centroids=loaded["centroids"], projection=projection)
