"""The lexicon's own vectors: what scenes are compared with, shipped for the default encoder, computed for any other."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scenepipe.analysis.affect_head import AffectHead, fit_head
from scenepipe.analysis.association_head import AssociationHead, fit_association_head, targets
from scenepipe.analysis.lexicon import AXES, Lexicon
from scenepipe.analysis.signed_bytes import Bytes, Floats, cosines, encode_bytes, floats, quantise, unit

if TYPE_CHECKING:
    from scenepipe.contracts import Encoder

VECTORS_FILE = "vectors.safetensors"
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
        head: reads affect of centred vectors.
        associations: reads from centred vectors which symbols a text calls.
        means: float32 [2, dim], the mean vector of Russian and of English texts.
        hubness: float32 [n symbols], mean cosine of a symbol to its 20 nearest texts (Conneau et al., 2018).
    """

    encoder: str
    symbols: Bytes
    axes: Bytes
    head: AffectHead
    associations: AssociationHead
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
    texts += [entry.text for entry in lexicon.sentences]
    texts += [entry.text for entry in (*lexicon.associations, *lexicon.word_associations)]
    return texts


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
    axes, rated = rest[: 2 * len(AXES)].reshape(len(AXES), 2, dim), rest[2 * len(AXES) :]
    symbols = _centred(views, axis=1).sum(axis=(0, 2))
    texts = [_corpus_vectors(encoder, corpus[c]) if corpus else views[i, :, 1] for i, c in enumerate(LANGUAGES)]
    means = np.stack([vectors.mean(axis=0) for vectors in texts]).astype(np.float32)
    exact = quantise(unit(symbols))
    near = np.concatenate([cosines(quantise(unit(v - m)), exact) for v, m in zip(texts, means, strict=True)])
    return LexiconVectors(
        encoder=encoder.fingerprint,
        symbols=exact,
        axes=quantise(unit(_centred(axes, axis=0).sum(axis=1))),
        head=_head(rated, lexicon, means),
        associations=_association_head(rated, views, lexicon, means),
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

    tensors = {name: getattr(vectors, name) for name in ("symbols", "axes", "means", "hubness")}
    tensors |= {f"head.{name}": getattr(vectors.head, name) for name in AffectHead._fields}
    tensors |= {f"associations.{name}": getattr(vectors.associations, name) for name in AssociationHead._fields}
    path.write_bytes(save(tensors, {"encoder": vectors.encoder, "binding": binding(vectors.encoder, lexicon)}))


def read_vectors(path: Path) -> tuple[str, LexiconVectors]:
    """Binding and vectors of a file."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        meta: dict[str, str] = file.metadata() or {}
        tensors: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    head = AffectHead(*(tensors.pop(f"head.{name}") for name in AffectHead._fields))
    called = AssociationHead(*(tensors.pop(f"associations.{name}") for name in AssociationHead._fields))
    return meta["binding"], LexiconVectors(encoder=meta["encoder"], head=head, associations=called, **tensors)


def _centred(vectors: Floats, *, axis: int) -> Floats:
    """Unit rows after taking away the mean over ``axis``."""
    import numpy as np

    shifted = vectors - vectors.mean(axis=axis, keepdims=True)
    return np.asarray(shifted / np.maximum(np.linalg.norm(shifted, axis=-1, keepdims=True), 1e-12), dtype=np.float32)


def _head(rated: Floats, lexicon: Lexicon, means: Floats) -> AffectHead:
    """The head that fits the rated words (centred on their own mean) and sentences (on that of texts)."""
    import numpy as np

    count, end = len(lexicon.words), len(lexicon.words) + len(lexicon.sentences)
    words, sentences = rated[:count], rated[count:end]
    own = np.zeros_like(words)
    for code in LANGUAGES:
        rows = [i for i, entry in enumerate(lexicon.words) if entry.language == code]
        if rows:
            own[rows] = words[rows] - words[rows].mean(axis=0)
    centred = sentences - language_means(means, [entry.language for entry in lexicon.sentences])
    return fit_head(
        quantise(unit(own)),
        np.asarray([tuple(entry.affect) for entry in lexicon.words], dtype=np.float64).reshape(-1, 3),
        quantise(unit(centred)),
        np.asarray([tuple(entry.affect) for entry in lexicon.sentences], dtype=np.float64).reshape(-1, 3),
    )


def _association_head(rated: Floats, views: Floats, lexicon: Lexicon, means: Floats) -> AssociationHead:
    """The head that fits the written associations of texts and words, and every symbol's glosses."""
    entries = (*lexicon.associations, *lexicon.word_associations)
    written = rated[len(lexicon.words) + len(lexicon.sentences) :]
    centred = quantise(unit(written - language_means(means, [entry.language for entry in entries])))
    wanted = targets(entries, {entry.id: index for index, entry in enumerate(lexicon.symbols)})
    glosses = [quantise(unit(views[i, :, 1] - means[i])) for i in range(len(LANGUAGES))]
    count = len(lexicon.associations)
    return fit_association_head(centred[:count], wanted[:count], glosses, (centred[count:], wanted[count:]))


def _corpus_vectors(encoder: Encoder, texts: Sequence[str]) -> Floats:
    return floats(encode_bytes(encoder, texts))
