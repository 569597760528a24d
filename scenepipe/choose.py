"""Choosing among candidate replies by a stated score.

    score = linkage + aptness - repetition - strange

* linkage: share of the linkage's symbols that the reply uses, by common stem (0..1)
* aptness: cosine between text and reply under the encoder, 0 without one
* repetition: share of word pairs that occur again (0..1)
* strange: share of letters outside the scene's script (0..1)
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from scenepipe.contracts import Encoder

_WORD = re.compile(r"[^\W\d_]+")
STEM = 4
"""Letters that inflected forms of a word share, at least; shorter words may differ in their last letter."""


def parts_of(
    reply: str, *, text: str, linkage: Sequence[str], language: str, encoder: Encoder | None
) -> dict[str, float]:
    """The parts of the score of one reply, each as the module's head defines it."""
    words = [word.casefold().replace("ё", "е") for word in _WORD.findall(reply)]
    aptness = 0.0
    if encoder is not None and words:
        pair = encoder.encode([text, reply])
        aptness = float(pair[0] @ pair[1])
    used = [any(_same_stem(symbol, word) for word in words) for symbol in linkage]
    return {
        "linkage": round(sum(used) / len(used), 4) if used else 0.0,
        "aptness": round(aptness, 4),
        "repetition": round(_repetition(words), 4),
        "strange": round(_strange(reply, language), 4),
    }


def score_of(parts: dict[str, float]) -> float:
    """The sum that the module's head states."""
    return round(parts["linkage"] + parts["aptness"] - parts["repetition"] - parts["strange"], 4)


def _same_stem(symbol: str, word: str) -> bool:
    lemma = symbol.rpartition(":")[2].casefold().replace("ё", "е")
    stem = lemma[: max(STEM, len(lemma) - 2)] if len(lemma) > STEM else lemma[: max(2, len(lemma) - 1)]
    return word.startswith(stem) and abs(len(word) - len(lemma)) <= 4


def _repetition(words: Sequence[str]) -> float:
    pairs = list(itertools.pairwise(words))
    return 1.0 - len(set(pairs)) / len(pairs) if pairs else 0.0


def _strange(reply: str, language: str) -> float:
    letters = [c for c in reply if c.isalpha()]
    if not letters or language == "und":
        return 0.0
    own = sum(("а" <= c.lower() <= "я" or c in "ёЁ") if language == "ru" else c.isascii() for c in letters)
    return 1.0 - own / len(letters)
