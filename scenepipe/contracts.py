"""The four contracts: Stage, Backend, Archive, Encoder, and the values that cross them.

A plug-in satisfies a contract by shape; nothing is inherited. `scenepipe.testing` ships a conformance suite for each.
Options of a plug-in are the keyword-only arguments of its constructor, with types: the YAML is checked against them
and they become its JSON Schema. A constructor only keeps its options; heavy work and heavy imports belong in ``open``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from scenepipe.message import Message as Message
from scenepipe.mixture import Mixture, MixtureMode, Plan
from scenepipe.sampling import COMMON, Sampling
from scenepipe.scene import Hypertoken, Scene, TokenScore, Usage
from scenepipe.tools import ToolCallPiece, Tools, ToolWish

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from scenepipe.context import Context, Failure
    from scenepipe.models.catalogue import LocalModel
    from scenepipe.register import Register

Finish = Literal["stop", "length", "tool_calls"]
"""Why a reply ended."""


class Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# --- Stage -----------------------------------------------------------------------------------------------------------


@runtime_checkable
class Stage(Protocol):
    """Scene in, scene out. ``reads`` and ``writes`` are field names; the runner checks both.

    Optional members, found by name:

    * ``name`` of the stage in messages (the registered name otherwise); ``version`` for fingerprints
    * ``needs``: subset of ``{"backend", "archive", "encoder", "model"}``; a pipeline without a needed backend or
      archive is refused, an encoder or model is opened where the pipeline has one
    * ``uses``: subset of ``{"archive"}``: opened where the pipeline has one, not missed where it has none
    * ``requires``: import name -> extra, for packages that may be missing
    * ``explains = False``: left out of `Pipeline.explain` (it calls the model or writes)
    * ``open(resources)``: heavy work, run once in a worker thread; ``aclose()``: async, undo it
    * ``preview(scene, ctx)``: a dict of JSON values for `Pipeline.explain`: what ``run`` would do
    * ``batch_size`` and ``run_batch(scenes, ctx)``: see `BatchStage`
    """

    reads: ClassVar[frozenset[str]]
    writes: ClassVar[frozenset[str]]

    async def run(self, scene: Scene, ctx: Context) -> Scene: ...


@runtime_checkable
class BatchStage(Protocol):
    """A stage that burns CPU and gains from batches.

    ``run_batch`` is an ordinary function; the runner calls it in a worker thread with up to ``batch_size`` scenes
    that are waiting at that moment, and expects one scene or `Failure` per row, in order. ``ctx`` is that of the first
    row: its resources are everybody's, its ``emit`` is not.
    """

    reads: ClassVar[frozenset[str]]
    writes: ClassVar[frozenset[str]]
    batch_size: int

    def run_batch(self, scenes: Sequence[Scene], ctx: Context) -> Sequence[Scene | Failure]: ...


# --- Backend ---------------------------------------------------------------------------------------------------------


class Capabilities(Value):
    """What an engine can do. Asking for what is not here is an error before anything runs.

    ``sampling`` names the settings of `Sampling` that it honours; ``logprobs`` is how many alternatives of each token of
    a reply it tells at most, 0 for none; ``reasoning``: it tells a model's reasoning apart from its reply; ``tools``: it takes
    tools and tells a model's calls apart from its reply, and ``tool_wishes`` are what may be asked about them.
    """

    mixtures: tuple[MixtureMode, ...] = ()
    sampling: tuple[str, ...] = COMMON
    logprobs: Annotated[int, Field(ge=0)] = 0
    reasoning: bool = False
    tools: bool = False
    tool_wishes: tuple[ToolWish, ...] = ()
    streaming: bool = False
    seed: bool = False
    stop: bool = False
    json_schema: bool = False
    score: bool = False
    chat: bool = False
    parallel: int = 1


class Request(Value):
    """One generation: a prompt or messages (exactly one), how to draw, and the mixture that speaks.

    ``logprobs`` asks for the probability of each token and that many of its likeliest alternatives; None asks for none.
    ``tools`` come with messages.
    """

    prompt: str | None = None
    messages: tuple[Message, ...] | None = None
    tools: Tools | None = None
    plan: Plan = Plan(asked=Mixture(), used=Mixture(), mode="exact")
    sampling: Sampling = Sampling()
    max_tokens: Annotated[int, Field(ge=1)] = 80
    stop: tuple[str, ...] = ()
    seed: int | None = None
    json_schema: dict[str, Any] | None = None
    logprobs: Annotated[int, Field(ge=0, le=100)] | None = None
    deadline: float | None = None


class DrawnToken(Value):
    """A token of a reply as it was drawn: natural-log probabilities before any sampling setting, likeliest first."""

    token: str
    logprob: float
    top: tuple[TokenScore, ...] = ()


class Chunk(Value):
    """A piece of a reply. The last one has ``finish_reason`` and ``usage``.

    ``reasoning`` is a piece of what the model thought before it; ``logprobs`` are of the tokens that end in this piece;
    ``tool_calls`` are pieces of calls, after which the reply ends with ``tool_calls``.
    """

    text: str = ""
    reasoning: str = ""
    logprobs: tuple[DrawnToken, ...] = ()
    tool_calls: tuple[ToolCallPiece, ...] = ()
    finish_reason: Finish | None = None
    usage: Usage | None = None


class AdapterProof(Value):
    """An adapter as a backend loaded it."""

    register_name: str
    sha256: str
    zero_effect: bool = False


class Backend(Protocol):
    """An engine. Abandoning the iterator of `generate` aborts the call and frees its slot.

    Optional: ``requires`` (import name -> extra).
    """

    name: str
    capabilities: Capabilities

    async def open(self, model: LocalModel | None, registers: Sequence[Register]) -> Sequence[AdapterProof]:
        """Load the model with these registers; returns what was loaded, for receipts.

        Raises:
            BackendError, RegisterError, MissingExtraError
        """
        ...

    def generate(self, request: Request) -> AsyncIterator[Chunk]:
        """Stream one reply.

        Raises:
            BackendError, MixtureError, DeadlineError
        """
        ...

    async def score(self, request: Request, reply: str) -> Sequence[TokenScore]:
        """Natural-log probability of each token of ``reply`` after the request's prompt, under its mixture."""
        ...

    async def count(self, text: str) -> int:
        """Tokens of a text, without any beginning-of-text token."""
        ...

    async def aclose(self) -> None: ...


# --- Archive ---------------------------------------------------------------------------------------------------------

EncounterKind = Literal["met", "spoken", "read", "linked", "forgotten"]
"""``met``: a person said it. ``spoken``: what was answered. ``read``: a part of a document, ``data`` has source and span.
``linked``: one scene led to another. ``forgotten``: the tombstone of a scene that was removed."""
Measure = Literal["valence", "arousal", "dominance", "tension"]


class Encounter(Value):
    """One entry of the append-only log. ``id`` is the operation: writing it twice changes nothing."""

    id: str
    scene_id: str
    kind: EncounterKind
    at: datetime
    namespace: str = "default"
    run: str = ""
    user: str | None = None
    chat: str | None = None
    turn: int | None = None
    analysis: str | None = None
    data: dict[str, Any] = {}


class Query(Value):
    """What to recall. Structure decides, words and vector propose; filters only leave out and never raise a score.

    ``shape`` is `scenepipe.recall.shape_of` the text that asks; without one, a question by linkage alone.

    ``chat``, ``kinds``, ``since`` and ``until`` (both inclusive) hold together for one encounter of a scene. ``registers``
    are names, one of which is in the scene's mixture; ``codes`` are Δ-codes with their codebook (``Δ41@c1``); ``ranges``
    are inclusive bounds; a scene in which the figure is unknown is left out.
    """

    namespace: str = "default"
    scene_id: str | None = None
    key: str | None = None
    shape: str | None = None
    linkage: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    vector: bytes | None = None
    encoder: str | None = None
    chat: str | None = None
    kinds: tuple[EncounterKind, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    registers: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    ranges: dict[Measure, tuple[float, float]] = {}
    exclude: tuple[str, ...] = ()
    limit: Annotated[int, Field(ge=1, le=1000)] = 10


class Hit(Value):
    """A stored scene with its score (reciprocal-rank fusion) and each reason it was found."""

    scene: Scene
    score: float
    reasons: tuple[str, ...]


class Appended(Value):
    """How many records were new; what was there already was left as it is."""

    scenes: int
    encounters: int


class Forgotten(Value):
    """What was removed: scenes, and the encounters that named them."""

    scenes: int
    encounters: int


class Neighbour(Value):
    """A symbol that stands in scenes together with one that was asked for.

    ``together`` of the ``count`` scenes that have it; ``score`` is normalised pointwise mutual information (Bouma 2009),
    cut to 0..1. A scene counts once for each of its stored analyses. Of a very common symbol some thousand scenes are
    looked at.
    """

    key: str
    together: int
    count: int
    score: float


class Verification(Value):
    """Result of reading the whole archive: counts, and every fault found."""

    scenes: int
    encounters: int
    faults: tuple[str, ...] = ()


class Archive(Protocol):
    """Two append-only collections: scenes (id = content) and encounters (id = operation).

    Everything else is derived. Writes are idempotent; a scene is written before its encounter. Reading never writes.
    Only a tombstone removes: `forget` writes one, an import may bring one. Optional: ``requires`` (import name -> extra).
    """

    async def open(self) -> None: ...

    async def append(self, scenes: Sequence[Scene], encounters: Sequence[Encounter]) -> Appended: ...

    async def get(self, ids: Sequence[str]) -> Sequence[Scene]:
        """The latest analysis of each known scene, in the order asked; unknown ids are left out."""
        ...

    async def find(self, query: Query) -> Sequence[Hit]: ...

    async def encounters(self, scene_ids: Sequence[str] | None = None) -> Sequence[Encounter]:
        """Oldest first; all of them for None."""
        ...

    async def chat(self, name: str, *, namespace: str = "default") -> Sequence[Encounter]:
        """Every encounter of one chat, oldest first."""
        ...

    async def hypertokens(self, namespace: str = "default") -> Sequence[Hypertoken]:
        """Repeated chains, those that save most first."""
        ...

    async def neighbours(
        self, symbols: Sequence[str], *, namespace: str = "default", limit: int = 10
    ) -> Sequence[Neighbour]:
        """Symbols of the texts that these (keys with polarity) stand in, strongest first, without these themselves.

        What was associated with a text, and stands in its linkage alone, does not count: it would strengthen itself.
        """
        ...

    async def forget(self, scene_ids: Sequence[str], *, at: datetime) -> Forgotten:
        """Remove scenes with their encounters, whatever their time; a tombstone for each stays.

        Nothing that was written or met up to ``at`` comes back, by an import either; a later meeting begins anew.
        Unknown ids get a tombstone too. Forgetting twice changes nothing.
        """
        ...

    async def rebuild(self) -> int:
        """Make everything derived anew from the stored records; how many scenes were read."""
        ...

    def export(self) -> AsyncIterator[Scene | Encounter]:
        """Every scene, then every encounter, in the order of their ids."""
        ...

    async def verify(self) -> Verification: ...

    async def aclose(self) -> None: ...


# --- Encoder ---------------------------------------------------------------------------------------------------------


class Encoder(Protocol):
    """Texts to unit vectors.

    Optional: ``requires`` (import name -> extra), ``open()``, and ``encode_double(texts)``, float64 [n, dim], which is
    asked where a component lies so near to a rounding edge that the last bits of float32 would decide a byte.
    """

    fingerprint: str
    dim: int

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors, float32 of shape [n texts, dim]."""
        ...
