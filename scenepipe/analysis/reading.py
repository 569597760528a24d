"""Language and symbols of a text: what every tokenizer stage reads beside its own pieces."""

from __future__ import annotations

from typing import NamedTuple

from scenepipe.analysis.language import detect_language
from scenepipe.analysis.lexicon import shipped_lexicon
from scenepipe.analysis.symbols import find_symbols
from scenepipe.analysis.words import split_words
from scenepipe.scene import Language, Symbol


class TextReading(NamedTuple):
    """Language with its runs, and content lemmas with polarity."""

    language: Language
    symbols: tuple[Symbol, ...]


def read_text(text: str) -> TextReading:
    """Both readings of one text, in time linear in its length."""
    words = split_words(text)
    language = detect_language(words)
    return TextReading(language, find_symbols(words, language, shipped_lexicon()))


def warm_up() -> None:
    """Load dictionaries and lexicon now rather than with the first text."""
    read_text("слово word")
