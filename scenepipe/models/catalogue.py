"""The catalogue: a model is named once, with where it comes from, its hash and its licence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
