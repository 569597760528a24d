"""Valence, arousal and dominance of a text (Russell & Mehrabian, 1977), from its words and from its vector.

Words: each symbol that the affect lexicon has, or whose concept the symbol lexicon has (at half weight), gives its
three numbers; a word of degree before it scales them, its negation turns valence and dominance and calms arousal: «не
страшно» is milder than its opposite (Taboada et al., 2011, who shift rather than flip for the same reason). A noun
out of reach («не чувствую шаг») counts as denied. The words' reading is the weighted mean.

Vector: the encoder's reading of the whole text (`scenepipe.analysis.affect_head`), which sees what no lexicon lists and
is blind to negation. The two are averaged: words weigh `LEXICON_SHARE` of their confidence, or as much as the share of
them that is denied, whichever is more. Without an encoder the words stand alone; without either the reading is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import fsum
from typing import NamedTuple

from scenepipe.analysis.closed_class import closed_class
from scenepipe.analysis.lexicon import Affect, Lexicon
from scenepipe.analysis.negation import out_of_reach
from scenepipe.analysis.words import Word
from scenepipe.scene import Emotion, Reading, Span, Symbol

EMOTION_VERSION = "emotion@2"
NEGATED = Affect(-0.6, -0.3, -0.6)
CONCEPT_WEIGHT = 0.5
EXCLAMATION_AROUSAL = 0.1
MOST_EXCLAMATIONS = 3
LEXICON_SHARE = 0.4
"""By cross-validation on the rated sentences: 0.3 to 0.8 tried."""
VECTOR_CONFIDENCE = 0.5
"""Confidence of the vector alone; its reading correlates with a reader's at about that (valence, arousal, dominance on
EmoBank's dev split: 0.53, 0.35, 0.25)."""
_HALF = 1.5
"""Weight of evidence at which confidence is one half."""


class _Evidence(NamedTuple):
    affect: Affect
    weight: float
    spans: tuple[Span, ...]
    denied: bool


def read_emotion(
    symbols: Sequence[Symbol], words: Sequence[Word], exclamations: int, lexicon: Lexicon, felt: Affect | None = None
) -> Emotion:
    """The reading of one text.

    Args:
        symbols: its symbols, with evidence spans.
        words: its words, for words of degree and for forms that the lexicon has and the lemma hides.
        exclamations: number of its exclamation marks.
        felt: what its vector says; None without an encoder, or where the vector says nothing.
    """
    found = list(_evidence(symbols, words, lexicon))
    if not found:
        return _emotion(felt, VECTOR_CONFIDENCE, ()) if felt is not None else Emotion()
    total = fsum(item.weight for item in found)
    sure = total / (total + _HALF)
    mean = [fsum(item.affect[i] * item.weight for item in found) / total for i in range(3)]
    mean[1] += EXCLAMATION_AROUSAL * min(exclamations, MOST_EXCLAMATIONS)
    spans = tuple(sorted({span for item in found for span in item.spans}))
    if felt is None:
        return _emotion(Affect(*mean), sure, spans)
    denied = fsum(item.weight for item in found if item.denied) / total
    share = max(LEXICON_SHARE * sure, denied)
    both = (share * word + (1.0 - share) * vector for word, vector in zip(mean, felt, strict=True))
    return _emotion(Affect(*both), 1.0 - (1.0 - sure) * (1.0 - VECTOR_CONFIDENCE), spans)


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
        denied = symbol.polarity < 0 or symbol.evidence in missed
        turned = _turned(affect, degree, denied=denied)
        yield _Evidence(turned, weight * len(symbol.evidence), symbol.evidence, denied)


def _degree(words: Sequence[Word], index: int) -> float:
    """Factor of the word of degree just before a word, 1 without one."""
    if index == 0 or words[index - 1].clause != words[index].clause:
        return 1.0
    before = words[index - 1]
    intensity: Mapping[str, float] = closed_class(before.code).intensity
    return intensity.get(before.form, 1.0)


def _turned(affect: Affect, degree: float, *, denied: bool) -> Affect:
    scaled = Affect(affect.valence * degree, affect.arousal * degree, affect.dominance)
    if not denied:
        return scaled
    return Affect(*(value * factor for value, factor in zip(scaled, NEGATED, strict=True)))


def _emotion(affect: Affect, confidence: float, spans: tuple[Span, ...]) -> Emotion:
    sure = round(confidence, 4)
    readings = [Reading[float](value=round(max(-1.0, min(1.0, x)), 4), confidence=sure, evidence=spans) for x in affect]
    return Emotion(valence=readings[0], arousal=readings[1], dominance=readings[2])
