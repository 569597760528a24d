"""Symbols in a text, in any of their forms."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from scenepipe.analysis.tokens import lemma_of
from scenepipe.analysis.words import Word, split_words
from scenepipe.scene import fold


def said(text: str, symbols: Sequence[str]) -> list[str]:
    """The symbols whose lemma a word of the text may have: «дрожью» says дрожь. Polarity does not count."""
    lemmas = frozenset[str]().union(*map(_lemmas, split_words(text)))
    return [symbol for symbol in symbols if fold(symbol.rpartition(":")[2]) in lemmas]


def fresh(symbols: Sequence[str], text: str) -> list[str]:
    """The symbols that the text does not say itself: what a reply can only have from the linkage."""
    own = set(said(text, symbols))
    return [symbol for symbol in symbols if symbol not in own]


@functools.lru_cache(maxsize=65536)
def _all_russian(form: str) -> frozenset[str]:
    """Every lemma that a form may have: «стекла» is стекло and стечь."""
    return frozenset(fold(str(parse.normal_form)) for parse in _morphology().parse(form))


def _lemmas(word: Word) -> frozenset[str]:
    likeliest = frozenset({word.form, fold(lemma_of(word).lemma)})
    return likeliest | _all_russian(word.form) if word.code == "ru" else likeliest


@functools.cache
def _morphology() -> Any:
    import pymorphy3

    return pymorphy3.MorphAnalyzer(lang="ru")
