"""Tension of a text, 0..1: a stated sum of causes, each with its spans. A proxy, not a measurement of a reader.

Every cause has a most that it can give, reached when it occurs once per sentence; causes join as independent ones do
(noisy or, Pearl 1988): level = 1 - product of (1 - amount). Open questions, refusals and contrasts are what suspense
is made of in Wilmot & Keller (2020): uncertainty that the text has not taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from scenepipe.analysis.closed_class import closed_class
from scenepipe.analysis.marks import Marks
from scenepipe.analysis.words import Word
from scenepipe.scene import Cause, Emotion, Reading, Span, Symbol, Tension

TENSION_VERSION = "tension@1"
MOST = {"arousal": 0.6, "negation": 0.25, "question": 0.3, "contrast": 0.2, "exclamation": 0.25, "break": 0.15}
SMALLEST = 0.01
_CONFIDENCE_WORDS = 0.5
_CONFIDENCE_EMOTION = 0.4


def read_tension(words: Sequence[Word], symbols: Sequence[Symbol], emotion: Emotion, marks: Marks) -> Tension:
    """Level with its causes, strongest first; unknown without words, and where no language is known and nothing shows."""
    if not words:
        return Tension()
    spans: dict[str, tuple[Span, ...]] = {
        "negation": tuple(span for symbol in symbols if symbol.polarity < 0 for span in symbol.evidence),
        "question": marks.questions,
        "contrast": tuple(w.span for w in words if w.code != "und" and w.form in closed_class(w.code).contrast),
        "exclamation": marks.exclamations,
        "break": marks.breaks,
    }
    causes = [_cause(name, MOST[name] * min(1.0, len(at) / marks.sentences), at) for name, at in spans.items()]
    arousal = emotion.arousal
    if arousal.value is not None:
        causes.append(_cause("arousal", MOST["arousal"] * max(0.0, arousal.value), arousal.evidence))
    kept = sorted((c for c in causes if c.amount >= SMALLEST), key=lambda c: (-c.amount, c.name))
    if not kept and all(word.code == "und" for word in words):
        return Tension()
    level = 1.0 - prod(1.0 - cause.amount for cause in kept)
    confidence = _CONFIDENCE_WORDS + _CONFIDENCE_EMOTION * arousal.confidence
    evidence = tuple(sorted({span for cause in kept for span in cause.evidence}))
    reading = Reading[float](value=round(level, 4), confidence=round(confidence, 4), evidence=evidence)
    return Tension(level=reading, causes=tuple(kept))


def _cause(name: str, amount: float, spans: tuple[Span, ...]) -> Cause:
    return Cause(name=name, amount=round(amount, 4), evidence=spans)
