"""Vectors of fixed texts (register examples, lexicon), encoded once and kept in the user's cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scenepipe.contracts import Encoder

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def encode_cached(encoder: Encoder, texts: Sequence[str], folder: Path) -> npt.NDArray[np.float32]:
    """Unit vectors of ``texts``, float32 [n, dim], read from ``folder`` when the same encoder has seen the same texts.

    A cache that cannot be read or written costs time, never a result.
    """
    from safetensors.numpy import load_file, save_file

    digest = hashlib.sha256("\0".join([encoder.fingerprint, *texts]).encode()).hexdigest()[:32]
    path = folder / f"{digest}.safetensors"
    if path.is_file():
        try:
            vectors: npt.NDArray[np.float32] = load_file(path)["vectors"]
            if vectors.shape == (len(texts), encoder.dim):
                return vectors
        except Exception:  # noqa: S110 - any unreadable cache is encoded again
            pass
    vectors = encoder.encode(texts)
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"vectors": vectors}, part)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
    return vectors
