"""Hyperscene and linkage: the text's strongest symbols with their associations, and the chain a reply unfolds.

The linkage has three nouns in the scene's language, associated ones as far as there are any: words that the text does
not contain, so that a reply goes on where the text ended («дрожь·тишина·вход»). A noun that the text denies comes
before them with its polarity (``не:страх``), so that a denial never has the chain of what it denies. The text's other
nouns only take places that associations leave free; one that is merely out of reach, the object of a denied verb («не
чувствую шаг»), the last of them. Nouns of the text stand in their order there; associated ones go from what is felt within
to where it leads (the order of `AXES`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from scenepipe.analysis.closed_class import closed_class
from scenepipe.analysis.lexicon import AXES, SymbolEntry
from scenepipe.analysis.negation import out_of_reach
from scenepipe.analysis.words import Word
from scenepipe.scene import Language, Linkage, Span, Symbol

LINKAGE_VERSION = "linkage@3"
LENGTH = 3
LONGEST_CHAIN = 64
TEXT_SYMBOLS = 3


def hyperscene(symbols: Sequence[Symbol], associated: Sequence[Symbol]) -> tuple[Symbol, ...]:
    """The text's three strongest symbols, in their order there, then everything associated, strongest first."""
    strongest = sorted(symbols, key=lambda s: (-s.score, s.evidence))[:TEXT_SYMBOLS]
    return (*sorted(strongest, key=lambda s: s.evidence), *associated)


def link(
    symbols: Sequence[Symbol],
    associated: Sequence[Symbol],
    language: Language,
    words: Sequence[Word],
    entries: Mapping[str, SymbolEntry],
) -> Linkage:
    """The chain of three, shorter only where nothing more is known."""
    code = language.code if language.code != "und" else "en"
    nouns = _nouns(symbols, code, entries)
    reach = out_of_reach(symbols, words)
    own = sorted((s for s in nouns if s.evidence not in reach), key=lambda s: (-s.score, s.evidence))
    spare = [s for s in nouns if s.evidence in reach]
    denied = [s for s in own if s.polarity < 0][:1]
    drawn = list(associated[: LENGTH - len(denied)])
    kept = [*denied, *(s for s in [*own, *spare] if s not in denied)][: LENGTH - len(drawn)]
    ordered = sorted(kept, key=lambda s: s.evidence) + sorted(drawn, key=lambda s: (_rank(s, entries), -s.score))
    return Linkage(chain=tuple(dict.fromkeys(symbol.key for symbol in ordered)), text=own_chain(symbols, words))


def own_chain(symbols: Sequence[Symbol], words: Sequence[Word]) -> tuple[str, ...]:
    """The text's own symbols in their order, each time they occur; a denial in a clause without a denied symbol stands bare."""
    return tuple(key for key, _ in islice(own_links(symbols, words), LONGEST_CHAIN))


def own_links(symbols: Sequence[Symbol], words: Sequence[Word]) -> Iterator[tuple[str, Span]]:
    """The links of the text's own chain, without end, each with the span of its word.

    Several symbols may stand in one word: those that a hypertoken's name unfolds to, in their order.
    """
    at: dict[int, list[Symbol]] = {}
    for symbol in symbols:
        for start, _ in symbol.evidence:
            at.setdefault(start, []).append(symbol)
    clauses = {word.start: word.clause for word in words}
    denied = {clauses.get(start, -1) for start, found in at.items() if any(s.polarity < 0 for s in found)}
    for word in words:
        found = at.get(word.start, ())
        for symbol in found:
            yield symbol.key, word.span
        if not found and word.clause not in denied and _denies(word):
            yield "не" if word.code == "ru" else "not", word.span


def _denies(word: Word) -> bool:
    if word.code not in ("ru", "en"):
        return False
    closed = closed_class(word.code)
    return (
        word.form in closed.verbal_negators
        or word.form in closed.nominal_negators
        or (word.code == "en" and word.form.endswith("n't"))
    )


def _nouns(symbols: Sequence[Symbol], code: str, entries: Mapping[str, SymbolEntry]) -> list[Symbol]:
    """The text's nouns in the scene's language; one of the other language where the lexicon can say it."""
    nouns = []
    for symbol in symbols:
        if symbol.part != "noun":
            continue
        if symbol.language == code:
            nouns.append(symbol)
        elif symbol.concept is not None and symbol.concept in entries:
            nouns.append(symbol.model_copy(update={"lemma": entries[symbol.concept].word(code), "language": code}))
    return nouns


def _rank(symbol: Symbol, entries: Mapping[str, SymbolEntry]) -> int:
    entry = entries.get(symbol.concept or "")
    return AXES.index(entry.leading) if entry else len(AXES)
