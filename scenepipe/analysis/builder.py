"""The SceneBuilder's work on a batch of texts: every analyser in order, one call of the encoder for all of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scenepipe.analysis.association import ASSOCIATION_VERSION, Associator, TextView
from scenepipe.analysis.codebook import Codebook
from scenepipe.analysis.delta import DELTA_VERSION, DeltaView, features, place
from scenepipe.analysis.emotion import EMOTION_VERSION, guess_affect, read_emotion
from scenepipe.analysis.field import AXES_VERSION, Weights, axis_evidence, axis_weights
from scenepipe.analysis.language import LANGUAGE_VERSION
from scenepipe.analysis.lexicon import Affect, Lexicon
from scenepipe.analysis.linkage import LINKAGE_VERSION, hyperscene, link
from scenepipe.analysis.marks import Marks, find_marks
from scenepipe.analysis.rhythm import RHYTHM_VERSION, read_rhythm
from scenepipe.analysis.symbols import SYMBOLS_VERSION
from scenepipe.analysis.tension import TENSION_VERSION, read_tension
from scenepipe.analysis.vectors import LexiconVectors, cosines, encode_bytes
from scenepipe.analysis.words import Word, split_words
from scenepipe.scene import (
    Analysis,
    Delta,
    Emotion,
    Language,
    Linkage,
    Rhythm,
    SemanticField,
    Symbol,
    Tension,
    Vector,
    fold,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from scenepipe.analysis.vectors import Bytes
    from scenepipe.contracts import Encoder

    Floats = npt.NDArray[np.float32]

LEAST_COVERAGE = 0.5
"""Share of a text's letters that must be of scripts the encoder was trained on for its vector to count."""
_WORD = re.compile(r"[^\W\d_]{2}")


@dataclass(frozen=True)
class SceneText:
    """What a scene brings to its builder."""

    text: str
    language: Language
    symbols: tuple[Symbol, ...]


@dataclass(frozen=True)
class SceneReading:
    """Everything that is read of one text; field names are those of `Scene`."""

    hyperscene: tuple[Symbol, ...]
    linkage: Linkage
    rhythm: Rhythm
    emotion: Emotion
    tension: Tension
    field: SemanticField
    delta: Delta | None
    analysis: Analysis


@dataclass(frozen=True)
class _Near:
    """A text's encoder vector and its cosines to symbols, axes and affect words; None where they say nothing."""

    vector: Bytes
    symbols: Floats
    axes: Floats
    affect: Floats


@dataclass(frozen=True)
class Draft:
    """A reading before the codebook, with what the codebook needs.

    ``own_weights`` are the field's from the text alone; a Δ-code must not change with the number of associations.
    """

    item: SceneText
    words: Sequence[Word]
    marks: Marks
    emotion: Emotion
    tension: Tension
    rhythm: Rhythm
    own_weights: Weights
    weights: Weights
    associated: Sequence[Symbol]
    vector: Bytes | None

    @property
    def view(self) -> DeltaView:
        return DeltaView(
            code=self.item.language.code,
            emotion=self.emotion,
            weights=self.own_weights,
            rhythm=self.rhythm,
            symbols=self.item.symbols,
            marks=self.marks,
        )


class SceneBuilder:
    """Reads texts whose language and symbols are known.

    Args:
        lexicon: symbols and affect.
        encoder, vectors: an encoder with the lexicon's vectors of it; both None for words alone.
        codebook: for Δ-codes; left out where it is of another encoder.
        associations: associated symbols that a hyperscene gets.
    """

    def __init__(
        self,
        lexicon: Lexicon,
        *,
        encoder: Encoder | None = None,
        vectors: LexiconVectors | None = None,
        codebook: Codebook | None = None,
        associations: int = 3,
    ) -> None:
        fits = encoder is not None and codebook is not None and codebook.manifest.encoder == encoder.fingerprint
        self.lexicon = lexicon
        self._entries = lexicon.entries
        self._encoder = encoder
        self._vectors = vectors
        self._codebook = codebook if fits else None
        self._associations = associations
        self._associator = Associator(lexicon, vectors)
        self._affect = _affect_table(lexicon) if vectors is not None else None
        self.analysis = self._analysis()

    def read(self, items: Sequence[SceneText]) -> list[SceneReading]:
        """A reading for each text, in order."""
        drafts = self.draft(items)
        deltas = self._deltas(drafts)
        return [self._reading(draft, delta) for draft, delta in zip(drafts, deltas, strict=True)]

    def draft(self, items: Sequence[SceneText]) -> list[Draft]:
        """Everything but the Δ-code; what a codebook is trained on."""
        nears = self._near(items)
        return [self._draft(item, near) for item, near in zip(items, nears, strict=True)]

    def _near(self, items: Sequence[SceneText]) -> list[_Near | None]:
        if self._encoder is None or self._vectors is None or not items:
            return [None] * len(items)
        found: list[_Near | None] = [None] * len(items)
        rows = [i for i, item in enumerate(items) if self._says_something(item)]
        if not rows:
            return found
        vectors = encode_bytes(self._encoder, [fold(items[i].text) for i in rows])
        centred = self._vectors.centre(vectors, [items[i].language.code for i in rows])
        compared = [cosines(centred, of) for of in (self._vectors.symbols, self._vectors.axes, self._vectors.affect)]
        for place_, row in enumerate(rows):
            found[row] = _Near(vectors[place_], *(table[place_] for table in compared))
        return found

    def _says_something(self, item: SceneText) -> bool:
        """A text without any word of two letters, or in a script that the encoder does not know, has no vector."""
        if not _WORD.search(item.text):
            return False
        coverage = getattr(self._encoder, "coverage", None)
        return coverage is None or item.language.code != "und" or coverage(item.text) >= LEAST_COVERAGE

    def _draft(self, item: SceneText, near: _Near | None) -> Draft:
        words, marks = split_words(item.text), find_marks(item.text)
        guess = guess_affect(near.affect, self._affect) if near is not None and self._affect is not None else None
        emotion = read_emotion(item.symbols, words, len(marks.exclamations), self.lexicon, guess)
        tension = read_tension(words, item.symbols, emotion, marks)
        axes = near.axes if near is not None else None
        own_weights = axis_weights(item.symbols, self._entries, axes)
        view = TextView(
            language=item.language,
            symbols=item.symbols,
            emotion=emotion,
            tension=tension.level.value or 0.0,
            asked=min(1.0, len(marks.questions) / marks.sentences),
            weights=own_weights,
            cosines=near.symbols if near is not None else None,
            length=len(item.text),
        )
        associated = self._associator.draw(view, self._associations)
        return Draft(
            item=item,
            words=words,
            marks=marks,
            emotion=emotion,
            tension=tension,
            rhythm=read_rhythm(item.text, words, marks),
            own_weights=own_weights,
            weights=axis_weights(item.symbols, self._entries, axes, associated),
            associated=associated,
            vector=near.vector if near is not None else None,
        )

    def _deltas(self, drafts: Sequence[Draft]) -> list[Delta | None]:
        import numpy as np

        deltas: list[Delta | None] = [None] * len(drafts)
        book = self._codebook
        rows = [(i, draft.vector) for i, draft in enumerate(drafts) if draft.vector is not None]
        if book is None or not rows:
            return deltas
        made = features(np.stack([vector for _, vector in rows]), [drafts[i].view for i, _ in rows], book.means)
        for (row, _), delta in zip(rows, place(made, book), strict=True):
            deltas[row] = delta
        return deltas

    def _reading(self, draft: Draft, delta: Delta | None) -> SceneReading:
        item = draft.item
        return SceneReading(
            hyperscene=hyperscene(item.symbols, draft.associated),
            linkage=link(item.symbols, draft.associated, item.language, draft.words, self._entries),
            rhythm=draft.rhythm,
            emotion=draft.emotion,
            tension=draft.tension,
            field=self._field(draft),
            delta=delta,
            analysis=self.analysis,
        )

    def _field(self, draft: Draft) -> SemanticField:
        vector = None
        if draft.vector is not None and self._encoder is not None:
            vector = Vector(data=draft.vector.tobytes(), encoder=self._encoder.fingerprint)
        evidence = axis_evidence((*draft.item.symbols, *draft.associated), self._entries)
        weights: dict[str, float] = {str(axis): weight for axis, weight in draft.weights.items()}
        return SemanticField(axes=AXES_VERSION, weights=weights, evidence=evidence, vector=vector)

    def _analysis(self) -> Analysis:
        analysers = (
            f"lexicon@{self.lexicon.sha256[:16]}",
            LANGUAGE_VERSION,
            SYMBOLS_VERSION,
            EMOTION_VERSION,
            AXES_VERSION,
            f"{ASSOCIATION_VERSION}/{self._associations}",
            LINKAGE_VERSION,
            RHYTHM_VERSION,
            TENSION_VERSION,
            DELTA_VERSION,
        )
        encoder = self._encoder.fingerprint if self._encoder is not None else None
        return Analysis(analysers=analysers, encoder=encoder, codebook=self._codebook.name if self._codebook else None)


def _affect_table(lexicon: Lexicon) -> npt.NDArray[np.float64]:
    import numpy as np

    return np.asarray(
        [tuple(entry.affect) for entry in lexicon.words] or np.empty((0, len(Affect._fields))), dtype=np.float64
    )
