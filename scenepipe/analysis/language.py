"""Language of a text and of each run of words: script first, then whether the words are known.

Cyrillic letters of the Russian alphabet speak for Russian, Latin ones for English; any other letter speaks for
neither. Related languages that share the alphabet (Bulgarian, German) are caught by the share of words that no
dictionary of Russian or English has: what is not known to be one of the two is ``und``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from scenepipe.analysis.tokens import is_known
from scenepipe.analysis.words import Word
from scenepipe.scene import Language, LanguageCode, LanguageSpan

LANGUAGE_VERSION = "language@1"
MOST_WORDS = 2000
"""Words that are looked up; a longer text is judged by its first ones."""
LEAST_KNOWN = 0.6
MOST_FOREIGN = 0.1
"""Share of Cyrillic words with a letter that Russian lacks, from which on all of them are another language."""
_DOUBT = 2.0


def detect_language(words: Sequence[Word]) -> Language:
    """Code with confidence 0..1 and the spans of each run of one language; ``und`` at 0 for a text without letters.

    Confidence is the share of letters in the chosen language, times the share of its words that a dictionary has,
    times n / (n + 2) for its n letters: short texts are never certain. It is a heuristic, not a probability.
    """
    if not words:
        return Language()
    refused = _refused(words)
    codes: list[LanguageCode] = ["und" if word.code in refused else word.code for word in words]
    letters: Counter[LanguageCode] = Counter()
    for word, code in zip(words, codes, strict=True):
        letters[code] += word.end - word.start
    best: LanguageCode = max(letters, key=lambda code: (letters[code], code != "und", code == codes[0]))
    share = letters[best] / letters.total() * letters[best] / (letters[best] + _DOUBT)
    known = 1.0 if best == "und" else _known_share([word for word in words if word.code == best])
    return Language(code=best, confidence=round(share * known, 4), spans=_runs(words, codes))


def _refused(words: Sequence[Word]) -> set[LanguageCode]:
    """Alphabets that are here but whose language is not."""
    refused: set[LanguageCode] = {
        code
        for code in ("ru", "en")
        if (mine := [word for word in words[:MOST_WORDS] if word.code == code]) and _known_share(mine) < LEAST_KNOWN
    }
    cyrillic = sum(word.code == "ru" for word in words)
    foreign = sum(word.code == "und" and any("\u0400" <= c <= "\u052f" for c in word.form) for word in words)
    if foreign > MOST_FOREIGN * (foreign + cyrillic):
        refused.add("ru")
    return refused


def _known_share(words: Sequence[Word]) -> float:
    sample = words[:MOST_WORDS]
    return sum(map(is_known, sample)) / len(sample)


def _runs(words: Sequence[Word], codes: Sequence[LanguageCode]) -> tuple[LanguageSpan, ...]:
    runs: list[tuple[LanguageCode, int, int]] = []
    for word, code in zip(words, codes, strict=True):
        if runs and runs[-1][0] == code:
            runs[-1] = (code, runs[-1][1], word.end)
        else:
            runs.append((code, word.start, word.end))
    return tuple(LanguageSpan(code=code, span=(start, end)) for code, start, end in runs)
