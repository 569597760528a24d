"""A sentence encoder for tests: hashed character n-grams, no model, the same everywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from scenepipe.scene import fold

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class HashEncoder:
    """Signed feature hashing of character trigrams (Weinberger et al., 2009), unit length.

    Args:
        dim: components of a vector.
        n: characters of an n-gram.
    """

    def __init__(self, *, dim: int = 256, n: int = 3) -> None:
        if dim < 1 or n < 1:
            raise ValueError(f"dim and n must be at least 1; dim {dim} and n {n} were given")
        self.dim = dim
        self._n = n
        self.fingerprint = f"hash@1/{n}/{dim}"

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors, float32 [n texts, dim]; equal for texts that fold to the same."""
        import numpy as np

        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in enumerate(texts):
            padded = f" {fold(text)} "
            for start in range(max(1, len(padded) - self._n + 1)):
                digest = hashlib.blake2b(padded[start : start + self._n].encode(), digest_size=8).digest()
                vectors[row, int.from_bytes(digest[1:], "little") % self.dim] += 1 if digest[0] & 1 else -1
            if not vectors[row].any():
                vectors[row, 0] = 1.0
        vectors /= np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
        return vectors
