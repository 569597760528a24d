"""``sentencepiece``: language, pieces of the model's own vocabulary with exact spans, symbols."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from scenepipe.analysis.reading import warm_up
from scenepipe.context import Context, Resources
from scenepipe.errors import ConfigError, Fault, ModelError
from scenepipe.folding.known import Known
from scenepipe.option_ranges import range_faults
from scenepipe.scene import Piece, Scene, Span

SPACE = "\u2581"


class SentencePieceTokenizer:
    """Text to language, pieces, symbols and hypertokens.

    ``Piece.text`` is the piece's surface, a slice of the original text. Bytes that together spell one character share
    its span. With an archive, its hypertokens are found by name and by their chain; a joined name unfolds to the symbols
    of its chain (origin ``archive``).

    Args:
        model: a SentencePiece ``.model``; the pipeline's model has its own otherwise.
        batch_size: texts read at once.

    Raises:
        ConfigError: ``batch_size`` is not positive.
    """

    reads: ClassVar[frozenset[str]] = frozenset()
    writes: ClassVar[frozenset[str]] = frozenset({"language", "pieces", "symbols", "hypertokens"})
    needs: frozenset[str] = frozenset({"model"})
    uses: ClassVar[frozenset[str]] = frozenset({"archive"})
    requires: ClassVar[dict[str, str]] = {}
    version: ClassVar[str] = "1"

    def __init__(self, *, model: str | None = None, batch_size: Annotated[int, Field(ge=1)] = 64) -> None:
        if faults := range_faults(SentencePieceTokenizer, locals()):
            raise ConfigError(faults, "sentencepiece")
        self.batch_size = batch_size
        self._known = Known()
        self._model = model
        self._vocabulary: Any = None
        if model is not None:
            self.needs = frozenset()

    def open(self, resources: Resources) -> None:
        """Load the vocabulary and the dictionaries.

        Raises:
            ConfigError: neither ``model`` nor the pipeline's model has a SentencePiece vocabulary.
            ModelError: the file cannot be read.
        """
        from sentencepiece import SentencePieceProcessor

        path = self._path(resources)
        if not path.is_file():
            raise ModelError(f"there is no SentencePiece model at {path}; give 'model' the path of a .model file")
        try:
            self._vocabulary = SentencePieceProcessor(model_file=str(path))
        except (RuntimeError, OSError, ValueError) as error:
            raise ModelError(f"{path} is not a SentencePiece model ({error}); give 'model' another file") from None
        warm_up()

    def run_batch(self, scenes: Sequence[Scene], ctx: Context) -> list[Scene]:
        """Each scene with its pieces and symbols.

        Raises:
            ArchiveError: the archive cannot be read.
        """
        if self._vocabulary is None:
            self.open(ctx.resources)
        return self._known.fill(scenes, self._pieces, ctx)

    def _pieces(self, text: str) -> tuple[Piece, ...]:
        coded = self._vocabulary.encode(text, return_type="offset_mapping")
        spans = _shared(coded["pieces"], coded["offsets"])
        return tuple(
            Piece(id=number, text=text[span[0] : span[1]], span=span)
            for number, span in zip(coded["ids"], spans, strict=True)
        )

    def count(self, text: str) -> int:
        """Pieces of a text; the stage has to be open."""
        return len(self._vocabulary.encode(text))

    def _path(self, resources: Resources) -> Path:
        if self._model is not None:
            return Path(self._model).expanduser()
        own = resources.model.tokenizer if resources.model is not None else None
        if own is None:
            what = f"model '{resources.model.id}' has no" if resources.model is not None else "there is no model with a"
            fault = Fault(
                "model", f"{what} SentencePiece vocabulary; give 'model' a .model file, or use 'hf-tokenizer'"
            )
            raise ConfigError([fault], "sentencepiece")
        return own


def _shared(pieces: Sequence[str], offsets: Sequence[Span]) -> list[Span]:
    """Spans in which every piece of one character has that character's span.

    The engine gives the character to the last of its pieces and an empty span to those before; an added space in front
    of the text keeps its empty span.
    """
    spans = [(int(start), int(end)) for start, end in offsets]
    for index in range(len(spans) - 2, -1, -1):
        start, end = spans[index]
        after = spans[index + 1]
        if start == end and after[0] == start and pieces[index] != SPACE:
            spans[index] = after
    return spans
