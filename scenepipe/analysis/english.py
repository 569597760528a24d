"""English lemmas (simplemma) and parts of speech: word lists, endings, then the word before."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from scenepipe.analysis.closed_class import closed_class
from scenepipe.analysis.russian import Lemma

if TYPE_CHECKING:
    from scenepipe.analysis.tokens import Part

_CLITIC = re.compile(r"(?:'(?:s|m|d|re|ve|ll)|n't|')$")
_ENDINGS: tuple[tuple[Part, tuple[str, ...]], ...] = (
    ("adverb", ("ly", "wards", "wise")),
    ("noun", ("ness", "ment", "tion", "sion", "ity", "ship", "hood", "ism", "ence", "ance", "dom", "ist", "ure")),
    ("adjective", ("ous", "ful", "less", "able", "ible", "ive", "ish", "ical", "ious", "ary")),
    ("verb", ("ize", "ise", "ify")),
)
_NOT_ADVERBS = frozenset(
    {"family", "belly", "jelly", "reply", "supply", "ally", "lily", "fly", "assembly", "anomaly", "butterfly", "july"}
)


@lru_cache(maxsize=65536)
def english_lemma(form: str) -> Lemma:
    """The lemma of a folded form and its likeliest part of speech without context."""
    import simplemma

    words = closed_class("en")
    base = _CLITIC.sub("", form) or form
    lemma = str(simplemma.lemmatize(base, lang="en")).lower()
    negator = form in words.verbal_negators or form.endswith("n't")
    stop = negator or bool({form, base, lemma} & words.stop)
    known = stop or bool(simplemma.is_known(base, lang="en"))
    return Lemma(lemma, _part(base, lemma), stop, known)


def in_context(part: Part, form: str, before: str | None) -> Part:
    """The part of a word that may be noun or verb, from the word before it in its clause."""
    words = closed_class("en")
    if before is None or part not in ("noun", "verb"):
        return part
    if before in words.before_noun and not form.endswith("ing"):
        return "noun"
    if before in words.before_verb or before.endswith("n't"):
        return "verb"
    return part


def _part(base: str, lemma: str) -> Part:
    words = closed_class("en")
    if lemma in words.adverbs or base in words.adverbs:
        return "adverb"
    if lemma in words.adjectives or base in words.adjectives:
        return "adjective"
    if lemma in words.verbs:
        return "verb"
    if base != lemma and base.endswith(("ed", "ing")):
        return "verb"
    if lemma in _NOT_ADVERBS:
        return "noun"
    return next((part for part, endings in _ENDINGS if len(lemma) > 4 and lemma.endswith(endings)), "noun")
