"""The Scene: the one frozen value that flows through a pipeline, and the values inside it.

A stage returns a copy with its own fields filled. Spans are ``(start, end)`` character offsets into the original
text, which is never altered. ``None`` means "unknown" and is always a legal answer.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scenepipe.errors import InputError
from scenepipe.mixture import Mixture, ReceiptMode
from scenepipe.normal_form import nfc
from scenepipe.tools import ToolCall

T = TypeVar("T")
Span = tuple[int, int]
Unit = Annotated[float, Field(ge=0.0, le=1.0)]
Signed = Annotated[float, Field(ge=-1.0, le=1.0)]
LanguageCode = Literal["ru", "en", "und"]
SymbolOrigin = Literal["text", "lexicon", "encoder", "emotion", "archive", "model"]

SCENE_NAMESPACE = uuid.UUID("6f1d5b1e-3a52-5c8e-9f0a-7d2f5f0c5ce0")
MAX_TEXT_CHARACTERS = 10_000_000


class Value(BaseModel):
    """A frozen value; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Reading(Value, Generic[T]):
    """One analysed figure: the value (None: unknown), how sure (0..1), and the spans it was read from."""

    value: T | None = None
    confidence: Unit = 0.0
    evidence: tuple[Span, ...] = ()


class Origin(Value):
    """The occasion on which a text was met; the same words met twice are one scene and two encounters.

    ``parent`` is the id of the encounter that this turn follows in its chat, see `scenepipe.chats`. With ``regenerate`` it is
    the meeting that is answered once more: the text is not met again.
    """

    namespace: str = "default"
    run: str = ""
    row: int = 0
    user: str | None = None
    chat: str | None = None
    turn: int | None = None
    parent: str | None = None
    regenerate: bool = False


class LanguageSpan(Value):
    code: LanguageCode
    span: Span


class Language(Value):
    """Language of the whole text and of each run of words in it."""

    code: LanguageCode = "und"
    confidence: Unit = 0.0
    spans: tuple[LanguageSpan, ...] = ()


class Piece(Value):
    """One subword piece: its vocabulary id, its surface and where it stands in the text."""

    id: int
    text: str
    span: Span


class Symbol(Value):
    """A content lemma with polarity, in the text or associated with it, with where it came from.

    ``score`` is strength in 0..1. ``concept`` joins translations: дрожь and trembling share one. An associated symbol
    keeps as ``evidence`` the spans that called it.
    """

    lemma: str
    language: LanguageCode
    polarity: Literal[1, -1] = 1
    part: Literal["noun", "verb", "adjective", "adverb", "other"] = "other"
    concept: str | None = None
    origin: SymbolOrigin = "text"
    score: Unit = 0.0
    evidence: tuple[Span, ...] = ()

    @property
    def key(self) -> str:
        """Lemma with its polarity: ``не:чувствовать``, ``not:feel``."""
        if self.polarity > 0:
            return self.lemma
        return f"{'не' if self.language == 'ru' else 'not'}:{self.lemma}"


class Hypertoken(Value):
    """A named repeat of a chain of symbols, found in this text."""

    name: str
    chain: tuple[str, ...]
    evidence: tuple[Span, ...] = ()


class Linkage(Value):
    """The ordered chain of a scene's strongest symbols and its joined form: two views of one value.

    ``text`` is the text's own chain, its symbols in their order with polarity (the first 64, with a bare ``не`` or ``not`` where
    a denial has no symbol): what tells «Мне страшно» from «Мне не страшно», and a chain from its reversal.
    """

    chain: tuple[str, ...] = ()
    text: tuple[str, ...] = ()

    @property
    def joined(self) -> str:
        """``дрожьтишинавход``: the chain's words run together, polarity kept."""
        return "".join(word.replace(":", "") for word in self.chain)

    @property
    def unfolds(self) -> tuple[str, ...]:
        """What a reply unfolds: the chain without what the text denies."""
        return tuple(word for word in self.chain if ":" not in word)


class Rhythm(Value):
    """Counts and pauses of the text; stress, metre and rhyme only where they are known.

    ``rhyme`` is the scheme of each stanza, joined by a space: one letter for lines that rhyme, ``-`` for one that does
    not (``ABAB -A-A``).
    """

    words: int = 0
    lines: int = 0
    syllables: Reading[int] = Reading[int]()
    syllables_per_line: tuple[int, ...] = ()
    pauses: tuple[Span, ...] = ()
    stress: Reading[str] = Reading[str]()
    metre: Reading[str] = Reading[str]()
    rhyme: Reading[str] = Reading[str]()


class Emotion(Value):
    """Valence, arousal and dominance, each in -1..1."""

    valence: Reading[Signed] = Reading[Signed]()
    arousal: Reading[Signed] = Reading[Signed]()
    dominance: Reading[Signed] = Reading[Signed]()


class Cause(Value):
    """One named contribution to a figure, with its spans."""

    name: str
    amount: float
    evidence: tuple[Span, ...] = ()


class Tension(Value):
    """Tension in 0..1 and the causes that raised it."""

    level: Reading[Unit] = Reading[Unit]()
    causes: tuple[Cause, ...] = ()


class Vector(Value):
    """A unit vector kept as signed bytes: ``component = int8 / 127``, length ``len(data)``."""

    data: bytes
    encoder: str

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")


class SemanticField(Value):
    """Weights over the named axes of one version (a simplex), and the encoder's vector."""

    axes: str
    weights: dict[str, Unit] = {}
    evidence: dict[str, tuple[Span, ...]] = {}
    vector: Vector | None = None


class Delta(Value):
    """A discrete address of the scene's meaning in one frozen codebook."""

    code: int
    codebook: str
    margin: float
    alternative: int
    gloss: dict[str, str] = {}

    def __str__(self) -> str:
        return f"Δ{self.code}@{self.codebook}"


class Echo(Value):
    """A remembered scene recalled for this one, and every reason it was.

    A part of a document that was read has its citation: ``source`` as it was given (``notes.jsonl:12`` for a row), and the
    ``span`` of its characters in the file, or in the row's text.
    """

    scene_id: str
    text: str
    linkage: tuple[str, ...] = ()
    reply: str | None = None
    score: float = 0.0
    reasons: tuple[str, ...] = ()
    met: datetime | None = None
    source: str | None = None
    span: Span | None = None


class Turn(Value):
    """An earlier turn of the same chat: what was said, and what was answered."""

    text: str
    reply: str | None = None
    scene_id: str | None = None


class Resonance(Value):
    """How strongly this scene has been met before: in (0, 1), None when nothing was recalled."""

    strength: Unit | None = None
    encounters: int = 0
    last: datetime | None = None


class AdapterReceipt(Value):
    register_name: str
    sha256: str
    weight: float


class Receipt(Value):
    """Proof of what actually spoke."""

    backend: str
    model: str
    model_sha256: str | None = None
    mode: ReceiptMode
    asked: dict[str, float] = {}
    used: dict[str, float] = {}
    adapters: tuple[AdapterReceipt, ...] = ()
    prompt_version: int
    prompt_sha256: str
    seed: int | None = None
    sampling: dict[str, Any] = {}
    candidates: tuple[Candidate, ...] = ()


class Candidate(Value):
    """One drawn reply and the parts of the score that chose among them."""

    text: str
    seed: int
    score: float
    parts: dict[str, float] = {}
    chosen: bool = False


class Usage(Value):
    """Token counts as the engine reports them."""

    prompt_tokens: int = 0
    reply_tokens: int = 0
    seconds: float = 0.0


class Segment(Value):
    """A stretch of the reply with the register that led it; characters of the reply."""

    span: Span
    register_name: str


class TokenScore(Value):
    """One token of a reply with its natural-log probability."""

    token: str
    logprob: float


class Reply(Value):
    """What the mixture said."""

    text: str
    alternatives: tuple[str, ...] = ()
    segments: tuple[Segment, ...] = ()
    reasoning: str | None = None
    logprobs: tuple[TokenScore, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: Literal["stop", "length", "tool_calls", "cancelled", "error"] = "stop"
    usage: Usage = Usage()
    receipt: Receipt

    @property
    def answers(self) -> bool:
        """Whether it ends its turn: after calls of tools the turn goes on, and nothing was answered yet."""
        return not self.tool_calls


class Analysis(Value):
    """What analysed the scene: names with versions, the encoder's and codebook's fingerprints."""

    analysers: tuple[str, ...] = ()
    encoder: str | None = None
    codebook: str | None = None

    @property
    def id(self) -> str:
        """Hash of all of it; an archive keeps one record per scene and analysis."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


class Scene(Value):
    """One text on its way from words to voice and memory. docs/architecture.md says which stage fills which field."""

    scene_version: Literal[1] = 1
    id: str
    key: str
    text: str
    origin: Origin = Origin()
    created: datetime

    language: Language | None = None
    pieces: tuple[Piece, ...] | None = None
    symbols: tuple[Symbol, ...] | None = None
    hypertokens: tuple[Hypertoken, ...] | None = None
    hyperscene: tuple[Symbol, ...] | None = None
    linkage: Linkage | None = None
    rhythm: Rhythm | None = None
    emotion: Emotion | None = None
    tension: Tension | None = None
    field: SemanticField | None = None
    delta: Delta | None = None
    analysis: Analysis | None = None
    registers: Mixture | None = None
    echoes: tuple[Echo, ...] | None = None
    resonance: Resonance | None = None
    turns: tuple[Turn, ...] | None = None
    reply: Reply | None = None
    outputs: dict[str, str] | None = None

    def with_(self, **fields: Any) -> Scene:
        """A copy with some fields filled. Values are trusted: a stage builds them from the classes here."""
        return self.model_copy(update=fields)

    def to_json(self, *, vectors: bool = False, pieces: bool = True) -> str:
        """One line of JSON. The encoder's vector is left out unless asked for.

        So are a chat's fields outside of a chat: a scene that is stored has none, and keeps the bytes that it was
        stored with before there were any.
        """
        exclude: dict[str, Any] = {}
        if self.turns is None:
            exclude["turns"] = True
        if self.origin.parent is None and not self.origin.regenerate:
            exclude["origin"] = {"parent", "regenerate"}
        if self.reply is not None and not self.reply.tool_calls:
            exclude["reply"] = {"tool_calls"}
        if not vectors:
            exclude["field"] = {"vector"}
        if not pieces:
            exclude["pieces"] = True
        return self.model_dump_json(exclude=exclude or None)

    @classmethod
    def from_json(cls, data: str | bytes) -> Scene:
        """Read what `to_json` wrote.

        Raises:
            InputError: the data is not a scene; names every wrong field.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'scene'}: {e['msg']}" for e in error.errors()[:20])
            raise InputError(f"this is not a scene (scene_version 1): {faults}") from None


STAGE_FIELDS: tuple[str, ...] = tuple(Scene.model_fields)[6:]
"""The fields that stages fill, in the order in which a pipeline usually fills them."""

_QUOTES = str.maketrans(dict.fromkeys("«»„“”‟", '"') | dict.fromkeys("‘’‚‛`´", "'") | {"ё": "е"})
_DROPPED = re.compile("[\u00ad\u0301\u200b\u2060\ufeff]")
_SPACES = re.compile(r"\s+")


def fold(text: str) -> str:
    """The canonical form that decides "seen before".

    Folds NFC, case, ё to е, quotes, stress marks (U+0301), soft hyphens, zero-width characters and runs of white space.
    Words, their order and all other punctuation stay. й keeps its breve, which is not a stress mark.
    """
    composed = nfc(_DROPPED.sub("", text))
    return nfc(_SPACES.sub(" ", composed.casefold().translate(_QUOTES)).strip())


def scene_id(text: str, namespace: str = "default") -> str:
    """uuid5 of namespace and exact text: the same words are the same scene everywhere."""
    return str(uuid.uuid5(SCENE_NAMESPACE, f"{namespace}\n{text}"))


def scene_key(text: str, namespace: str = "default") -> str:
    """Hash (32 hex digits) of namespace and folded text."""
    return hashlib.sha256(f"{namespace}\n{fold(text)}".encode()).hexdigest()[:32]


def new_scene(text: str, origin: Origin | None = None, *, created: datetime | None = None) -> Scene:
    """A scene that nothing has analysed yet.

    Raises:
        InputError: the text is empty, too long, or holds lone surrogates, which no encoding can store.
    """
    if not isinstance(text, str):
        raise InputError(f"a text was expected, {type(text).__name__} was given; decode bytes as UTF-8 first")
    if not text.strip():
        raise InputError("the text is empty; give at least one character that is not white space")
    if len(text) > MAX_TEXT_CHARACTERS:
        raise InputError(f"the text has {len(text)} characters, at most {MAX_TEXT_CHARACTERS} fit one scene; cut it")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"the text has a lone surrogate at character {error.start}; it is not Unicode text, decode it again"
        ) from None
    origin = origin or Origin()
    return Scene(
        id=scene_id(text, origin.namespace),
        key=scene_key(text, origin.namespace),
        text=text,
        origin=origin,
        created=created or datetime.now(UTC),
    )


Receipt.model_rebuild()
