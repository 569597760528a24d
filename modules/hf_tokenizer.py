"""``hf-tokenizer``: as ``sentencepiece``, with a Hugging Face ``tokenizer.json``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from scenepipe.analysis.reading import warm_up
from scenepipe.context import Context, Resources
from scenepipe.errors import ConfigError, ModelError
from scenepipe.folding.known import Known
from scenepipe.option_ranges import range_faults
from scenepipe.scene import Piece, Scene


class HFTokenizer:
    """Text to language, pieces, symbols and hypertokens.

    ``Piece.text`` is the piece's surface, a slice of the original text; special tokens are not added. Hypertokens as in
    `SentencePieceTokenizer`.

    Args:
        path: a ``tokenizer.json``, or a folder that has one.
        batch_size: texts read at once.

    Raises:
        ConfigError: ``batch_size`` is not positive.
    """

    reads: ClassVar[frozenset[str]] = frozenset()
    writes: ClassVar[frozenset[str]] = frozenset({"language", "pieces", "symbols", "hypertokens"})
    uses: ClassVar[frozenset[str]] = frozenset({"archive"})
    requires: ClassVar[dict[str, str]] = {"tokenizers": "transformers"}
    version: ClassVar[str] = "1"

    def __init__(self, *, path: str, batch_size: Annotated[int, Field(ge=1)] = 64) -> None:
        if faults := range_faults(HFTokenizer, locals()):
            raise ConfigError(faults, "hf-tokenizer")
        self.batch_size = batch_size
        self._known = Known()
        self._path = Path(path).expanduser()
        self._tokenizer: Any = None

    def open(self, resources: Resources) -> None:
        """Load the tokenizer and the dictionaries.

        Raises:
            ModelError: the file is missing or is no tokenizer.
        """
        from tokenizers import Tokenizer

        path = self._path / "tokenizer.json" if self._path.is_dir() else self._path
        if not path.is_file():
            raise ModelError(f"there is no tokenizer at {path}; give 'path' a tokenizer.json or its folder")
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the package raises bare Exception
            raise ModelError(f"{path} is not a tokenizer.json ({error}); give 'path' another file") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        warm_up()

    def run_batch(self, scenes: Sequence[Scene], ctx: Context) -> list[Scene]:
        """Each scene with its pieces and symbols.

        Raises:
            ArchiveError: the archive cannot be read.
        """
        if self._tokenizer is None:
            self.open(ctx.resources)
        return self._known.fill(scenes, self._pieces, ctx)

    def _pieces(self, text: str) -> tuple[Piece, ...]:
        coded = self._tokenizer.encode(text, add_special_tokens=False)
        return tuple(
            Piece(id=number, text=text[start:end], span=(start, end))
            for number, (start, end) in zip(coded.ids, coded.offsets, strict=True)
        )

    def count(self, text: str) -> int:
        """Pieces of a text; the stage has to be open."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)
