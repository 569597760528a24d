"""The registers' own inputs, read as scenes by the same analysers that read what comes in, and kept in the user's cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scenepipe.routing.features import FEATURES, read_features, standardise
from scenepipe.scene import Scene, new_scene

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from scenepipe.analysis.builder import SceneBuilder
    from scenepipe.analysis.lexicon import Lexicon
    from scenepipe.analysis.signed_bytes import Bytes, Floats
    from scenepipe.contracts import Encoder
    from scenepipe.encoders.cache import Arrays

_BATCH = 64


@dataclass(frozen=True)
class Inputs:
    """Texts as a router sees them.

    Args:
        vectors: int8 [n, dim] less the mean of their language, of unit length; zeros where a text has none, dim 0
            without an encoder.
        features: float64 [n, features], standardised.
        means: float32 [2, dim]: what is taken from Russian and from English vectors.
        encoder: fingerprint of the encoder; None without one.
    """

    vectors: Bytes
    features: npt.NDArray[np.float64]
    means: Floats
    encoder: str | None

    def view(self, scenes: Sequence[Scene]) -> Inputs:
        """These scenes as the same kind of rows; a vector that another encoder made is left out."""
        import numpy as np

        from scenepipe.analysis.signed_bytes import quantise, unit
        from scenepipe.analysis.vectors import language_means

        dim = self.means.shape[1]
        vectors = np.zeros((len(scenes), dim), dtype=np.int8)
        codes = [scene.language.code if scene.language is not None else "und" for scene in scenes]
        known = [(row, data) for row, scene in enumerate(scenes) if (data := self._vector(scene)) is not None]
        if known:
            rows = [row for row, _ in known]
            raw = np.frombuffer(b"".join(data for _, data in known), dtype=np.int8).reshape(len(rows), dim)
            centred = raw.astype(np.float32) / np.float32(127.0) - language_means(self.means, [codes[r] for r in rows])
            vectors[rows] = quantise(unit(centred))
        features = standardise([read_features(scene) for scene in scenes])
        return Inputs(vectors, features, self.means, self.encoder)

    def with_rows(self, other: Inputs, rows: Sequence[int]) -> Inputs:
        """These rows, then some of another's of the same encoder."""
        import numpy as np

        vectors = np.concatenate([self.vectors, other.vectors[list(rows)]])
        return Inputs(vectors, np.concatenate([self.features, other.features[list(rows)]]), self.means, self.encoder)

    def _vector(self, scene: Scene) -> bytes | None:
        vector = scene.field.vector if scene.field is not None else None
        fits = vector is not None and vector.encoder == self.encoder and len(vector.data) == self.means.shape[1]
        return vector.data if vector is not None and fits and any(vector.data) else None


def read_inputs(texts: Sequence[str], encoder: Encoder | None, folder: Path) -> Inputs:
    """Texts as rows, from ``folder`` where they were read before by the same analysers and encoder.

    830 texts take about 3 s on one core the first time and 10 ms afterwards.
    """
    from scenepipe.analysis.lexicon import shipped_lexicon
    from scenepipe.encoders.cache import kept

    lexicon = shipped_lexicon()
    dim = encoder.dim if encoder is not None else 0
    shapes = {"vectors": (len(texts), dim), "features": (len(texts), len(FEATURES)), "means": (2, dim)}
    arrays = kept(
        folder / "scenes",
        [str(FEATURES), *_analysers(lexicon), encoder.fingerprint if encoder is not None else "", *texts],
        make=lambda: _read(texts, encoder, lexicon),
        fits=lambda found: {name: found[name].shape for name in shapes} == shapes,
    )
    return Inputs(
        vectors=arrays["vectors"],
        features=arrays["features"],
        means=arrays["means"],
        encoder=encoder.fingerprint if encoder is not None else None,
    )


def scene_builder(encoder: Encoder | None) -> SceneBuilder:
    """What reads scenes for a router: the shipped lexicon, this encoder, and no codebook."""
    from scenepipe.analysis.builder import SceneBuilder
    from scenepipe.analysis.lexicon import shipped_lexicon
    from scenepipe.analysis.vectors import load_vectors

    lexicon = shipped_lexicon()
    vectors = load_vectors(encoder, lexicon) if encoder is not None else None
    return SceneBuilder(lexicon, encoder=encoder, vectors=vectors)


def read_scenes(texts: Sequence[str], builder: SceneBuilder) -> list[Scene]:
    """Scenes of texts as the stages before the router leave them, but for the pieces, which it does not read."""
    from scenepipe.analysis.builder import SceneText
    from scenepipe.analysis.reading import read_text

    scenes: list[Scene] = []
    for start in range(0, len(texts), _BATCH):
        items = [SceneText(text, *read_text(text)) for text in texts[start : start + _BATCH]]
        for item, reading in zip(items, builder.read(items), strict=True):
            read = {"language": item.language, "symbols": item.symbols, **vars(reading)}
            scenes.append(new_scene(item.text).with_(**read))
    return scenes


def _read(texts: Sequence[str], encoder: Encoder | None, lexicon: Lexicon) -> Arrays:
    import numpy as np

    from scenepipe.analysis.builder import SceneBuilder
    from scenepipe.analysis.vectors import load_vectors

    vectors = load_vectors(encoder, lexicon) if encoder is not None else None
    means = vectors.means if vectors is not None else np.zeros((2, 0), dtype=np.float32)
    scenes = read_scenes(texts, SceneBuilder(lexicon, encoder=encoder, vectors=vectors)) if texts else []
    none = np.zeros((0, means.shape[1]), dtype=np.int8)
    found = Inputs(none, standardise([]), means, encoder.fingerprint if encoder is not None else None).view(scenes)
    return {"vectors": found.vectors, "features": found.features, "means": means}


def _analysers(lexicon: Lexicon) -> tuple[str, ...]:
    from scenepipe.analysis.builder import SceneBuilder

    return SceneBuilder(lexicon).analysis.analysers
