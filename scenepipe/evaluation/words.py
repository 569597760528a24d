"""What can be counted in a reply alone: its language, words that no dictionary has, repeated word pairs."""

from __future__ import annotations

from typing import NamedTuple

from scenepipe.analysis.reading import read_text
from scenepipe.analysis.tokens import is_known
from scenepipe.analysis.words import split_words
from scenepipe.choose import parts_of


class ReplyWords(NamedTuple):
    """Counts of one reply.

    Args:
        faithful: it is in the language that it was asked in.
        words: its words of that language's alphabet.
        unknown: those of them that no dictionary has.
        repetition: share (0..1) of word pairs that occur again, as `scenepipe.choose` counts them.
    """

    faithful: bool
    words: int
    unknown: int
    repetition: float


def read_words(reply: str, language: str) -> ReplyWords:
    """Count one reply to a text of ``language``; an empty one is faithful to none."""
    own = [word for word in split_words(reply) if word.code == language]
    parts = parts_of(reply, text="", linkage=(), language=language, encoder=None)
    faithful = read_text(reply).language.code == language
    return ReplyWords(faithful, len(own), sum(not is_known(word) for word in own), parts["repetition"])
