"""How a drawn graph shows its relations: the words for them in both languages, and the line each is drawn with."""

from __future__ import annotations

from collections.abc import Mapping

from scenepipe.graph import Edge, Relation

# Each is a verb between its ends, so that a fact reads rightly from either: «снег ведёт к тишина», «тишина следует за снег».
_WORDS: Mapping[Relation, tuple[str, str]] = {
    "holds": ("содержит", "holds"),
    "held by": ("стоит в сцене", "held by"),
    "beside": ("рядом", "beside"),
    "then": ("ведёт к", "leads to"),
    "after": ("следует за", "follows"),
    "echo": ("отзывается на", "echoes"),
    "echoed by": ("отозвалась в", "echoed by"),
    "next": ("перед", "comes before"),
    "before": ("вслед за", "comes after"),
}
LINES: Mapping[Relation, str] = {
    "holds": "arc",
    "beside": "from-lexicon",
    "then": "from-text",
    "echo": "from-encoder",
    "next": "other",
}
"""Kinds of lines (`scenepipe.drawing.palette`) of the relations as they are kept, in the order of the legend."""
DIRECTED = frozenset({"then", "after", "echo", "echoed by", "next", "before"})
_LABELS: Mapping[str, tuple[str, str]] = {
    "graph": ("окрестность", "neighbourhood"),
    "scenes": ("сцены", "scenes"),
    "symbols": ("символы", "symbols"),
    "left_out": ("не поместилось: {}", "{} left out"),
    "alone": ("вокруг ничего нет", "nothing is near"),
}


def name_of(relation: Relation, language: str) -> str:
    """The relation in words, Russian for ``ru``, English otherwise."""
    return _WORDS[relation][language != "ru"]


def label_of(what: str, language: str) -> str:
    return _LABELS[what][language != "ru"]


def told(edge: Edge, language: str) -> str:
    """The relation with its strength, and on how much it rests where that is more than one: ``рядом 0.62 ×3``."""
    times = f" ×{edge.count}" if edge.count > 1 else ""
    return f"{name_of(edge.relation, language)} {edge.weight:.2f}{times}"
