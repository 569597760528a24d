"""Choosing among candidate replies by a stated score.

    score = linkage + aptness - repetition - strange - unknown

* linkage: share of the linkage's symbols that the reply uses, in any form (0..1)
* aptness: cosine between text and reply under the encoder, 0 without one
* repetition: share of word pairs that occur again (0..1)
* strange: share of letters outside the scene's script (0..1)
* unknown: share of words that no dictionary has, times 3, at most 1: a small model invents words
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from scenepipe.analysis.tokens import is_known, lemma_of
from scenepipe.analysis.words import Word, split_words
from scenepipe.contracts import Encoder
from scenepipe.scene import fold

UNKNOWN_WEIGHT = 3.0


def parts_of(
    reply: str, *, text: str, linkage: Sequence[str], language: str, encoder: Encoder | None
) -> dict[str, float]:
    """The parts of the score of one reply, each as the module's head defines it."""
    words = split_words(reply)
    parts = {
        "linkage": _used(words, linkage),
        "aptness": _aptness(text, reply, encoder) if words else 0.0,
        "repetition": _repetition([word.form for word in words]),
        "strange": _strange(reply, language),
        "unknown": _unknown(words, language),
    }
    return {name: round(value, 4) for name, value in parts.items()}


def score_of(parts: dict[str, float]) -> float:
    """The sum that the module's head states."""
    cost = parts["repetition"] + parts["strange"] + parts["unknown"]
    return round(parts["linkage"] + parts["aptness"] - cost, 4)


def _used(words: Sequence[Word], linkage: Sequence[str]) -> float:
    said = {word.form for word in words} | {fold(lemma_of(word).lemma) for word in words}
    wanted = [fold(symbol.rpartition(":")[2]) for symbol in linkage]
    return sum(symbol in said for symbol in wanted) / len(wanted) if wanted else 0.0


def _aptness(text: str, reply: str, encoder: Encoder | None) -> float:
    if encoder is None:
        return 0.0
    pair = encoder.encode([text, reply])
    return float(pair[0] @ pair[1])


def _repetition(forms: Sequence[str]) -> float:
    pairs = list(itertools.pairwise(forms))
    return 1.0 - len(set(pairs)) / len(pairs) if pairs else 0.0


def _strange(reply: str, language: str) -> float:
    letters = [c for c in reply.lower() if c.isalpha()]
    if not letters or language == "und":
        return 0.0
    own = sum(("а" <= c <= "я" or c == "ё") if language == "ru" else c.isascii() for c in letters)
    return 1.0 - own / len(letters)


def _unknown(words: Sequence[Word], language: str) -> float:
    own = [word for word in words if word.code == language]
    if not own:
        return 0.0
    return min(1.0, UNKNOWN_WEIGHT * sum(not is_known(word) for word in own) / len(own))
