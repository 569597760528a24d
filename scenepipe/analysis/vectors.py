"""Vectors as signed bytes, and the lexicon's own, so that the same text has the same analysis alone and in a batch.

An encoder's floats differ by about 2e-7 between batch sizes. Everything here is computed from ``round(127 x)``: a
component that lies within `GUARD` of a rounding edge sends its text through the encoder once more, alone. Products of
such integers are exact in float32 up to 2**24, and unit vectors stay under 127**2, so sums come out the same in
whatever order a matrix product takes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scenepipe.analysis.lexicon import AXES, Lexicon
from scenepipe.scene import fold

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from scenepipe.contracts import Encoder

    Bytes = npt.NDArray[np.int8]
    Floats = npt.NDArray[np.float32]

VECTORS_FILE = "vectors.safetensors"
SCALE = 127.0
GUARD = 1e-4
"""In units of 1/127: four times the largest difference seen between a text alone and in a batch (2.2e-7 x 127)."""
LANGUAGES = ("ru", "en")
_NEIGHBOURS = 20

AXIS_GLOSSES: Mapping[str, tuple[str, str]] = {
    "bodily": ("тело, дыхание, боль, усталость, кожа, шаг", "the body, breath, pain, tiredness, skin, a step"),
    "inner": (
        "душа, чувство, тоска, сомнение, мечта внутри меня",
        "the soul, a feeling, longing, doubt, a dream within",
    ),
    "sensory": ("звук, свет, запах, вкус, прикосновение, тишина", "sound, light, smell, taste, touch, silence"),
    "natural": ("дерево, река, зверь, дождь, камень, земля", "a tree, a river, an animal, rain, a stone, the earth"),
    "social": ("люди, семья, друг, разговор, обида, дом", "people, family, a friend, a talk, an offence, home"),
    "temporal": (
        "время, утро, вчера, детство, ожидание, срок",
        "time, morning, yesterday, childhood, waiting, a deadline",
    ),
    "abstract": (
        "причина, смысл, правило, вопрос, истина, число",
        "cause, meaning, a rule, a question, truth, a number",
    ),
    "spatial": (
        "дорога, порог, дверь, край, далеко и близко, вход",
        "a road, a threshold, a door, an edge, far and near",
    ),
}
"""axes@1: what each axis is about, in Russian and English."""


@dataclass(frozen=True)
class LexiconVectors:
    """Vectors of what scenes are compared with, all of one encoder.

    Args:
        encoder: its fingerprint.
        symbols: int8 [n symbols, dim], centred, both languages and three views (word, gloss, both) in one.
        axes: int8 [8, dim], centred.
        affect: int8 [n affect words, dim], centred.
        means: float32 [2, dim], the mean vector of Russian and of English texts.
        hubness: float32 [n symbols], mean cosine of a symbol to its 20 nearest texts (Conneau et al., 2018).
    """

    encoder: str
    symbols: Bytes
    axes: Bytes
    affect: Bytes
    means: Floats
    hubness: Floats

    def centre(self, vectors: Bytes, codes: Sequence[str]) -> Bytes:
        """Scene vectors [n, dim] less their language's mean, of unit length again."""
        return quantise(unit(floats(vectors) - language_means(self.means, codes)))


def language_means(means: Floats, codes: Sequence[str]) -> Floats:
    """A mean [dim] for each code; the mean of both languages for any other."""
    import numpy as np

    both = means.mean(axis=0)
    return np.stack([means[LANGUAGES.index(code)] if code in LANGUAGES else both for code in codes])


def floats(vectors: Bytes) -> Floats:
    """``x / 127`` as float32."""
    import numpy as np

    return np.asarray(vectors.astype(np.float32) / np.float32(SCALE))


def unit(vectors: Floats) -> Floats:
    """Rows of length 1; a row of zeros stays."""
    import numpy as np

    lengths = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


def quantise(vectors: Floats) -> Bytes:
    """``round(127 x)`` as int8."""
    import numpy as np

    rounded: Bytes = np.clip(np.rint(vectors * SCALE), -127, 127).astype(np.int8)
    return rounded


def cosines(left: Bytes, right: Bytes) -> Floats:
    """Cosines [n, m] of unit rows; exact, so the same in any batch."""
    import numpy as np

    return np.asarray(left.astype(np.float32) @ right.astype(np.float32).T / np.float32(SCALE * SCALE))


def encode_bytes(encoder: Encoder, texts: Sequence[str]) -> Bytes:
    """The encoder's vectors as int8 [n, dim], the same for a text whatever stands beside it."""
    import numpy as np

    vectors = np.asarray(encoder.encode(texts), dtype=np.float32)
    if len(texts) > 1:
        scaled = vectors * SCALE
        edge = np.abs(scaled - np.floor(scaled) - 0.5).min(axis=1)
        for row in np.flatnonzero(edge < GUARD):
            vectors[row] = encoder.encode([texts[int(row)]])[0]
    return quantise(vectors)


def lexicon_texts(lexicon: Lexicon) -> list[str]:
    """Everything that is encoded for a lexicon, in the order in which `compute_vectors` reads it."""
    texts: list[str] = []
    for code in LANGUAGES:
        for entry in lexicon.symbols:
            word, gloss = entry.word(code), entry.gloss(code)
            texts += [word, gloss, f"{word}: {gloss}"]
    for axis in AXES:
        texts += AXIS_GLOSSES[axis]
    texts += [entry.lemma for entry in lexicon.words]
    return [fold(text) for text in texts]


def compute_vectors(
    encoder: Encoder, lexicon: Lexicon, corpus: Mapping[str, Sequence[str]] | None = None
) -> LexiconVectors:
    """Encode the lexicon.

    Args:
        corpus: texts by language, whose means centre scenes and whose nearness measures hubness; the lexicon's own
            glosses without any.
    """
    import numpy as np

    encoded = floats(encode_bytes(encoder, lexicon_texts(lexicon)))
    count, dim = len(lexicon.symbols), encoded.shape[1]
    views = encoded[: 6 * count].reshape(2, count, 3, dim)
    rest = encoded[6 * count :]
    axes, affect = rest[: 2 * len(AXES)].reshape(len(AXES), 2, dim), rest[2 * len(AXES) :]
    symbols = _centred(views, axis=1).sum(axis=(0, 2))
    texts = [_corpus_vectors(encoder, corpus[c]) if corpus else views[i, :, 1] for i, c in enumerate(LANGUAGES)]
    means = np.stack([vectors.mean(axis=0) for vectors in texts]).astype(np.float32)
    exact = quantise(unit(symbols))
    near = np.concatenate([cosines(quantise(unit(v - m)), exact) for v, m in zip(texts, means, strict=True)])
    return LexiconVectors(
        encoder=encoder.fingerprint,
        symbols=exact,
        axes=quantise(unit(_centred(axes, axis=0).sum(axis=1))),
        affect=quantise(unit(_affect_centred(affect, lexicon))),
        means=means,
        hubness=np.sort(near, axis=0)[-_NEIGHBOURS:].mean(axis=0).astype(np.float32),
    )


def load_vectors(encoder: Encoder, lexicon: Lexicon) -> LexiconVectors:
    """The shipped vectors where they are of this encoder and this lexicon, computed anew otherwise."""
    with as_file(files("scenepipe.analysis.data").joinpath(VECTORS_FILE)) as path:
        shipped = read_vectors(path) if path.is_file() else None
    if shipped is not None and shipped[0] == binding(encoder.fingerprint, lexicon):
        return shipped[1]
    return compute_vectors(encoder, lexicon)


def binding(fingerprint: str, lexicon: Lexicon) -> str:
    """What shipped vectors belong to: encoder, and every text that was encoded."""
    return hashlib.sha256("\0".join([fingerprint, *lexicon_texts(lexicon)]).encode()).hexdigest()


def write_vectors(path: Path, vectors: LexiconVectors, lexicon: Lexicon) -> None:
    """Write the file that `load_vectors` reads."""
    from safetensors.numpy import save

    tensors = {name: getattr(vectors, name) for name in ("symbols", "axes", "affect", "means", "hubness")}
    path.write_bytes(save(tensors, {"encoder": vectors.encoder, "binding": binding(vectors.encoder, lexicon)}))


def read_vectors(path: Path) -> tuple[str, LexiconVectors]:
    """Binding and vectors of a file."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        meta: dict[str, str] = file.metadata() or {}
        tensors: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    return meta["binding"], LexiconVectors(encoder=meta["encoder"], **tensors)


def _centred(vectors: Floats, *, axis: int) -> Floats:
    """Unit rows after taking away the mean over ``axis``."""
    import numpy as np

    shifted = vectors - vectors.mean(axis=axis, keepdims=True)
    return np.asarray(shifted / np.maximum(np.linalg.norm(shifted, axis=-1, keepdims=True), 1e-12), dtype=np.float32)


def _affect_centred(vectors: Floats, lexicon: Lexicon) -> Floats:
    import numpy as np

    centred = np.zeros_like(vectors)
    for code in LANGUAGES:
        rows = [i for i, entry in enumerate(lexicon.words) if entry.language == code]
        if rows:
            centred[rows] = vectors[rows] - vectors[rows].mean(axis=0)
    return centred


def _corpus_vectors(encoder: Encoder, texts: Sequence[str]) -> Floats:
    return floats(encode_bytes(encoder, [fold(text) for text in texts]))
