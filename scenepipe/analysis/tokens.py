"""Words with lemma, part of speech and polarity: what symbols are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from scenepipe.analysis.closed_class import closed_class
from scenepipe.analysis.english import english_lemma, in_context
from scenepipe.analysis.russian import Lemma, russian_lemma
from scenepipe.analysis.words import LONGEST_WORD, Word
from scenepipe.scene import LanguageCode

Part = Literal["noun", "verb", "adjective", "adverb", "other"]
SHORTEST_LEMMA = 2


class Token(NamedTuple):
    """A word of a known language as it stands in its clause."""

    word: Word
    lemma: str
    part: Part
    content: bool


def tokenise(words: Sequence[Word], *, codes: frozenset[LanguageCode] = frozenset({"ru", "en"})) -> list[Token]:
    """Tokens of the words whose language is in ``codes``; the others have no lemma and are left out."""
    tokens: list[Token] = []
    for word in words:
        if word.code not in codes or word.end - word.start > LONGEST_WORD:
            continue
        lemma = lemma_of(word)
        part = lemma.part
        if word.code == "en":
            part = in_context(part, word.form, _before(tokens, word))
        content = not lemma.stop and len(lemma.lemma) >= SHORTEST_LEMMA
        tokens.append(Token(word, lemma.lemma, part, content))
    return tokens


def lemma_of(word: Word) -> Lemma:
    """The word's lemma in its own language; words of no known language are their own lemma."""
    if word.code == "ru":
        return russian_lemma(word.form)
    if word.code == "en":
        return english_lemma(word.form)
    return Lemma(word.form, "other", True, False)


def is_known(word: Word) -> bool:
    """Whether a dictionary of the word's language has this form."""
    return word.end - word.start <= LONGEST_WORD and lemma_of(word).known


def _before(tokens: Sequence[Token], word: Word) -> str | None:
    """The word before in the same clause; adverbs and adjectives between are looked through."""
    for token in reversed(tokens[-3:]):
        if token.word.clause != word.clause or token.word.code != word.code:
            return None
        if token.part not in ("adverb", "adjective") or token.word.form in closed_class("en").before_verb:
            return token.word.form
    return None
