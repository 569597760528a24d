"""What a language model is asked to say of a scene: its fields, their JSON Schema, and reading one answer.

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

ANSWER_VERSION = "scene-answer@1"
MOST_SYMBOLS = 12
MOST_WORDS = 4
CHAIN = 3
LARGEST_ANSWER = 1 << 16
"""Characters; an answer of the schema has less than 2,000."""

CAUSES: tuple[str, ...] = tuple(MOST)
LETTERS = {"ru": "а-яё", "en": "a-z"}

_Signed = Annotated[int, Field(ge=-10, le=10)]
_Unit = Annotated[int, Field(ge=0, le=10)]
_Word = Annotated[str, Field(min_length=2, max_length=24)]
_Quoted = Annotated[str, Field(min_length=1, max_length=32)]


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
            word. Needs an engine that knows ``prefixItems`` (llama.cpp and vLLM do, OpenAI's strict mode does not).
    """
    word: dict[str, Any] = {"type": "string", "pattern": f"^[{LETTERS['ru' if language == 'ru' else 'en']}]{{2,24}}$"}
    said: dict[str, Any] = {"type": "array", "items": word, "minItems": CHAIN, "maxItems": symbols}
    if vocabulary is not None:
        word = {"enum": sorted({noun for nouns in vocabulary for noun in nouns})}
        said = {"type": "array", "prefixItems": [{"enum": list(nouns)} for nouns in vocabulary]}
        said |= {"minItems": len(vocabulary), "maxItems": len(vocabulary)}
    quoted = {"type": "string", "minLength": 1, "maxLength": 32}
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
        causes={"type": "array", "items": {"enum": list(CAUSES)}, "maxItems": len(CAUSES)},
        axes=_object(**dict.fromkeys(AXES, unit)),
        confidence=unit,
    )


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
