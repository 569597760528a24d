"""The four contracts: Stage, Backend, Archive, Encoder, and the values that cross them.

A plug-in satisfies a contract by shape; nothing is inherited. `scenepipe.testing` ships a conformance suite for each.
Options of a plug-in are the keyword-only arguments of its constructor, with types: the YAML is checked against them
and they become its JSON Schema. A constructor only keeps its options; heavy work and heavy imports belong in ``open``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from scenepipe.errors import DeadlineError
from scenepipe.mixture import Mixture, MixtureMode, Plan
from scenepipe.scene import Hypertoken, Scene, TokenScore, Usage

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from scenepipe.events import Event
    from scenepipe.models.catalogue import LocalModel
    from scenepipe.register import Register

R = TypeVar("R")


class Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# --- Stage -----------------------------------------------------------------------------------------------------------


class Failure(Value):
    """A scene that a stage failed: an error as a value, in the place of its row."""

    type: Literal["failure"] = "failure"
    scene: Scene | None
    text: str | None = None
    row: int = 0
    stage: str
    error: str
    message: str

    def __bool__(self) -> bool:
        return False


class Budget:
    """What one run may spend. Shared by all scenes of the run; None is unlimited."""

    def __init__(self, *, tokens: int | None = None, calls: int | None = None) -> None:
        self.tokens = tokens
        self.calls = calls

    def spend(self, *, tokens: int = 0, calls: int = 0) -> None:
        """Take from the budget.

        Raises:
            DeadlineError: nothing is left of what would be spent.
        """
        for name, amount in (("tokens", tokens), ("calls", calls)):
            left = getattr(self, name)
            if left is None:
                continue
            if amount > left:
                raise DeadlineError(
                    f"the run's budget has {left} {name} left, {amount} were asked; raise budget.{name}"
                )
            setattr(self, name, left - amount)


class Resources:
    """What a pipeline owns and its stages share: opened once, before the first scene that needs it.

    ``proofs`` says, by register, what the backend loaded; empty until it has.
    """

    def __init__(
        self,
        *,
        backend: Backend | None = None,
        archive: Archive | None = None,
        encoder: Encoder | None = None,
        model: LocalModel | None = None,
        registers: Mapping[str, Register] | None = None,
    ) -> None:
        self.backend = backend
        self.archive = archive
        self.encoder = encoder
        self.model = model
        self.registers: Mapping[str, Register] = dict(registers or {})
        self.proofs: Mapping[str, AdapterProof] = {}


class Context:
    """What a stage may use for one scene, beside the scene itself.

    ``emit`` is the only way to stream. ``backend`` waits until the engine has opened.
    """

    def __init__(
        self,
        resources: Resources,
        *,
        run: str,
        pipeline: str,
        emit: Callable[[Event], None],
        backend_ready: Callable[[], Any] | None = None,
        deadline: float | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.resources = resources
        self.run = run
        self.pipeline = pipeline
        self.emit = emit
        self.deadline = deadline
        self.budget = budget or Budget()
        self._backend_ready = backend_ready

    @property
    def archive(self) -> Archive:
        assert self.resources.archive is not None, "checked when the pipeline was built"
        return self.resources.archive

    @property
    def encoder(self) -> Encoder | None:
        return self.resources.encoder

    @property
    def registers(self) -> Mapping[str, Register]:
        return self.resources.registers

    async def backend(self) -> Backend:
        """The opened engine; the first caller waits for it to load."""
        if self._backend_ready is not None:
            await self._backend_ready()
        assert self.resources.backend is not None, "checked when the pipeline was built"
        return self.resources.backend


@runtime_checkable
class Stage(Protocol):
    """Scene in, scene out. ``reads`` and ``writes`` are field names; the runner checks both.

    Optional members, found by name:

    * ``name`` of the stage in messages (the registered name otherwise); ``version`` for fingerprints
    * ``needs``: subset of ``{"backend", "archive", "encoder", "model"}``; a pipeline without a needed backend or
      archive is refused, an encoder or model is opened where the pipeline has one
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
    """What an engine can do. Asking for what is not here is an error before anything runs."""

    mixtures: tuple[MixtureMode, ...] = ()
    streaming: bool = False
    seed: bool = False
    stop: bool = False
    json_schema: bool = False
    score: bool = False
    chat: bool = False
    parallel: int = 1


class Sampling(Value):
    """How tokens are drawn. ``temperature`` 0 is greedy."""

    temperature: Annotated[float, Field(ge=0.0, le=5.0)] = 0.7
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    top_k: Annotated[int, Field(ge=0)] = 40
    min_p: Annotated[float, Field(ge=0.0, le=1.0)] = 0.05
    repeat_penalty: Annotated[float, Field(gt=0.0, le=5.0)] = 1.0


class Message(Value):
    role: Literal["system", "user", "assistant"]
    content: str


class Request(Value):
    """One generation: a prompt or messages (exactly one), how to draw, and the mixture that speaks."""

    prompt: str | None = None
    messages: tuple[Message, ...] | None = None
    plan: Plan = Plan(asked=Mixture(), used=Mixture(), mode="exact")
    sampling: Sampling = Sampling()
    max_tokens: Annotated[int, Field(ge=1)] = 80
    stop: tuple[str, ...] = ()
    seed: int | None = None
    json_schema: dict[str, Any] | None = None
    deadline: float | None = None


class Chunk(Value):
    """A piece of a reply. The last one has ``finish_reason`` and ``usage``."""

    text: str = ""
    finish_reason: Literal["stop", "length"] | None = None
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

EncounterKind = Literal["met", "spoken", "linked", "forgotten"]


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
    """What to recall. Structure decides, words and vector propose."""

    namespace: str = "default"
    scene_id: str | None = None
    key: str | None = None
    linkage: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    vector: bytes | None = None
    encoder: str | None = None
    chat: str | None = None
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


class Verification(Value):
    """Result of reading the whole archive: counts, and every fault found."""

    scenes: int
    encounters: int
    faults: tuple[str, ...] = ()


class Archive(Protocol):
    """Two append-only collections: scenes (id = content) and encounters (id = operation).

    Everything else is derived. Writes are idempotent; a scene is written before its encounter. Reading never writes.
    Optional: ``requires`` (import name -> extra).
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

    async def hypertokens(self) -> Sequence[Hypertoken]: ...

    def export(self) -> AsyncIterator[Scene | Encounter]:
        """Every scene, then every encounter, in the order of their ids."""
        ...

    async def verify(self) -> Verification: ...

    async def aclose(self) -> None: ...


# --- Encoder ---------------------------------------------------------------------------------------------------------


class Encoder(Protocol):
    """Texts to unit vectors. Optional: ``requires`` (import name -> extra), ``open()``."""

    fingerprint: str
    dim: int

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors, float32 of shape [n texts, dim]."""
        ...


async def offload(function: Callable[..., R], *args: Any) -> R:
    """Run a blocking function in a worker thread; the event loop stays free."""
    return await asyncio.to_thread(function, *args)
