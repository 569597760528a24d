"""The stage that remembers: the scene, that it was met, and what was said."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import ClassVar

from scenepipe.context import Context
from scenepipe.contracts import Appended, Archive, Encounter, EncounterKind
from scenepipe.graph import link_id
from scenepipe.recall import archived, operation_id
from scenepipe.scene import Reply, Scene

_LOG = logging.getLogger("scenepipe.remember")


class Remember:
    """Appends the scene and its encounters to the archive; writing the same row of the same run twice adds nothing.

    In a chat each encounter names the one that it follows (`scenepipe.chats`). A reply that is given once more (``regenerate``
    of the scene's origin) is remembered beside the others; its text was met before and is not met again. A reply that calls
    tools answers nothing yet: the text was met, and what is said after the tools' results is its answer.

    The write is not the caller's to cancel: a stream that is abandoned here is still remembered, and a write that
    fails after that is logged, since nobody waits for its error. A run whose caller asks not to be remembered is not.
    """

    reads: ClassVar[frozenset[str]] = frozenset()
    writes: ClassVar[frozenset[str]] = frozenset()
    needs: ClassVar[frozenset[str]] = frozenset({"archive"})
    explains = False

    def __init__(self) -> None:
        self._writing: set[asyncio.Task[Appended]] = set()

    async def run(self, scene: Scene, ctx: Context) -> Scene:
        if not ctx.ask.remember:
            return scene
        task = asyncio.create_task(_write(ctx.archive, archived(scene), _encounters(scene, ctx)))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_failure)
            raise
        return scene

    async def aclose(self) -> None:
        """Wait for the writes that nobody waits for any more."""
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(t for t in self._writing if t.get_loop() is loop), return_exceptions=True)


async def _write(archive: Archive, scene: Scene, encounters: list[Encounter]) -> Appended:
    return await archive.append([scene], encounters)


def _encounters(scene: Scene, ctx: Context) -> list[Encounter]:
    origin = scene.origin
    follows: dict[str, object] = {} if origin.parent is None else {"parent": origin.parent}
    style: dict[str, object] = {"style": ctx.ask.keep} if ctx.ask.keep and origin.chat is not None else {}
    met = _encounter(scene, ctx, "met", follows | style)
    again = origin.parent if origin.regenerate else None
    found = [met] if again is None else []
    if scene.reply is not None and scene.reply.answers:
        found.append(_spoken(scene, scene.reply, again or met.id, ctx))
    return found + _echo_links(scene, ctx)


def _spoken(scene: Scene, reply: Reply, met: str, ctx: Context) -> Encounter:
    data: dict[str, object] = {"text": reply.text, "receipt": reply.receipt.model_dump(mode="json")}
    return _encounter(scene, ctx, "spoken", data if scene.origin.chat is None else data | {"parent": met})


def _echo_links(scene: Scene, ctx: Context) -> list[Encounter]:
    """That this scene called others back: once for each of them, however often it does.

    The other is named by its id alone, so that nothing of its text stays here when it is forgotten.
    """
    found = []
    for echo in scene.echoes or ():
        if echo.scene_id != scene.id:
            link = _encounter(scene, ctx, "linked", {"relation": "echo", "to": echo.scene_id, "score": echo.score})
            found.append(link.model_copy(update={"id": link_id(scene.id, "echo", echo.scene_id)}))
    return found


def _encounter(scene: Scene, ctx: Context, kind: EncounterKind, data: dict[str, object]) -> Encounter:
    origin = scene.origin
    run = origin.run or ctx.run
    return Encounter(
        id=operation_id(scene, run, kind),
        scene_id=scene.id,
        kind=kind,
        at=datetime.now(UTC),
        namespace=origin.namespace,
        run=run,
        user=origin.user,
        chat=origin.chat,
        turn=origin.turn,
        analysis=scene.analysis.id if scene.analysis else None,
        data=data,
    )


def _log_failure(task: asyncio.Task[Appended]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _LOG.error("an abandoned run was not remembered: %s", error)
