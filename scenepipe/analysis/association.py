"""Associations: symbols of the lexicon that a text calls without naming them.

Four signals, each 0..1, joined by the weights in `WEIGHTS`; a signal that knows nothing is left out and the others
share its weight:

* encoder: 2 cos(text, symbol) - hubness(symbol), so that symbols near to everything do not answer to everything
  (CSLS, Conneau et al., 2018)
* emotion: exp(-distance² / 0.5) between what the text feels like and the symbol's affect, times the text's confidence;
  tension is arousal too (tense arousal, Thayer 1989), and who asks is not in control, so questions lower dominance
* field: Bhattacharyya coefficient of the two weights over axes
* stem: a word of the text shares the symbol's stem (дрожать, дрожь)

Several are drawn one by one, each paying for its nearness to those already drawn (maximal marginal relevance,
Carbonell & Goldstein, 1998), so that they look at the text from different sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, sqrt
from typing import TYPE_CHECKING

from scenepipe.analysis.field import Weights
from scenepipe.analysis.lexicon import Affect, Lexicon, SymbolEntry
from scenepipe.scene import Emotion, Language, Span, Symbol, SymbolOrigin

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from scenepipe.analysis.vectors import Bytes

    Floats = npt.NDArray[np.float32]

ASSOCIATION_VERSION = "association@1"
WEIGHTS = {"encoder": 0.6, "emotion": 0.25, "field": 0.15, "stem": 0.4}
SAME_AXIS = 0.15
NEARNESS = 0.25
SMALLEST = 0.1
EMOTION_WIDTH = 0.5
ASKING = 0.3
CSLS_SHIFT = 0.6
CSLS_RANGE = 1.4
SHORTEST_STEM = 4
_ENDINGS = {
    "ru": ("ание", "ение", "ать", "ять", "ить", "еть", "ный", "ой", "ий", "ый", "но", "ь", "а", "я", "о", "е", "ы"),
    "en": ("ing", "ness", "ful", "ed", "ly", "er", "e", "y"),
}
_ORIGINS: dict[str, SymbolOrigin] = {"encoder": "encoder", "emotion": "emotion", "field": "lexicon", "stem": "lexicon"}


@dataclass(frozen=True)
class TextView:
    """What associations are drawn from.

    Args:
        language: of the text; its nouns are used, English ones for ``und``.
        symbols: of the text.
        emotion: of the text.
        tension: its level, 0 where unknown.
        asked: share of its sentences that ask.
        weights: over axes, from the text alone.
        cosines: to every symbol of the lexicon, hubness not yet taken off; None without an encoder.
        length: characters, for the span of a text without symbols.
    """

    language: Language
    symbols: Sequence[Symbol]
    emotion: Emotion
    tension: float
    asked: float
    weights: Weights
    cosines: Floats | None
    length: int


def associate(
    view: TextView, count: int, lexicon: Lexicon, hubness: Floats | None = None, vectors: Bytes | None = None
) -> list[Symbol]:
    """Up to ``count`` associated symbols, strongest first; none when nothing is known of the text.

    Args:
        hubness, vectors: of the lexicon's symbols, where there is an encoder.
    """
    signals = _signals(view, lexicon, hubness)
    named = _named(view.symbols, lexicon)
    scores = {i: parts for i, parts in enumerate(signals) if parts and i not in named}
    totals = {i: sum(parts.values()) for i, parts in scores.items()}
    drawn: list[int] = []
    while len(drawn) < count:
        left = [i for i in totals if i not in drawn and totals[i] >= SMALLEST]
        if not left:
            break
        price = {i: _price(i, drawn, lexicon.symbols, vectors) for i in left}
        drawn.append(max(left, key=lambda i: (round(totals[i] - price[i], 6), -i)))
    return [_symbol(lexicon.symbols[i], scores[i], view) for i in drawn]


def _signals(view: TextView, lexicon: Lexicon, hubness: Floats | None) -> list[dict[str, float]]:
    """Weighted parts of each symbol's score, by signal."""
    known = {"encoder": view.cosines is not None, "emotion": view.emotion.valence.value is not None}
    known["field"] = bool(view.weights)
    share = sum(WEIGHTS[name] for name, is_known in known.items() if is_known)
    stems = {_stem(s.lemma, s.language) for s in view.symbols} if view.symbols else set()
    encoder: list[float] = []
    if view.cosines is not None and hubness is not None:
        encoder = [min(1.0, max(0.0, float(x))) for x in (2 * view.cosines - hubness + CSLS_SHIFT) / CSLS_RANGE]
    felt = _felt(view)
    found: list[dict[str, float]] = []
    for index, entry in enumerate(lexicon.symbols):
        parts: dict[str, float] = {}
        if encoder:
            parts["encoder"] = WEIGHTS["encoder"] / share * encoder[index]
        if known["emotion"]:
            parts["emotion"] = WEIGHTS["emotion"] / share * _emotional(felt, view.emotion.valence.confidence, entry)
        if known["field"]:
            parts["field"] = WEIGHTS["field"] / share * _overlap(view.weights, entry)
        if any(_stem(entry.word(code), code) in stems for code in ("ru", "en")):
            parts["stem"] = WEIGHTS["stem"]
        found.append(parts)
    return found


def _felt(view: TextView) -> Affect:
    emotion = view.emotion
    valence, arousal, dominance = (r.value or 0.0 for r in (emotion.valence, emotion.arousal, emotion.dominance))
    return Affect(valence, max(arousal, view.tension), max(-1.0, dominance - ASKING * view.asked))


def _emotional(felt: Affect, confidence: float, entry: SymbolEntry) -> float:
    square = sum((mine - theirs) ** 2 for mine, theirs in zip(felt, entry.affect, strict=True))
    return exp(-square / EMOTION_WIDTH) * confidence


def _overlap(weights: Weights, entry: SymbolEntry) -> float:
    total = sum(entry.axes.values())
    return sum(sqrt(weights.get(axis, 0.0) * share / total) for axis, share in entry.axes.items())


def _named(symbols: Sequence[Symbol], lexicon: Lexicon) -> set[int]:
    """Places of the symbols that the text names itself, in either language."""
    concepts = {symbol.concept for symbol in symbols if symbol.concept}
    lemmas = {(symbol.language, symbol.lemma.replace("ё", "е")) for symbol in symbols}
    by_lemma = {lexicon.place[key] for key in lemmas if key in lexicon.place}
    return by_lemma | {i for i, entry in enumerate(lexicon.symbols) if entry.id in concepts}


def _price(index: int, drawn: Sequence[int], entries: Sequence[SymbolEntry], vectors: Bytes | None) -> float:
    if not drawn:
        return 0.0
    same = any(entries[i].leading == entries[index].leading for i in drawn)
    near = 0.0
    if vectors is not None:
        mine = vectors[index].astype("int32")
        near = max(float(mine @ vectors[i].astype("int32")) for i in drawn) / (127.0 * 127.0)
    return SAME_AXIS * same + NEARNESS * max(0.0, near)


def _symbol(entry: SymbolEntry, parts: dict[str, float], view: TextView) -> Symbol:
    cause = max(parts, key=lambda name: (parts[name], name))
    code = view.language.code if view.language.code != "und" else "en"
    return Symbol(
        lemma=entry.word(code),
        language=code,
        part="noun",
        concept=entry.id,
        origin=_ORIGINS[cause],
        score=round(min(1.0, sum(parts.values())), 4),
        evidence=_evidence(cause, entry, view),
    )


def _evidence(cause: str, entry: SymbolEntry, view: TextView) -> tuple[Span, ...]:
    """The spans that called a symbol: of its stem, of its emotion, of the text's symbols, of the whole text."""
    if cause == "emotion" and view.emotion.valence.evidence:
        return view.emotion.valence.evidence
    stems = {code: _stem(entry.word(code), code) for code in ("ru", "en")}
    callers = [s for s in view.symbols if cause != "stem" or _stem(s.lemma, s.language) in stems.values()]
    spans = tuple(sorted({span for symbol in callers for span in symbol.evidence[:1]}))
    return spans or ((0, view.length),)


def _stem(lemma: str, code: str) -> str:
    """A word less its commonest ending; the word itself where less than 4 letters would stay."""
    word = lemma.lower().replace("ё", "е")
    if code == "ru" and word.endswith(("ся", "сь")):
        word = word[:-2]
    for ending in _ENDINGS.get(code, ()):
        if word.endswith(ending) and len(word) - len(ending) >= SHORTEST_STEM:
            return word[: -len(ending)]
    return word
