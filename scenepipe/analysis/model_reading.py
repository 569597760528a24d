"""A model's answer judged and turned into scene fields: what it may say, beyond what a schema can hold it to.

Nouns must be single words of the scene's language that a dictionary knows as nouns, and none may stand in the text.
Weights become a simplex. Words that the model says it read must be found in the text: they are the evidence, and the
share of them that is there scales the model's own confidence. Rhythm, vector and Δ-code are none of a model's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING

from scenepipe.analysis.field import AXES_VERSION, axis_evidence
from scenepipe.analysis.lexicon import AXES, Axis, Lexicon, SymbolEntry
from scenepipe.analysis.linkage import LENGTH, hyperscene
from scenepipe.analysis.tension import MOST
from scenepipe.analysis.tokens import lemma_of
from scenepipe.analysis.words import Word, split_words
from scenepipe.scene import (
    Cause,
    Emotion,
    LanguageCode,
    Linkage,
    Reading,
    Scene,
    SemanticField,
    Span,
    Symbol,
    Tension,
    fold,
)

if TYPE_CHECKING:
    from scenepipe.analysis.model_answer import SceneAnswer

SCALE = 10
RANK_LOSS = 0.05
"""What each place in the model's order takes from a symbol's strength."""
MOST_SPANS = 16


@dataclass(frozen=True)
class ModelReading:
    """What a model's answer fills; field names are those of `Scene`."""

    hyperscene: tuple[Symbol, ...]
    linkage: Linkage
    emotion: Emotion
    tension: Tension
    field: SemanticField


def judge(answer: SceneAnswer, scene: Scene, lexicon: Lexicon, most: int) -> ModelReading | tuple[str, ...]:
    """The fields of an answer, or why it cannot be taken.

    Args:
        answer: keeps to the schema.
        scene: read by the rules: the text's symbols, the causes' spans and the vector come from there.
        most: associated symbols that are kept.
    """
    words = split_words(scene.text)
    spans, share = _found(answer.words, words)
    sure = round(answer.confidence / SCALE * share, 4)
    symbols, refused = nouns(answer.symbols, scene, lexicon)
    faults = []
    if len(symbols) < LENGTH:
        why = "; ".join(refused) or "they repeat"
        faults.append(f"symbols: {len(symbols)} are left and {LENGTH} are needed; {why}")
    if not spans:
        faults.append(f"words: {', '.join(map(repr, answer.words))} do not stand in the text")
    weights = simplex({axis: float(answer.axes[axis]) for axis in AXES})
    if not weights:
        faults.append("axes: every weight is 0")
    if faults:
        return tuple(faults)
    associated = [
        symbol.model_copy(update={"score": round(sure * (1.0 - RANK_LOSS * rank), 4), "evidence": spans})
        for rank, symbol in enumerate(symbols[:most])
    ]
    values = (answer.valence, answer.arousal, answer.dominance)
    readings = [Reading[float](value=value / SCALE, confidence=sure, evidence=spans) for value in values]
    return ModelReading(
        hyperscene=hyperscene(scene.symbols or (), associated),
        linkage=_linkage([plain(word, scene, lexicon) for word in answer.chain], associated, scene),
        emotion=Emotion(valence=readings[0], arousal=readings[1], dominance=readings[2]),
        tension=_tension(answer, scene, spans, sure),
        field=_field(weights, associated, scene, lexicon.entries),
    )


def nouns(given: Sequence[str], scene: Scene, lexicon: Lexicon) -> tuple[list[Symbol], list[str]]:
    """The nouns that may stand, each once, without score and evidence yet, and what is wrong with the others."""
    code, named = code_of(scene), _Named.of(scene, split_words(scene.text))
    kept: dict[str, Symbol] = {}
    refused: dict[str, None] = {}
    for word in given:
        found = noun(word, code, lexicon)
        if found is None:
            refused[f"{word!r} is not one noun of '{code}' that a dictionary knows"] = None
        elif named.has(word, None) or named.has(*found):
            refused[f"{word!r} stands in the text"] = None
        else:
            symbol = Symbol(lemma=found[0], language=code, part="noun", concept=found[1], origin="model")
            kept.setdefault(fold(found[0]), symbol)
    return list(kept.values()), list(refused)


def noun(given: str, code: LanguageCode, lexicon: Lexicon) -> tuple[str, str | None] | None:
    """Lemma and concept of a word that is one noun of a language; None for anything else."""
    words = split_words(given)
    if len(words) != 1 or words[0].end - words[0].start != len(given) or words[0].code != code or "-" in given:
        return None
    found = lemma_of(words[0])
    for form in (words[0].form, fold(found.lemma)):
        if (place := lexicon.find(code, form)) is not None:
            entry = lexicon.symbols[place]
            return entry.word(code), entry.id
    known = found.known and not found.stop and found.part == "noun"
    return (found.lemma, None) if known else None


def vocabulary(scene: Scene, lexicon: Lexicon, places: int) -> list[list[str]]:
    """The symbol lexicon's nouns in the scene's language, less those that stand in the text, for each place of an answer.

    Each place looks at the text from another side: its nouns lead on one axis, the heaviest axis of the rules' reading
    first. Beyond eight places an axis serves two, each with every second noun.
    """
    code, named = code_of(scene), _Named.of(scene, split_words(scene.text))
    weights = scene.field.weights if scene.field else {}
    axes = sorted(AXES, key=lambda axis: -weights.get(axis, 0.0))
    by_axis: dict[Axis, list[str]] = {axis: [] for axis in AXES}
    for entry in lexicon.symbols:
        if not named.has(entry.word(code), entry.id):
            by_axis[entry.leading].append(entry.word(code))
    return [
        by_axis[axis][place // len(AXES) :: 2 if place % len(AXES) + len(AXES) < places else 1]
        for place, axis in ((place, axes[place % len(AXES)]) for place in range(places))
    ]


def simplex(raw: Mapping[Axis, float]) -> dict[str, float]:
    """Weights of four digits that sum to 1, the heaviest taking the rounding; nothing where all are 0."""
    total = fsum(raw.values())
    if total <= 0.0:
        return {}
    weights: dict[str, float] = {axis: round(value / total, 4) for axis, value in raw.items()}
    heaviest = max(weights, key=lambda axis: weights[axis])
    weights[heaviest] = round(weights[heaviest] + 1.0 - fsum(weights.values()), 4)
    return weights


@dataclass(frozen=True)
class _Named:
    """What stands in a text: forms and lemmas, folded, and the concepts of its symbols in either language."""

    words: frozenset[str]
    concepts: frozenset[str | None]

    @classmethod
    def of(cls, scene: Scene, words: Sequence[Word]) -> _Named:
        forms = frozenset(form for word in words for form in (word.form, fold(lemma_of(word).lemma)))
        return cls(forms, frozenset(symbol.concept for symbol in scene.symbols or ()) - {None})

    def has(self, word: str, concept: str | None) -> bool:
        return fold(word) in self.words or concept in self.concepts


def _found(quoted: Sequence[str], words: Sequence[Word]) -> tuple[tuple[Span, ...], float]:
    """Spans of the quoted words in the text, and the share of the quoted words that is there."""
    wanted = {word.form for phrase in quoted for word in split_words(phrase)}
    there = [word for word in words if word.form in wanted]
    return tuple(word.span for word in there[:MOST_SPANS]), len({word.form for word in there}) / max(1, len(wanted))


def plain(word: str, scene: Scene, lexicon: Lexicon) -> str:
    """A word of the chain as a folded lemma, itself where it is no noun."""
    found = noun(word, code_of(scene), lexicon)
    return fold(found[0] if found else word)


def _linkage(chain: Sequence[str], associated: Sequence[Symbol], scene: Scene) -> Linkage:
    """The model's order of folded lemmas; the text's own nouns of the rules' chain stay, first unless the model placed them.

    A text and its denial differ in these nouns' polarity, which a model is not asked about.
    """
    drawn = {symbol.key for symbol in scene.hyperscene or () if symbol.origin != "text"}
    own = [key for key in (scene.linkage.chain if scene.linkage else ()) if key not in drawn]
    possible = {fold(key.rpartition(":")[2]): key for key in own} | {fold(s.lemma): s.key for s in associated}
    said = list(dict.fromkeys(possible[word] for word in chain if word in possible))
    wanted = [*own[: LENGTH - 1], *said, *(symbol.key for symbol in associated)]
    kept = list(dict.fromkeys(wanted))[:LENGTH]
    order = {key: place for place, key in reversed(list(enumerate(said)))}
    placed = sorted((key for key in kept if key in order), key=lambda key: order[key])
    first = [key for key in kept if key not in order and key in own]
    chained = (*first, *placed, *(key for key in kept if key not in order and key not in own))
    return (scene.linkage or Linkage()).model_copy(update={"chain": chained})


def _tension(answer: SceneAnswer, scene: Scene, spans: tuple[Span, ...], sure: float) -> Tension:
    """The level shared among the causes as `scenepipe.analysis.tension` joins them: level = 1 - product of (1 - amount)."""
    level = answer.tension / SCALE
    names = sorted(set(answer.causes)) if level > 0.0 else []
    whole = fsum(MOST[name] for name in names)
    at = {cause.name: cause.evidence for cause in (scene.tension.causes if scene.tension else ())}
    causes = [
        Cause(name=name, amount=round(1.0 - (1.0 - level) ** (MOST[name] / whole), 4), evidence=at.get(name, spans))
        for name in names
    ]
    causes.sort(key=lambda cause: (-cause.amount, cause.name))
    evidence = tuple(sorted({span for cause in causes for span in cause.evidence}))
    return Tension(level=Reading[float](value=level, confidence=sure, evidence=evidence), causes=tuple(causes))


def _field(
    weights: dict[str, float], associated: Sequence[Symbol], scene: Scene, entries: Mapping[str, SymbolEntry]
) -> SemanticField:
    evidence = axis_evidence((*(scene.symbols or ()), *associated), entries)
    ruled = scene.field or SemanticField(axes=AXES_VERSION)
    return ruled.model_copy(update={"weights": weights, "evidence": evidence})


def code_of(scene: Scene) -> LanguageCode:
    """The language that a scene is asked about and answered in: English where it is not Russian."""
    return "ru" if scene.language is not None and scene.language.code == "ru" else "en"
