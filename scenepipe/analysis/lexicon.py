"""The lexicon: symbols, affect of words and of sentences, associations of texts and of words. Data files, checked line by line.

All five are written for this project (CC0); no published affect lexicon or corpus has entered them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.resources import files
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scenepipe.errors import ConfigError, Fault
from scenepipe.scene import fold

SYMBOLS_FILE = "symbols.jsonl"
AFFECT_FILE = "affect.jsonl"
SENTENCES_FILE = "affect_sentences.jsonl"
ASSOCIATIONS_FILE = "associations.jsonl"
WORD_ASSOCIATIONS_FILE = "word_associations.jsonl"
FILES = (SYMBOLS_FILE, AFFECT_FILE, SENTENCES_FILE, ASSOCIATIONS_FILE, WORD_ASSOCIATIONS_FILE)

Axis = Literal["bodily", "inner", "sensory", "natural", "social", "temporal", "abstract", "spatial"]
AXES: tuple[Axis, ...] = ("bodily", "inner", "sensory", "natural", "social", "temporal", "abstract", "spatial")
"""axes@1, from what is felt within to where it leads: the order in which a linkage is laid out."""

_Text = Annotated[str, Field(min_length=1, max_length=200)]
_Signed = Annotated[float, Field(ge=-1.0, le=1.0, allow_inf_nan=False)]
_Weight = Annotated[float, Field(gt=0.0, le=1.0, allow_inf_nan=False)]


class Affect(NamedTuple):
    """Valence, arousal, dominance, each in -1..1."""

    valence: float
    arousal: float
    dominance: float


class SymbolEntry(BaseModel):
    """One concept with its noun in both languages, what it stands for, its affect and its share of each axis."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
    ru: _Text
    en: _Text
    gloss_ru: _Text
    gloss_en: _Text
    valence: _Signed
    arousal: _Signed
    dominance: _Signed
    axes: Annotated[dict[Axis, _Weight], Field(min_length=1)]

    @property
    def affect(self) -> Affect:
        return Affect(self.valence, self.arousal, self.dominance)

    @cached_property
    def leading(self) -> Axis:
        """Its heaviest axis, ties by the order of `AXES`."""
        return max(self.axes, key=lambda axis: (self.axes[axis], -AXES.index(axis)))

    def word(self, code: str) -> str:
        """Its noun in Russian for ``ru``, in English otherwise."""
        return self.ru if code == "ru" else self.en

    def gloss(self, code: str) -> str:
        return self.gloss_ru if code == "ru" else self.gloss_en


class AffectEntry(BaseModel):
    """The affect of one lemma."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lemma: _Text
    language: Literal["ru", "en"]
    valence: _Signed
    arousal: _Signed
    dominance: _Signed

    @property
    def affect(self) -> Affect:
        return Affect(self.valence, self.arousal, self.dominance)


class SentenceEntry(BaseModel):
    """The affect of one sentence; what the encoder learns affect from, beside words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    language: Literal["ru", "en"]
    text: Annotated[str, Field(min_length=1, max_length=1000)]
    valence: _Signed
    arousal: _Signed
    dominance: _Signed

    @property
    def affect(self) -> Affect:
        return Affect(self.valence, self.arousal, self.dominance)


class AssociationEntry(BaseModel):
    """A text or a lemma and the symbols, by id, that a reader named as its images, most natural first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    language: Literal["ru", "en"]
    text: Annotated[str, Field(min_length=1, max_length=1000)]
    symbols: Annotated[tuple[str, ...], Field(min_length=1, max_length=20)]


@dataclass(frozen=True)
class Lexicon:
    """Symbols by place, by lemma and by id (``entries``), affect by lemma; ``sha256`` is of all files' bytes.

    ``called`` has the places of the symbols that a lemma calls, most natural first.
    """

    symbols: tuple[SymbolEntry, ...]
    words: tuple[AffectEntry, ...]
    sentences: tuple[SentenceEntry, ...]
    associations: tuple[AssociationEntry, ...]
    word_associations: tuple[AssociationEntry, ...]
    sha256: str
    place: Mapping[tuple[str, str], int] = field(default_factory=dict)
    affect: Mapping[tuple[str, str], Affect] = field(default_factory=dict)
    entries: Mapping[str, SymbolEntry] = field(default_factory=dict)
    called: Mapping[tuple[str, str], tuple[int, ...]] = field(default_factory=dict)

    def find(self, code: str, word: str) -> int | None:
        """Place of the symbol whose noun in this language is ``word``, in folded form."""
        return self.place.get((code, word))

    def affect_of(self, code: str, *forms: str) -> Affect | None:
        """Affect of the first of these folded forms that the lexicon has."""
        return next((self.affect[code, form] for form in forms if (code, form) in self.affect), None)


def parse_lexicon(
    symbols: bytes, words: bytes, sentences: bytes = b"", associations: bytes = b"", word_associations: bytes = b""
) -> Lexicon:
    """Read the files.

    Raises:
        ConfigError: every fault of one file, each with its line.
    """
    entries, faults = _rows(symbols, SymbolEntry)
    faults += _repeated(
        [(line, key, key) for line, e in entries for key in (f"id {e.id}", f"ru {fold(e.ru)}", f"en {e.en}")]
    )
    _refuse(faults, SYMBOLS_FILE)
    affects, faults = _rows(words, AffectEntry)
    _refuse(faults + _repeated([(n, f"{e.language} {fold(e.lemma)}", e.lemma) for n, e in affects]), AFFECT_FILE)
    rated, faults = _rows(sentences, SentenceEntry)
    _refuse(faults + _repeated([(line, fold(e.text), e.text) for line, e in rated]), SENTENCES_FILE)
    place = {e.id: i for i, (_, e) in enumerate(entries)}
    texts = _associations(associations, place, ASSOCIATIONS_FILE)
    calls = _associations(word_associations, place, WORD_ASSOCIATIONS_FILE)
    return Lexicon(
        symbols=tuple(e for _, e in entries),
        words=tuple(e for _, e in affects),
        sentences=tuple(e for _, e in rated),
        associations=texts,
        word_associations=calls,
        sha256=hashlib.sha256(b"\0".join([symbols, words, sentences, associations, word_associations])).hexdigest(),
        place={(code, fold(e.word(code))): i for i, (_, e) in enumerate(entries) for code in ("ru", "en")},
        affect={(e.language, fold(e.lemma)): e.affect for _, e in affects},
        entries={e.id: e for _, e in entries},
        called={(e.language, fold(e.text)): tuple(place[s] for s in e.symbols) for e in calls},
    )


def _associations(data: bytes, known: Mapping[str, int], name: str) -> tuple[AssociationEntry, ...]:
    rows, faults = _rows(data, AssociationEntry)
    faults += _repeated([(line, f"{e.language} {fold(e.text)}", e.text) for line, e in rows])
    faults += [Fault("symbols", f"no symbol {s!r}", line, 1) for line, e in rows for s in e.symbols if s not in known]
    _refuse(faults, name)
    return tuple(e for _, e in rows)


def _refuse(faults: list[Fault], name: str) -> None:
    if faults:
        raise ConfigError(faults, name)


@cache
def shipped_lexicon() -> Lexicon:
    """The lexicon that ships with scenepipe.

    Raises:
        ConfigError: a data file is damaged.
    """
    data = files("scenepipe.analysis.data")
    return parse_lexicon(*(data.joinpath(name).read_bytes() for name in FILES))


def _rows(data: bytes, model: type[Any]) -> tuple[list[tuple[int, Any]], list[Fault]]:
    rows: list[tuple[int, Any]] = []
    faults: list[Fault] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append((number, model.model_validate_json(line)))
        except ValidationError as error:
            faults += [Fault(".".join(map(str, e["loc"])), e["msg"], number, 1) for e in error.errors()]
    return rows, faults


def _repeated(keys: list[tuple[int, str, str]]) -> list[Fault]:
    seen: dict[str, int] = {}
    faults = []
    for line, key, shown in keys:
        if key in seen:
            faults.append(Fault("", f"{shown!r} is already on line {seen[key]}; give it once", line, 1))
        seen.setdefault(key, line)
    return faults
