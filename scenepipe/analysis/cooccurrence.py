"""What an archive adds to associations: symbols that stood beside the text's own in earlier scenes.

A symbol counts once it has stood there twice: in a small archive everything that met once has a normalised pointwise mutual
information of 1. Its strength is that information times ``1 - 1 / scenes together``, the discount of rare pairs (after
Pantel & Lin, 2002). Denied symbols call nothing. Of what the lexicon does not have, only single nouns are taken, since a
key from a foreign archive may hold any text and a linkage reaches the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scenepipe.analysis.lexicon import Lexicon
from scenepipe.contracts import Neighbour
from scenepipe.recall import lemma_of
from scenepipe.scene import LanguageCode, Span, Symbol, fold

COOCCURRENCE_VERSION = "archive@1"
MOST_ASKED = 2
"""Symbols of a text, its strongest, for which the archive is asked: each question takes some milliseconds."""
MOST_NEIGHBOURS = 12
LEAST_TOGETHER = 2
_WORD = re.compile(r"[^\W\d_]{2,30}(?:-[^\W\d_]{2,30})?")
_RUSSIAN = re.compile("[а-яё]")


@dataclass(frozen=True)
class Beside:
    """A noun that the archive has met beside symbols of the text.

    Args:
        lemma: in the text's language.
        place: in the lexicon; None for a noun that it does not have.
        strength: in 0..1.
        evidence: spans of the text's symbols beside which it stood.
    """

    lemma: str
    place: int | None
    strength: float
    evidence: tuple[Span, ...]


def asked(symbols: Sequence[Symbol]) -> list[Symbol]:
    """The text's strongest symbols."""
    return sorted(symbols, key=lambda s: (-s.score, s.evidence))[:MOST_ASKED]


def keys_of(symbol: Symbol, lexicon: Lexicon) -> tuple[str, ...]:
    """The symbol's key, and that of its translation where the lexicon has one: an archive may hold both languages."""
    entry = lexicon.entries.get(symbol.concept or "")
    if entry is None:
        return (symbol.key,)
    other: LanguageCode = "en" if symbol.language == "ru" else "ru"
    return symbol.key, symbol.model_copy(update={"lemma": entry.word(other), "language": other}).key


def beside(
    found: Iterable[tuple[Symbol, Sequence[Neighbour]]], symbols: Sequence[Symbol], code: str, lexicon: Lexicon
) -> tuple[Beside, ...]:
    """What the archive's answers call, strongest first.

    Args:
        found: for each symbol that was asked for, its neighbours.
        symbols: of the text, which are not associated with it.
        code: the text's language.
    """
    own = {s.concept for s in symbols} | {fold(s.lemma) for s in symbols}
    best: dict[str, Beside] = {}
    for symbol, neighbours in found:
        for neighbour in neighbours:
            noun = _noun(neighbour, symbol, code, lexicon)
            if noun is not None and not own & {fold(noun.lemma), _id(noun, lexicon)}:
                best[noun.lemma] = _joined(best.get(noun.lemma), noun)
    return tuple(sorted(best.values(), key=lambda noun: (-noun.strength, noun.lemma)))


def _noun(neighbour: Neighbour, symbol: Symbol, code: str, lexicon: Lexicon) -> Beside | None:
    key = fold(neighbour.key)
    if neighbour.together < LEAST_TOGETHER or lemma_of(key) != key:
        return None
    language = "ru" if _RUSSIAN.search(key) else "en"
    place = lexicon.find(language, key)
    if place is None and (language != code or not _is_noun(neighbour.key, key, language)):
        return None
    lemma = neighbour.key if place is None else lexicon.symbols[place].word(code)
    strength = min(max(neighbour.score, 0.0), 1.0) * (1.0 - 1.0 / neighbour.together)
    return Beside(lemma, place, strength, symbol.evidence[:1]) if strength > 0.0 else None


def _is_noun(written: str, form: str, language: str) -> bool:
    """One plain word, not merely one when folded, that the analyser of its language takes for a noun."""
    if not _WORD.fullmatch(form) or written.replace("ё", "е") != form:
        return False
    if language == "ru":
        from scenepipe.analysis.russian import russian_lemma as lemma_in
    else:
        from scenepipe.analysis.english import english_lemma as lemma_in
    found = lemma_in(form)
    return found.part == "noun" and not found.stop


def _id(noun: Beside, lexicon: Lexicon) -> str:
    return lexicon.symbols[noun.place].id if noun.place is not None else ""


def _joined(one: Beside | None, other: Beside) -> Beside:
    if one is None:
        return other
    evidence = tuple(sorted({*one.evidence, *other.evidence}))
    return Beside(one.lemma, one.place, max(one.strength, other.strength), evidence)


def with_strangers(
    drawn: Sequence[Symbol], found: Sequence[Beside], language: LanguageCode, *, usual: float, weight: float, count: int
) -> list[Symbol]:
    """The drawn symbols with the nouns that the lexicon does not have in the places that they deserve.

    Args:
        usual: what other signals would give such a noun: the median of the lexicon's scores.
        weight: of the archive's signal.
    """
    strangers = [_stranger(noun, language, usual + weight * noun.strength) for noun in found if noun.place is None]
    if not strangers:
        return list(drawn)
    return sorted([*drawn, *strangers], key=lambda symbol: -symbol.score)[:count]


def _stranger(noun: Beside, language: LanguageCode, score: float) -> Symbol:
    return Symbol(
        lemma=noun.lemma,
        language=language,
        part="noun",
        origin="archive",
        score=round(min(1.0, score), 4),
        evidence=noun.evidence,
    )
