"""Builders with and without the real encoder, opened once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scenepipe.analysis.builder import SceneBuilder, SceneReading, SceneText
from scenepipe.analysis.codebook import shipped_codebook
from scenepipe.analysis.lexicon import shipped_lexicon
from scenepipe.analysis.reading import read_text
from scenepipe.analysis.vectors import load_vectors
from scenepipe.encoders.usem3 import Usem3Encoder

Read = Callable[..., list[SceneReading]]


@pytest.fixture(scope="session")
def encoder() -> Usem3Encoder:
    return Usem3Encoder()


@pytest.fixture(scope="session")
def builder(encoder: Usem3Encoder) -> SceneBuilder:
    lexicon = shipped_lexicon()
    return SceneBuilder(lexicon, encoder=encoder, vectors=load_vectors(encoder, lexicon), codebook=shipped_codebook())


@pytest.fixture(scope="session")
def read(builder: SceneBuilder) -> Read:
    """Texts to readings, with the encoder."""
    return lambda *texts: builder.read([SceneText(text, *read_text(text)) for text in texts])


@pytest.fixture(scope="session")
def read_words() -> Read:
    """Texts to readings, from words alone."""
    plain = SceneBuilder(shipped_lexicon())
    return lambda *texts: plain.read([SceneText(text, *read_text(text)) for text in texts])
