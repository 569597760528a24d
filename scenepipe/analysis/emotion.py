"""Valence, arousal and dominance of a text (Russell & Mehrabian, 1977) from its symbols.

Each symbol that the affect lexicon has, or whose concept the symbol lexicon has (at half weight), gives its three
numbers; a word of degree before it scales them, its negation turns valence and dominance and calms arousal: «не
страшно» is milder than its opposite (Taboada et al., 2011, who shift rather than flip for the same reason). A noun
out of reach («не чувствую шаг») counts as denied. The text's reading is the weighted mean. Without any such word, the
encoder's nearest affect words give a guess of low confidence, and without an encoder the reading is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from scenepipe.analysis.closed_class import closed_class
from scenepipe.analysis.lexicon import Affect, Lexicon
from scenepipe.analysis.negation import out_of_reach
from scenepipe.analysis.words import Word
from scenepipe.scene import Emotion, Reading, Span, Symbol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

EMOTION_VERSION = "emotion@1"
NEGATED = Affect(-0.6, -0.3, -0.6)
CONCEPT_WEIGHT = 0.5
EXCLAMATION_AROUSAL = 0.1
MOST_EXCLAMATIONS = 3
GUESS_CONFIDENCE = 0.2
GUESS_KERNEL = 0.06
GUESS_COSINE = 0.15
"""Centred cosine under which no affect word is near enough to guess from; random pairs of texts stay under 0.1."""
_HALF = 1.5
"""Weight of evidence at which confidence is one half."""


class _Evidence(NamedTuple):
    affect: Affect
    weight: float
    spans: tuple[Span, ...]


def read_emotion(
    symbols: Sequence[Symbol], words: Sequence[Word], exclamations: int, lexicon: Lexicon, guess: Affect | None = None
) -> Emotion:
    """The reading of one text.

    Args:
        symbols: its symbols, with evidence spans.
        words: its words, for words of degree and for forms that the lexicon has and the lemma hides.
        exclamations: number of its exclamation marks.
        guess: what the encoder would say, see `guess_affect`; used only where no word says anything.
    """
    found = list(_evidence(symbols, words, lexicon))
    if not found:
        return _emotion(guess, GUESS_CONFIDENCE, ()) if guess is not None else Emotion()
    total = sum(item.weight for item in found)
    mean = [sum(item.affect[i] * item.weight for item in found) / total for i in range(3)]
    mean[1] += EXCLAMATION_AROUSAL * min(exclamations, MOST_EXCLAMATIONS)
    spans = tuple(sorted({span for item in found for span in item.spans}))
    return _emotion(Affect(*mean), total / (total + _HALF), spans)


def guess_affect(cosines: npt.NDArray[np.float32], values: npt.NDArray[np.float64]) -> Affect | None:
    """Kernel average (Nadaraya-Watson) of the affect lexicon's values [n, 3] by a text's cosines [n] to its words."""
    import numpy as np

    best = float(cosines.max(initial=-1.0))
    if best < GUESS_COSINE:
        return None
    weights = np.exp((cosines.astype(np.float64) - best) / GUESS_KERNEL)
    return Affect(*(float(x) for x in weights @ values / weights.sum()))


def _evidence(symbols: Sequence[Symbol], words: Sequence[Word], lexicon: Lexicon) -> Iterator[_Evidence]:
    place = {word.start: index for index, word in enumerate(words)}
    missed = out_of_reach(symbols, words)
    for symbol in symbols:
        indices = [place[start] for start, _ in symbol.evidence if start in place]
        form = words[indices[0]].form if indices else ""
        affect = lexicon.affect_of(symbol.language, symbol.lemma.replace("ё", "е"), form)
        weight = 1.0
        if affect is None and symbol.concept is not None and symbol.concept in lexicon.entries:
            affect, weight = lexicon.entries[symbol.concept].affect, CONCEPT_WEIGHT
        if affect is None:
            continue
        degree = max((_degree(words, index) for index in indices), key=lambda d: abs(d - 1.0), default=1.0)
        yield _Evidence(
            _turned(affect, degree, -1 if symbol.evidence in missed else symbol.polarity),
            weight * len(symbol.evidence),
            symbol.evidence,
        )


def _degree(words: Sequence[Word], index: int) -> float:
    """Factor of the word of degree just before a word, 1 without one."""
    if index == 0 or words[index - 1].clause != words[index].clause:
        return 1.0
    before = words[index - 1]
    intensity: Mapping[str, float] = closed_class(before.code).intensity
    return intensity.get(before.form, 1.0)


def _turned(affect: Affect, degree: float, polarity: int) -> Affect:
    scaled = Affect(affect.valence * degree, affect.arousal * degree, affect.dominance)
    if polarity > 0:
        return scaled
    return Affect(*(value * factor for value, factor in zip(scaled, NEGATED, strict=True)))


def _emotion(affect: Affect, confidence: float, spans: tuple[Span, ...]) -> Emotion:
    sure = round(confidence, 4)
    readings = [Reading[float](value=round(max(-1.0, min(1.0, x)), 4), confidence=sure, evidence=spans) for x in affect]
    return Emotion(valence=readings[0], arousal=readings[1], dominance=readings[2])
