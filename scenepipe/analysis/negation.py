"""Negation scope: which content words a text denies.

A verbal negator (не, not, can't, never) turns the next content word of its clause, with auxiliaries and adverbs of
degree looked through; a nominal one (нет, без, no, without) turns the next noun, or in Russian the noun before it
(«страха нет»). Two negators on one word cancel («не могу не смеяться»), as does «не без». Scope rules after
Polanyi & Zaenen (2006) and NegEx (Chapman et al., 2001), which both stop at clause boundaries.
"""

from __future__ import annotations

from collections.abc import Sequence

from scenepipe.analysis.closed_class import closed_class
from scenepipe.analysis.tokens import Token
from scenepipe.analysis.words import Word
from scenepipe.scene import Span, Symbol

REACH = 5
"""Words that a negator looks ahead."""
REACH_BACK = 2


def polarities(tokens: Sequence[Token]) -> list[int]:
    """+1 or -1 for each token."""
    signs = [1] * len(tokens)
    for index, token in enumerate(tokens):
        target = _target(tokens, index, token)
        if target is not None:
            signs[target] *= -1
    return signs


def out_of_reach(symbols: Sequence[Symbol], words: Sequence[Word]) -> set[tuple[Span, ...]]:
    """Evidence of the nouns that stand after a denied verb in its clause, everywhere they stand («не чувствую шаг»)."""
    clause = {word.start: word.clause for word in words}
    denied: dict[int, int] = {}
    for symbol in symbols:
        if symbol.part == "verb" and symbol.polarity < 0:
            for start, _ in symbol.evidence:
                where = clause.get(start, -1)
                denied[where] = min(start, denied.get(where, start))
    if not denied:
        return set()
    return {
        symbol.evidence
        for symbol in symbols
        if symbol.part == "noun"
        and symbol.polarity > 0
        and symbol.evidence
        and all(denied.get(clause.get(start, -2), start) < start for start, _ in symbol.evidence)
    }


def _target(tokens: Sequence[Token], index: int, token: Token) -> int | None:
    words = closed_class(token.word.code)
    form = token.word.form
    if form in words.nominal_negators or token.lemma in words.nominal_negators:
        cancelled = (
            index > 0 and _same_clause(tokens, index, index - 1) and tokens[index - 1].word.form in ("не", "not")
        )
        return None if cancelled else _noun(tokens, index)
    if form in words.verbal_negators or (token.word.code == "en" and form.endswith("n't")):
        return _next_content(tokens, index)
    if form == "but" and index and _same_clause(tokens, index, index - 1) and tokens[index - 1].word.form == "anything":
        return _next_content(tokens, index)
    return None


def _next_content(tokens: Sequence[Token], index: int) -> int | None:
    words = closed_class(tokens[index].word.code)
    if index and _same_clause(tokens, index, index - 1) and tokens[index - 1].word.form in words.not_negating_previous:
        return None
    for ahead in range(index + 1, min(index + 1 + REACH, len(tokens))):
        if not _same_clause(tokens, index, ahead):
            return None
        form = tokens[ahead].word.form
        if ahead == index + 1 and (form in words.not_negating_next or form in words.nominal_negators):
            return None
        degree = form in words.intensity
        if tokens[ahead].content and not (degree and _has_content_after(tokens, ahead)):
            return ahead
    return None


def _has_content_after(tokens: Sequence[Token], index: int) -> bool:
    after = index + 1
    return after < len(tokens) and _same_clause(tokens, index, after) and tokens[after].content


def _noun(tokens: Sequence[Token], index: int) -> int | None:
    """The next noun of the clause; before any noun a verb stops it (without knowing); Russian looks back as well."""
    for ahead in range(index + 1, min(index + 1 + REACH, len(tokens))):
        if not _same_clause(tokens, index, ahead):
            break
        if tokens[ahead].content and tokens[ahead].part in ("noun", "verb"):
            return ahead
    if tokens[index].word.code != "ru":
        return None
    for behind in range(index - 1, max(index - 1 - REACH_BACK, -1), -1):
        if not _same_clause(tokens, index, behind):
            return None
        if tokens[behind].content and tokens[behind].part == "noun":
            return behind
    return None


def _same_clause(tokens: Sequence[Token], one: int, other: int) -> bool:
    return tokens[one].word.clause == tokens[other].word.clause
