"""Associations: symbols of the lexicon that a text calls without naming them.

Signals, each 0..1, are joined by the weights in `WEIGHTS`; a signal that knows nothing is left out and the others
share its weight:

* called: what the vector calls, learnt from written associations (`scenepipe.analysis.association_head`)
* words: what its symbols call one by one, as written in the lexicon: 1 for the first of a word's list falling to one half
  for its last, summed over the text's n symbols and divided by 2 sqrt(n)
* encoder: 2 cos(text, symbol) - hubness(symbol), so that symbols near to everything do not answer to everything
  (CSLS, Conneau et al., 2018)
* emotion: exp(-distance² / 0.5) between what the text feels like and the symbol's affect, times the text's confidence;
  tension is arousal too (tense arousal, Thayer 1989), and who asks is not in control, so questions lower dominance
* field: Bhattacharyya coefficient of the two weights over axes
* stem: a word of the text shares the symbol's stem (дрожать, дрожь)
* archive: the symbol stood beside the text's own in earlier scenes (`scenepipe.analysis.cooccurrence`); like stem, it is
  added to what the others say, so a scene that the archive knows nothing of stays as it is

Several are drawn one by one, each paying for its nearness to those already drawn (maximal marginal relevance,
Carbonell & Goldstein, 1998), so that they look at the text from different sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import fsum, sqrt
from typing import TYPE_CHECKING

from scenepipe.analysis.cooccurrence import Beside, with_strangers
from scenepipe.analysis.field import Weights
from scenepipe.analysis.lexicon import AXES, Affect, Lexicon
from scenepipe.analysis.signed_bytes import cosines
from scenepipe.analysis.vectors import LexiconVectors
from scenepipe.scene import Emotion, Language, LanguageCode, Span, Symbol, SymbolOrigin

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Doubles = npt.NDArray[np.float64]

ASSOCIATION_VERSION = "association@3"
WEIGHTS = {"called": 0.8, "words": 0.4, "encoder": 0.1, "emotion": 0.04, "field": 0.06, "stem": 0.4, "archive": 0.5}
SAME_AXIS = 0.02
NEARNESS = 0.05
SMALLEST = 0.02
EMOTION_WIDTH = 0.5
ASKING = 0.3
MOST_CALLERS = 3
MOST_CALLED = 0.3
"""A score of the association head that counts as 1."""
CSLS_SHIFT = 0.6
CSLS_RANGE = 1.4
SHORTEST_STEM = 4
_ENDINGS = {
    "ru": ("ание", "ение", "ать", "ять", "ить", "еть", "ный", "ой", "ий", "ый", "но", "ь", "а", "я", "о", "е", "ы"),
    "en": ("ing", "ness", "ful", "ed", "ly", "e", "y"),
}
_ORIGINS: dict[str, SymbolOrigin] = {
    "called": "encoder",
    "words": "lexicon",
    "encoder": "encoder",
    "emotion": "emotion",
    "field": "lexicon",
    "stem": "lexicon",
    "archive": "archive",
}


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
        called: score of every symbol by the association head; None without an encoder.
        length: characters, for the span of a text without symbols.
        beside: what the archive has met beside the text's symbols.
    """

    language: Language
    symbols: Sequence[Symbol]
    emotion: Emotion
    tension: float
    asked: float
    weights: Weights
    cosines: Floats | None
    called: Floats | None
    length: int
    beside: Sequence[Beside] = ()


class Associator:
    """Draws associations; everything that no text changes is computed once.

    Args:
        lexicon: whose symbols are drawn.
        vectors: of them, where there is an encoder.
    """

    def __init__(self, lexicon: Lexicon, vectors: LexiconVectors | None = None) -> None:
        import numpy as np

        entries = lexicon.symbols
        shares = [[e.axes.get(axis, 0.0) / fsum(e.axes.values()) for axis in AXES] for e in entries]
        self._lexicon = lexicon
        self._place = {entry.id: index for index, entry in enumerate(entries)}
        self._affect = np.asarray([tuple(e.affect) for e in entries], dtype=np.float64)
        self._roots = np.sqrt(np.asarray(shares, dtype=np.float64))
        self._leading = np.asarray([AXES.index(e.leading) for e in entries])
        self._stems = [{_stem(e.word(code), code) for code in _ENDINGS} for e in entries]
        self._by_stem: dict[str, list[int]] = {}
        for index, stems in enumerate(self._stems):
            for stem in stems:
                self._by_stem.setdefault(stem, []).append(index)
        self._called = {key: _ranked(places) for key, places in lexicon.called.items()}
        self._hubness = vectors.hubness if vectors is not None else None
        self._near = np.maximum(cosines(vectors.symbols, vectors.symbols), 0.0) if vectors is not None else None

    def draw(self, view: TextView, count: int) -> list[Symbol]:
        """Up to ``count`` associated symbols in the order drawn; none when nothing is known of the text."""
        import numpy as np

        signals = self._signals(view)
        if not signals:
            return []
        scores = np.sum(list(signals.values()), axis=0)
        scores[self._named(view.symbols)] = -1.0
        drawn = [self._symbol(index, signals, view) for index in self._drawn(scores, count)]
        usual, language = max(float(np.median(scores)), 0.0), _language(view)
        return with_strangers(drawn, view.beside, language, usual=usual, weight=WEIGHTS["archive"], count=count)

    def _signals(self, view: TextView) -> dict[str, Doubles]:
        """Weighted part of every symbol's score, by signal; a signal that knows nothing is not there."""
        import numpy as np

        found: dict[str, Doubles] = {}
        if view.cosines is not None and self._hubness is not None:
            csls = 2.0 * view.cosines.astype(np.float64) - self._hubness
            found["encoder"] = np.clip((csls + CSLS_SHIFT) / CSLS_RANGE, 0.0, 1.0)
        if view.called is not None:
            found["called"] = np.clip(view.called.astype(np.float64) / MOST_CALLED, 0.0, 1.0)
        if (words := self._words(view.symbols)) is not None:
            found["words"] = words
        confidence = view.emotion.valence.confidence
        if view.emotion.valence.value is not None:
            square = ((self._affect - np.asarray(_felt(view))) ** 2).sum(axis=1)
            found["emotion"] = np.exp(-square / EMOTION_WIDTH) * confidence
        if view.weights:
            found["field"] = self._roots @ np.sqrt([view.weights.get(axis, 0.0) for axis in AXES])
        total = fsum(WEIGHTS[name] for name in found)
        weighted = {name: values * (WEIGHTS[name] / total) for name, values in found.items()}
        callers = [index for symbol in view.symbols for index in self._by_stem.get(_stem_of(symbol), ())]
        if callers:
            weighted["stem"] = np.zeros(len(self._stems))
            weighted["stem"][callers] = WEIGHTS["stem"]
        if view.beside:
            weighted["archive"] = np.zeros(len(self._stems))
            for noun in (noun for noun in view.beside if noun.place is not None):
                weighted["archive"][noun.place] = WEIGHTS["archive"] * noun.strength
        return weighted

    def _words(self, symbols: Sequence[Symbol]) -> Doubles | None:
        """What the symbols call one by one; None where the lexicon knows none of them."""
        import numpy as np

        lemmas = dict.fromkeys(map(_lemma, symbols))
        lists = [self._called[key] for key in lemmas if key in self._called]
        if not lists:
            return None
        calls = np.zeros(len(self._stems))
        for places, strengths in lists:
            calls[places] += strengths
        return np.minimum(calls / (2.0 * sqrt(len(lists))), 1.0)

    def _named(self, symbols: Sequence[Symbol]) -> list[int]:
        """Places of the symbols that the text names itself, in either language."""
        concepts = [self._place[s.concept] for s in symbols if s.concept in self._place]
        lemmas = [self._lexicon.find(*_lemma(symbol)) for symbol in symbols]
        return concepts + [index for index in lemmas if index is not None]

    def _drawn(self, scores: Doubles, count: int) -> list[int]:
        """Places in the order drawn; of equal ones the first in the lexicon."""
        import numpy as np

        drawn: list[int] = []
        same = np.zeros(len(scores), dtype=bool)
        near = np.zeros(len(scores))
        while len(drawn) < count:
            worth = np.round(scores - SAME_AXIS * same - NEARNESS * near, 6)
            worth[drawn] = -np.inf
            worth[scores < SMALLEST] = -np.inf
            best = int(worth.argmax())
            if worth[best] == -np.inf:
                break
            drawn.append(best)
            same |= self._leading == self._leading[best]
            near = np.maximum(near, self._near[best]) if self._near is not None else near
        return drawn

    def _symbol(self, index: int, signals: Mapping[str, Doubles], view: TextView) -> Symbol:
        entry = self._lexicon.symbols[index]
        parts = {name: float(values[index]) for name, values in signals.items()}
        cause = "stem" if parts.get("stem") else max(parts, key=lambda name: (parts[name], name))
        code = _language(view)
        return Symbol(
            lemma=entry.word(code),
            language=code,
            part="noun",
            concept=entry.id,
            origin=_ORIGINS[cause],
            score=round(min(1.0, fsum(parts.values())), 4),
            evidence=self._evidence(cause, index, view),
        )

    def _evidence(self, cause: str, index: int, view: TextView) -> tuple[Span, ...]:
        """The spans that called a symbol: beside which it stood, of its stem, of the strongest symbols, of the whole text."""
        if cause == "archive":
            return next(noun.evidence for noun in view.beside if noun.place == index)
        callers = [s for s in view.symbols if self._calls(cause, s, index)]
        callers = sorted(callers, key=lambda s: (-s.score, s.evidence))[:MOST_CALLERS]
        return tuple(sorted({span for symbol in callers for span in symbol.evidence[:1]})) or ((0, view.length),)

    def _calls(self, cause: str, symbol: Symbol, index: int) -> bool:
        if cause == "words":
            return index in self._called.get(_lemma(symbol), ((),))[0]
        return cause != "stem" or _stem_of(symbol) in self._stems[index]


def _lemma(symbol: Symbol) -> tuple[str, str]:
    return symbol.language, symbol.lemma.replace("ё", "е")


def _language(view: TextView) -> LanguageCode:
    return view.language.code if view.language.code != "und" else "en"


def _ranked(places: Sequence[int]) -> tuple[list[int], Doubles]:
    import numpy as np

    return list(places), np.linspace(1.0, 0.5, len(places)) if len(places) > 1 else np.ones(1)


def _felt(view: TextView) -> Affect:
    emotion = view.emotion
    valence, arousal, dominance = (r.value or 0.0 for r in (emotion.valence, emotion.arousal, emotion.dominance))
    return Affect(valence, max(arousal, view.tension), max(-1.0, dominance - ASKING * view.asked))


def _stem_of(symbol: Symbol) -> str:
    return _stem(symbol.lemma, symbol.language)


@lru_cache(maxsize=65536)
def _stem(lemma: str, code: str) -> str:
    """A word less its commonest ending; the word itself where less than 4 letters would stay."""
    word = lemma.lower().replace("ё", "е")
    if code == "ru" and word.endswith(("ся", "сь")):
        word = word[:-2]
    for ending in _ENDINGS.get(code, ()):
        if word.endswith(ending) and len(word) - len(ending) >= SHORTEST_STEM:
            return word[: -len(ending)]
    return word
