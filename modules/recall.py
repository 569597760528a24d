"""The stage that recalls: echoes with their reasons, and resonance from the log of encounters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from scenepipe.contracts import Archive, Context, Encounter, Hit, Query
from scenepipe.recall import operation_id, resonance
from scenepipe.scene import Echo, Resonance, Scene

_SPELLINGS = 1000


class Recall:
    """Asks the archive what this scene calls back, and how strongly it was met before.

    A scene that was met before is its own first echo. Only meetings raise resonance, over all spellings of the text;
    what the system said itself never does, and neither does the occasion that is being run now. The reading costs two
    searches and writes nothing.

    Args:
        top_k: at most this many echoes.
        min_score: echoes below this score are left out. Scores are reciprocal-rank fusion, at most 0.049 (first in
            all three rankings), 0.016 for first in one.
        within: ``chat`` recalls only what was met in the same chat, and nothing outside of one.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"linkage", "symbols"})
    writes: ClassVar[frozenset[str]] = frozenset({"echoes", "resonance"})
    needs: ClassVar[frozenset[str]] = frozenset({"archive"})

    def __init__(
        self,
        *,
        top_k: Annotated[int, Field(ge=0, le=100)] = 3,
        min_score: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0,
        within: Literal["archive", "chat"] = "archive",
    ) -> None:
        self.top_k = top_k
        self.min_score = min_score
        self.within = within

    async def run(self, scene: Scene, ctx: Context) -> Scene:
        if self.within == "chat" and scene.origin.chat is None:
            return scene.with_(echoes=(), resonance=Resonance())
        run = scene.origin.run or ctx.run
        hits = await ctx.archive.find(self._query(scene, self.top_k + 1))
        twins = await self._twins(scene, hits, ctx.archive)
        log = self._heard(scene, await ctx.archive.encounters(_ids([*twins, *hits])), run)
        strength = resonance([e.at for e in log if e.kind == "met" and e.scene_id in twins], datetime.now(UTC))
        met = {e.scene_id for e in log if e.kind == "met"}
        kept = [h for h in hits if h.score >= self.min_score and (h.scene.id != scene.id or scene.id in met)]
        return scene.with_(echoes=tuple(_echo(hit, log) for hit in kept[: self.top_k]), resonance=strength)

    def _query(self, scene: Scene, limit: int) -> Query:
        vector = scene.field.vector if scene.field else None
        strongest = sorted(scene.symbols or (), key=lambda symbol: -symbol.score)
        return Query(
            namespace=scene.origin.namespace,
            scene_id=scene.id,
            key=scene.key,
            linkage=scene.linkage.chain if scene.linkage else (),
            symbols=tuple(dict.fromkeys(symbol.key for symbol in strongest)),
            vector=vector.data if vector else None,
            encoder=vector.encoder if vector else None,
            chat=scene.origin.chat if self.within == "chat" else None,
            limit=limit,
        )

    async def _twins(self, scene: Scene, hits: Sequence[Hit], archive: Archive) -> tuple[str, ...]:
        """Ids of all spellings of this text. They lead the hits, so another kind of hit shows that all were found."""
        found = [hit.scene for hit in hits if hit.scene.key == scene.key]
        if found and len(found) == len(hits):
            query = Query(namespace=scene.origin.namespace, key=scene.key, limit=_SPELLINGS)
            found = [hit.scene for hit in await archive.find(query)]
        return tuple(twin.id for twin in found if twin.key == scene.key)

    def _heard(self, scene: Scene, log: Iterable[Encounter], run: str) -> list[Encounter]:
        present = {operation_id(scene, run, "met"), operation_id(scene, run, "spoken")}
        here = scene.origin.chat if self.within == "chat" else None
        return [e for e in log if e.id not in present and (here is None or e.chat == here)]


def _ids(scenes: Iterable[str | Hit]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(s if isinstance(s, str) else s.scene.id for s in scenes))


def _echo(hit: Hit, log: Iterable[Encounter]) -> Echo:
    mine = [encounter for encounter in log if encounter.scene_id == hit.scene.id]
    spoken = [encounter.data.get("text") for encounter in mine if encounter.kind == "spoken"]
    met = [encounter.at for encounter in mine if encounter.kind == "met"]
    return Echo(
        scene_id=hit.scene.id,
        text=hit.scene.text,
        linkage=hit.scene.linkage.chain if hit.scene.linkage else (),
        reply=spoken[-1] if spoken and isinstance(spoken[-1], str) else None,
        score=hit.score,
        reasons=hit.reasons,
        met=met[-1] if met else None,
    )
