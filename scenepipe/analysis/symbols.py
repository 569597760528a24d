"""Symbols of a text: its content lemmas with polarity, strength and every span where they stand."""

from __future__ import annotations

from collections.abc import Sequence

from scenepipe.analysis.lexicon import Lexicon
from scenepipe.analysis.negation import polarities
from scenepipe.analysis.tokens import Part, Token, tokenise
from scenepipe.analysis.words import Word
from scenepipe.scene import Language, Span, Symbol

SYMBOLS_VERSION = "symbols@1"
PART_STRENGTH: dict[Part, float] = {"noun": 1.0, "verb": 0.7, "adjective": 0.6, "adverb": 0.5, "other": 0.3}
OUTSIDE_LEXICON = 0.8
FIRST_POSITION = 0.85
"""Strength of a text's first word beside its last: what is new in a sentence tends to come late (theme and rheme)."""
_REPEATED = 0.9

_Key = tuple[str, str, int]


def find_symbols(words: Sequence[Word], language: Language, lexicon: Lexicon) -> tuple[Symbol, ...]:
    """Symbols in the order in which they first appear; one per lemma, language and polarity.

    ``score`` is part of speech x in the lexicon or not (1, 0.8) x place in the text (0.85..1), and every further
    mention takes a tenth of what is left to 1.
    """
    tokens = tokenise(words, codes=frozenset(run.code for run in language.spans if run.code != "und"))
    spans: dict[_Key, list[Span]] = {}
    first: dict[_Key, Symbol] = {}
    last = max(len(tokens) - 1, 1)
    for index, (token, sign) in enumerate(zip(tokens, polarities(tokens), strict=True)):
        if not token.content:
            continue
        symbol = _symbol(token, sign, index / last, lexicon)
        key = (symbol.lemma, symbol.language, symbol.polarity)
        first.setdefault(key, symbol)
        spans.setdefault(key, []).append(token.word.span)
    return tuple(_met(first[key], tuple(found)) for key, found in spans.items())


def _symbol(token: Token, sign: int, place: float, lexicon: Lexicon) -> Symbol:
    code = token.word.code
    index = _concept(token, lexicon)
    entry = lexicon.symbols[index] if index is not None else None
    part: Part = "noun" if entry else token.part
    strength = PART_STRENGTH[part] * (1.0 if entry else OUTSIDE_LEXICON)
    return Symbol(
        lemma=entry.word(code) if entry else token.lemma,
        language=code,
        polarity=1 if sign > 0 else -1,
        part=part,
        concept=entry.id if entry else None,
        score=round(strength * (FIRST_POSITION + (1 - FIRST_POSITION) * place), 4),
    )


def _concept(token: Token, lexicon: Lexicon) -> int | None:
    """The lexicon's place for this word: by its form (trembling), by its lemma unless it is used as a verb (to face)."""
    code = token.word.code
    if token.part == "verb" and not (code == "en" and token.word.form.endswith("ing")):
        return None
    by_form = lexicon.find(code, token.word.form) if code == "en" else None
    return by_form if by_form is not None else lexicon.find(code, _folded(token.lemma))


def _folded(lemma: str) -> str:
    return lemma.replace("ё", "е")


def _met(symbol: Symbol, spans: tuple[Span, ...]) -> Symbol:
    score = 1.0 - (1.0 - symbol.score) * _REPEATED ** (len(spans) - 1)
    return symbol.model_copy(update={"evidence": spans, "score": round(score, 4)})
