"""The SceneBuilder's work on a batch of texts: every analyser in order, one call of the encoder for all of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scenepipe.analysis.association import ASSOCIATION_VERSION, Associator, TextView
from scenepipe.analysis.codebook import Codebook
from scenepipe.analysis.cooccurrence import COOCCURRENCE_VERSION, Beside
from scenepipe.analysis.delta import DELTA_VERSION, DeltaView, features, place, sense_of
from scenepipe.analysis.emotion import EMOTION_VERSION, read_emotion
from scenepipe.analysis.field import AXES_VERSION, Weights, axis_evidence, axis_weights
from scenepipe.analysis.language import LANGUAGE_VERSION
from scenepipe.analysis.lexicon import Affect, Lexicon
from scenepipe.analysis.linkage import LINKAGE_VERSION, hyperscene, link
from scenepipe.analysis.marks import Marks, find_marks
from scenepipe.analysis.rhythm import read_rhythm, rhythm_version
from scenepipe.analysis.signed_bytes import Bytes, Floats, cosines, encode_bytes
from scenepipe.analysis.stress import Stresser
from scenepipe.analysis.symbols import SYMBOLS_VERSION
from scenepipe.analysis.tension import TENSION_VERSION, read_tension
from scenepipe.analysis.vectors import LexiconVectors
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
)

if TYPE_CHECKING:
    from scenepipe.contracts import Encoder

LEAST_COVERAGE = 0.5
"""Share of a text's letters that must be of scripts the encoder was trained on for its vector to count."""
_WORD = re.compile(r"[^\W\d_]{2}")


@dataclass(frozen=True)
class SceneText:
    """What a scene brings to its builder; ``beside`` is what an archive has met beside its symbols."""

    text: str
    language: Language
    symbols: tuple[Symbol, ...]
    beside: tuple[Beside, ...] = ()


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
    """A text's encoder vector, its sense for the codebook, its cosines to symbols and axes, what the heads read of it."""

    vector: Bytes
    sense: Bytes
    symbols: Floats
    axes: Floats
    called: Floats
    felt: Affect


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
    sense: Bytes | None

    @property
    def view(self) -> DeltaView:
        return DeltaView(
            emotion=self.emotion,
            weights=self.own_weights,
            words=self.words,
            pauses=len(self.marks.pauses),
            lines=self.rhythm.lines,
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
        stresser: says where words are stressed, for metre and rhyme; Δ-codes do not see it.
    """

    def __init__(
        self,
        lexicon: Lexicon,
        *,
        encoder: Encoder | None = None,
        vectors: LexiconVectors | None = None,
        codebook: Codebook | None = None,
        associations: int = 3,
        stresser: Stresser | None = None,
    ) -> None:
        fits = encoder is not None and codebook is not None and codebook.manifest.encoder == encoder.fingerprint
        self.lexicon = lexicon
        self._entries = lexicon.entries
        self._encoder = encoder
        self._vectors = vectors
        self._codebook = codebook if fits else None
        self._associations = associations
        self._stresser = stresser
        self._associator = Associator(lexicon, vectors)
        self.analysis = self._analysis()
        analysers = (*self.analysis.analysers, COOCCURRENCE_VERSION)
        self._with_archive = self.analysis.model_copy(update={"analysers": analysers})

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
        codes = [items[i].language.code for i in rows]
        both = encode_bytes(self._encoder, [items[i].text for i in rows] + [_content(items[i]) for i in rows])
        vectors = both[: len(rows)]
        centred, content = (self._vectors.centre(part, codes) for part in (vectors, both[len(rows) :]))
        sense = sense_of(centred, content)
        near, axes = cosines(centred, self._vectors.symbols), cosines(centred, self._vectors.axes)
        called, felt = self._vectors.associations.read(centred), self._vectors.head.read(centred)
        for at, row in enumerate(rows):
            found[row] = _Near(vectors[at], sense[at], near[at], axes[at], called[at], Affect(*map(float, felt[at])))
        return found

    def _says_something(self, item: SceneText) -> bool:
        """A text without any word of two letters, or in a script that the encoder does not know, has no vector."""
        if not _WORD.search(item.text):
            return False
        coverage = getattr(self._encoder, "coverage", None)
        return coverage is None or item.language.code != "und" or coverage(item.text) >= LEAST_COVERAGE

    def _draft(self, item: SceneText, near: _Near | None) -> Draft:
        words, marks = split_words(item.text), find_marks(item.text)
        felt = near.felt if near is not None else None
        emotion = read_emotion(item.symbols, words, len(marks.exclamations), self.lexicon, felt)
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
            called=near.called if near is not None else None,
            length=len(item.text),
            beside=item.beside,
        )
        associated = self._associator.draw(view, self._associations)
        return Draft(
            item=item,
            words=words,
            marks=marks,
            emotion=emotion,
            tension=tension,
            rhythm=read_rhythm(item.text, words, marks, self._stresser),
            own_weights=own_weights,
            weights=axis_weights(item.symbols, self._entries, axes, associated),
            associated=associated,
            vector=near.vector if near is not None else None,
            sense=near.sense if near is not None else None,
        )

    def _deltas(self, drafts: Sequence[Draft]) -> list[Delta | None]:
        import numpy as np

        deltas: list[Delta | None] = [None] * len(drafts)
        book = self._codebook
        rows = [(i, draft.sense) for i, draft in enumerate(drafts) if draft.sense is not None]
        if book is None or not rows:
            return deltas
        made = features(np.stack([sense for _, sense in rows]), [drafts[i].view for i, _ in rows], book.projection)
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
            analysis=self._with_archive if item.beside else self.analysis,
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
            rhythm_version(self._stresser),
            TENSION_VERSION,
            DELTA_VERSION,
        )
        encoder = self._encoder.fingerprint if self._encoder is not None else None
        return Analysis(analysers=analysers, encoder=encoder, codebook=self._codebook.name if self._codebook else None)


def _content(item: SceneText) -> str:
    """The text's content words in order; the text itself where it has none."""
    spans = sorted({span for symbol in item.symbols for span in symbol.evidence})
    return " ".join(item.text[start:end] for start, end in spans) or item.text
