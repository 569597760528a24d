"""The stage that recalls: echoes with their reasons, resonance from the log of encounters, the chat's earlier turns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from scenepipe import chats
from scenepipe.context import Context
from scenepipe.contracts import Archive, Encounter, EncounterKind, Hit, Measure, Query
from scenepipe.documents.citation import citation_of
from scenepipe.errors import ConfigError, Fault
from scenepipe.folding.named import named
from scenepipe.folding.recalled import called, distance
from scenepipe.recall import operation_id, resonance, shape_of
from scenepipe.scene import Echo, Hypertoken, Resonance, Scene, Turn
from scenepipe.times import at_time

_MOST = 1000
_CODE = re.compile(r"Δ\d+@\S+")


class Recall:
    """Asks the archive what this scene calls back, and how strongly it was met before.

    A scene that was met or read before is its own first echo. Only meetings raise resonance, over all spellings of the
    text; what the system said itself never does, nor what was read, nor the occasion that is being run now. Filters
    choose among echoes and leave resonance alone. In a chat its earlier turns come along, unless the caller's scene
    brings its own. Where the text calls hypertokens by name, the scenes that they stand for lead, and other texts that only
    call them come last. The reading costs a few searches and writes nothing.

    Args:
        top_k: at most this many echoes.
        min_score: echoes below this score are left out. A score is 1 for what comes first by shared symbols, by
            words and by meaning; first by meaning alone has 0.5, first by one of the others 0.25 (`scenepipe.recall.fuse`).
        within: ``chat`` recalls only what was met in the same chat, and nothing outside of one.
        kinds: how it came into the archive: ``met`` (somebody said it), ``spoken`` (it was answered), ``read`` (a part of a
            document); any of them. Every kind when not given.
        since: only what was met, answered or read since then: a date, a date with a time, or an age such as ``30d``.
        until: and up to then.
        registers: only scenes whose mixture has one of these registers.
        codes: only scenes with one of these Δ-codes, each with its codebook: ``Δ41@c1``.
        ranges: inclusive bounds of valence, arousal, dominance (-1 to 1) and tension (0 to 1), such as
            ``valence: [-1, -0.2]``; where the figure is unknown the scene is left out.
        turns: earlier turns of the scene's chat that come along, at most; ``decode`` keeps those that fit.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"linkage", "symbols"})
    writes: ClassVar[frozenset[str]] = frozenset({"echoes", "resonance", "turns"})
    needs: ClassVar[frozenset[str]] = frozenset({"archive"})

    def __init__(
        self,
        *,
        top_k: Annotated[int, Field(ge=0, le=100)] = 3,
        min_score: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0,
        within: Literal["archive", "chat"] = "archive",
        kinds: list[EncounterKind] | None = None,
        since: str | None = None,
        until: str | None = None,
        registers: list[str] | None = None,
        codes: list[str] | None = None,
        ranges: dict[Measure, tuple[float, float]] | None = None,
        turns: Annotated[int, Field(ge=0, le=100)] = 4,
    ) -> None:
        self.top_k = top_k
        self.min_score = min_score
        self.within = within
        self.turns = turns
        self._times = {name: text for name, text in (("since", since), ("until", until)) if text is not None}
        self._filters: dict[str, Any] = {
            "kinds": tuple(kinds or ()),
            "registers": tuple(registers or ()),
            "codes": tuple(codes or ()),
            "ranges": dict(ranges or {}),
        }
        if faults := [*self._time_faults(), *_filter_faults(self._filters)]:
            raise ConfigError(faults, "recall")

    def _time_faults(self) -> Iterable[Fault]:
        for name, text in self._times.items():
            try:
                at_time(text, datetime.now(UTC))
            except ValueError as error:
                yield Fault(name, str(error))

    async def run(self, scene: Scene, ctx: Context) -> Scene:
        turns = await self._turns(scene, ctx)
        if self.within == "chat" and scene.origin.chat is None:
            return scene.with_(echoes=(), resonance=Resonance(), turns=turns)
        calls = named(scene)
        hits = await self._hits(scene, calls, ctx.archive)
        twins = await self._twins(scene, hits, ctx.archive)
        log = self._heard(scene, await ctx.archive.encounters(_ids([*twins, *hits])), scene.origin.run or ctx.run)
        strength = resonance([e.at for e in log if e.kind == "met" and e.scene_id in twins], datetime.now(UTC))
        known = {e.scene_id for e in log if e.kind in ("met", "read")}
        kept = [h for h in hits if h.score >= self.min_score and (h.scene.id != scene.id or scene.id in known)]
        kept.sort(key=lambda hit: distance(hit.scene, calls))
        return scene.with_(echoes=tuple(_echo(hit, log) for hit in kept[: self.top_k]), resonance=strength, turns=turns)

    async def _hits(self, scene: Scene, calls: Sequence[Hypertoken], archive: Archive) -> Sequence[Hit]:
        """As many as are asked for, and one more; when hypertokens are called by name, as many that do not call them, too."""
        limit = self.top_k + 1
        while True:
            hits = await archive.find(self._query(scene, limit))
            others = sum(not called(hit.scene.text, calls) for hit in hits)
            if not calls or others >= self.top_k or len(hits) < limit or limit == _MOST:
                return hits
            limit = min(4 * limit, _MOST)

    def _query(self, scene: Scene, limit: int) -> Query:
        vector = scene.field.vector if scene.field else None
        strongest = sorted(scene.symbols or (), key=lambda symbol: -symbol.score)
        now = datetime.now(UTC)
        return Query(
            namespace=scene.origin.namespace,
            scene_id=scene.id,
            key=scene.key,
            shape=shape_of(scene),
            linkage=scene.linkage.chain if scene.linkage else (),
            symbols=tuple(dict.fromkeys(symbol.key for symbol in strongest)),
            vector=vector.data if vector else None,
            encoder=vector.encoder if vector else None,
            chat=scene.origin.chat if self.within == "chat" else None,
            limit=limit,
        ).model_copy(update=self._filters | {name: at_time(text, now) for name, text in self._times.items()})

    @property
    def _filtered(self) -> bool:
        return bool(self._times) or any(self._filters.values())

    async def _twins(self, scene: Scene, hits: Sequence[Hit], archive: Archive) -> tuple[str, ...]:
        """Ids of all spellings of this text. They lead the hits, so another kind of hit shows that all were found."""
        found = [hit.scene for hit in hits if hit.scene.key == scene.key]
        if self._filtered or (found and len(found) == len(hits)):
            query = Query(namespace=scene.origin.namespace, key=scene.key, limit=_MOST)
            found = [hit.scene for hit in await archive.find(query)]
        return tuple(twin.id for twin in found if twin.key == scene.key)

    def _heard(self, scene: Scene, log: Iterable[Encounter], run: str) -> list[Encounter]:
        here = scene.origin.chat if self.within == "chat" else None
        present = _present(scene, run)
        return [e for e in log if not present(e) and (here is None or e.chat == here)]

    async def _turns(self, scene: Scene, ctx: Context) -> tuple[Turn, ...]:
        """The turns before this one, on its branch."""
        origin = scene.origin
        if scene.turns is not None:
            return scene.turns
        if origin.chat is None or not self.turns:
            return ()
        present = _present(scene.with_(origin=origin.model_copy(update={"regenerate": False})), origin.run or ctx.run)
        log = await ctx.archive.chat(origin.chat, namespace=origin.namespace)
        chat = chats.Chat(origin.chat, [e for e in log if not present(e)], namespace=origin.namespace)
        return await chats.texts(ctx.archive, chat.before(origin)[-self.turns :])


def _present(scene: Scene, run: str) -> Callable[[Encounter], bool]:
    """Whether an encounter belongs to the occasion that is being run: its own, or the meeting that it answers again."""
    own = {operation_id(scene, run, "met"), operation_id(scene, run, "spoken")}
    again = scene.origin.parent if scene.origin.regenerate else None
    return lambda e: e.id in own or (again is not None and again in (e.id, e.data.get("parent")))


def _ids(scenes: Iterable[str | Hit]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(s if isinstance(s, str) else s.scene.id for s in scenes))


def _echo(hit: Hit, log: Iterable[Encounter]) -> Echo:
    mine = [encounter for encounter in log if encounter.scene_id == hit.scene.id]
    spoken = [encounter.data.get("text") for encounter in mine if encounter.kind == "spoken"]
    met = [encounter.at for encounter in mine if encounter.kind == "met"]
    cited = [found for e in mine if e.kind == "read" and (found := citation_of(e)) is not None]
    return Echo(
        scene_id=hit.scene.id,
        text=hit.scene.text,
        linkage=hit.scene.linkage.chain if hit.scene.linkage else (),
        reply=spoken[-1] if spoken and isinstance(spoken[-1], str) else None,
        score=hit.score,
        reasons=hit.reasons,
        met=met[-1] if met else None,
        source=cited[-1].place if cited else None,
        span=cited[-1].span if cited else None,
    )


def _filter_faults(filters: dict[str, Any]) -> Iterable[Fault]:
    for code in filters["codes"]:
        if not _CODE.fullmatch(code):
            yield Fault("codes", f"{code!r} is no Δ-code; give it with its codebook, as a scene shows it: Δ41@c1")
    for name, (low, high) in filters["ranges"].items():
        if not low <= high:
            yield Fault(f"ranges.{name}", f"[{low:g}, {high:g}] holds nothing; give the lower bound first")
