"""Russian lemmas and parts of speech: pymorphy3 (OpenCorpora dictionary), the likeliest parse of a form on its own."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from scenepipe.analysis.closed_class import closed_class
from scenepipe.scene import fold

if TYPE_CHECKING:
    from scenepipe.analysis.tokens import Part

_PARTS: dict[str, Part] = {
    "NOUN": "noun",
    "VERB": "verb",
    "INFN": "verb",
    "GRND": "verb",
    "PRTF": "verb",
    "PRTS": "verb",
    "ADJF": "adjective",
    "ADJS": "adjective",
    "COMP": "adjective",
    "ADVB": "adverb",
    "PRED": "adverb",
}
_FUNCTION_GRAMMEMES = ("Apro", "Anum", "Ques", "Dmns")


class Lemma(NamedTuple):
    """Dictionary form, part of speech, whether it is a function word, whether a dictionary knows the form."""

    lemma: str
    part: Part
    stop: bool
    known: bool


@cache
def _analyser() -> Any:
    import pymorphy3

    return pymorphy3.MorphAnalyzer(lang="ru")


@lru_cache(maxsize=65536)
def russian_lemma(form: str) -> Lemma:
    """The lemma of a folded form (е for ё; the dictionary restores ё in the lemma: мед -> мёд)."""
    parses = _analyser().parse(form)
    scores: dict[tuple[str, str], float] = {}
    for parse in parses:
        key = (parse.normal_form, _pos(parse))
        scores[key] = scores.get(key, 0.0) + parse.score
    best = max(scores, key=lambda key: (round(scores[key], 2), key[1] == "VERB"))
    chosen = next(parse for parse in parses if (parse.normal_form, _pos(parse)) == best)
    part = _PARTS.get(best[1])
    stop = part is None or fold(best[0]) in closed_class("ru").stop or _is_function(chosen)
    return Lemma(best[0], part or "other", stop or form in closed_class("ru").stop, bool(chosen.is_known))


def _pos(parse: Any) -> str:
    return str(parse.tag.POS)


def _is_function(parse: Any) -> bool:
    return any(grammeme in parse.tag for grammeme in _FUNCTION_GRAMMEMES)
