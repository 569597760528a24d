"""What a language model is asked to say of a scene: its fields, their JSON Schema, reading an answer and drafting one.

Scales are small whole numbers, which a grammar can bound and a small model can copy: affect -10..10, tension, axes and
confidence 0..10. The order of the fields is the order in which a constrained engine writes them: first words of the text
itself, then nouns, so that the numbers are said with both in view.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from scenepipe.analysis.lexicon import AXES, Axis
from scenepipe.analysis.tension import MOST
from scenepipe.scene import Reading, Scene, Span

ANSWER_VERSION = "scene-answer@1"
MOST_SYMBOLS = 12
MOST_WORDS = 4
CHAIN = 3
LONGEST_QUOTE = 32
LARGEST_ANSWER = 1 << 16
"""Characters; an answer of the schema has less than 2,000."""

CAUSES: tuple[str, ...] = tuple(MOST)
LETTERS = {"ru": "а-яё", "en": "a-z"}

_Signed = Annotated[int, Field(ge=-10, le=10)]
_Unit = Annotated[int, Field(ge=0, le=10)]
_Word = Annotated[str, Field(min_length=2, max_length=24)]
_Quoted = Annotated[str, Field(min_length=1, max_length=LONGEST_QUOTE)]


def _declared(name: str) -> str:
    if name not in CAUSES:
        raise ValueError(f"possible: {', '.join(CAUSES)}")
    return name


def _whole(weights: dict[Axis, int]) -> dict[Axis, int]:
    if missing := [axis for axis in AXES if axis not in weights]:
        raise ValueError(f"every axis has a weight; missing: {', '.join(missing)}")
    return {axis: weights[axis] for axis in AXES}


_Cause = Annotated[str, AfterValidator(_declared)]


class SceneAnswer(BaseModel):
    """A model's reading of one text.

    Args:
        words: words of the text on which the reading rests.
        symbols: nouns that the text calls and does not name, strongest first.
        chain: the three of them that a reply unfolds, in order; a noun of the text may stand among them.
        valence, arousal, dominance: -10..10.
        tension: 0..10.
        causes: what raises it.
        axes: weight of each axis, 0..10.
        confidence: the model's own, 0..10.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    words: Annotated[tuple[_Quoted, ...], Field(min_length=1, max_length=MOST_WORDS)]
    symbols: Annotated[tuple[_Word, ...], Field(min_length=CHAIN, max_length=MOST_SYMBOLS)]
    chain: Annotated[tuple[_Word, ...], Field(min_length=CHAIN, max_length=CHAIN)]
    valence: _Signed
    arousal: _Signed
    dominance: _Signed
    tension: _Unit
    causes: Annotated[tuple[_Cause, ...], Field(max_length=len(CAUSES))]
    axes: Annotated[dict[Axis, _Unit], AfterValidator(_whole)]
    confidence: _Unit

    def to_json(self) -> str:
        """One line, the fields in the order of the schema."""
        return json.dumps(self.model_dump(), ensure_ascii=False)


def answer_schema(language: str, symbols: int, vocabulary: Sequence[Sequence[str]] | None = None) -> dict[str, Any]:
    """The JSON Schema that an engine is given: every field required, nothing beside them, nouns in the language's script.

    Args:
        language: ``ru``, otherwise English.
        symbols: at most so many of them, 3 to 12.
        vocabulary: the only nouns possible, for each place a list of its own, so that none can be said twice; None: any
            word. Needs an engine that knows ``prefixItems``: llama.cpp and vLLM's xgrammar do, OpenAI's strict mode
            refuses it (pydantic/pydantic-ai#7315). Every other word of this schema is in OpenAI's strict subset.
    """
    word: dict[str, Any] = {"type": "string", "pattern": f"^[{LETTERS['ru' if language == 'ru' else 'en']}]{{2,24}}$"}
    said: dict[str, Any] = {"type": "array", "items": word, "minItems": CHAIN, "maxItems": symbols}
    if vocabulary is not None:
        word = _one_of(sorted({noun for nouns in vocabulary for noun in nouns}))
        said = {"type": "array", "prefixItems": [_one_of(nouns) for nouns in vocabulary]}
        said |= {"minItems": len(vocabulary), "maxItems": len(vocabulary)}
    quoted = {"type": "string", "minLength": 1, "maxLength": LONGEST_QUOTE}
    signed = {"type": "integer", "minimum": -10, "maximum": 10}
    unit = {"type": "integer", "minimum": 0, "maximum": 10}
    return _object(
        words={"type": "array", "items": quoted, "minItems": 1, "maxItems": MOST_WORDS},
        symbols=said,
        chain={"type": "array", "items": word, "minItems": CHAIN, "maxItems": CHAIN},
        valence=signed,
        arousal=signed,
        dominance=signed,
        tension=unit,
        causes={"type": "array", "items": _one_of(CAUSES), "maxItems": len(CAUSES)},
        axes=_object(**dict.fromkeys(AXES, unit)),
        confidence=unit,
    )


def _one_of(words: Sequence[str]) -> dict[str, Any]:
    """With its type, which OpenAI's strict mode wants beside every ``enum``."""
    return {"type": "string", "enum": list(words)}


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def parse_answer(text: str) -> SceneAnswer | tuple[str, ...]:
    """One answer, or what is wrong with it."""
    if len(text) > LARGEST_ANSWER:
        return (f"it has {len(text)} characters, at most {LARGEST_ANSWER} are read",)
    try:
        return SceneAnswer.model_validate_json(text)
    except ValidationError as error:
        return tuple(f"{'.'.join(map(str, e['loc'])) or 'answer'}: {e['msg']}" for e in error.errors()[:10])


def answer_of(scene: Scene) -> SceneAnswer | None:
    """A scene's reading as an answer: the draft of a training row, for a person to correct. None where it says too little.

    Axes are scaled so that the heaviest is 10; `scenepipe.analysis.model_reading` makes a simplex of them again.
    """
    if scene.emotion is None or scene.tension is None or scene.field is None or scene.linkage is None:
        return None
    symbols = [symbol.lemma for symbol in scene.hyperscene or () if symbol.origin != "text"][:MOST_SYMBOLS]
    chain = dict.fromkeys([*(key.rpartition(":")[2] for key in scene.linkage.chain), *symbols])
    words = dict.fromkeys(scene.text[a:b] for a, b in _strongest(scene) if b - a <= LONGEST_QUOTE)
    heaviest = max(scene.field.weights.values(), default=0.0)
    if len(symbols) < CHAIN or not words or heaviest <= 0.0:
        return None
    affect = scene.emotion
    return SceneAnswer(
        words=tuple(words)[:MOST_WORDS],
        symbols=tuple(symbols),
        chain=tuple(chain)[:CHAIN],
        valence=_scaled(affect.valence),
        arousal=_scaled(affect.arousal),
        dominance=_scaled(affect.dominance),
        tension=_scaled(scene.tension.level),
        causes=tuple(cause.name for cause in scene.tension.causes if cause.name in CAUSES),
        axes={axis: round(10 * scene.field.weights.get(axis, 0.0) / heaviest) for axis in AXES},
        confidence=round(10 * affect.valence.confidence),
    )


def _strongest(scene: Scene) -> list[Span]:
    """Where the text's own symbols stand, strongest first."""
    return [symbol.evidence[0] for symbol in sorted(scene.symbols or (), key=lambda s: -s.score) if symbol.evidence]


def _scaled(reading: Reading[float]) -> int:
    """0 where it is unknown."""
    return round(10 * (reading.value or 0.0))
