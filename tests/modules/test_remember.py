"""The remember stage: what is written, once, and not to be cancelled."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest

from scenepipe import chats
from scenepipe.context import Context, Resources
from scenepipe.contracts import Appended, Encounter
from scenepipe.errors import ArchiveError
from scenepipe.memory.memory import MemoryArchive
from scenepipe.memory.sqlite import SqliteArchive
from scenepipe.modules.remember import Remember
from scenepipe.scene import SCENE_NAMESPACE, Origin, Receipt, Reply, Scene
from scenepipe.testing.archive_suite import scene_of
from scenepipe.tools import ToolCall


class SlowArchive(MemoryArchive):
    """Begins to write when `gate` opens."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.error = error

    async def append(self, scenes: Sequence[Scene], encounters: Sequence[Encounter]) -> Appended:
        await self.gate.wait()
        if self.error:
            raise self.error
        return await super().append(scenes, encounters)


def context(archive: MemoryArchive | SqliteArchive, run: str = "now") -> Context:
    return Context(Resources(archive=archive), run=run, pipeline="test", emit=lambda event: None)


def spoken(text: str = "ответ") -> Scene:
    receipt = Receipt(backend="fake", model="m", mode="exact", prompt_version=1, prompt_sha256="0" * 64)
    origin = Origin(namespace="дом", run="r1", row=2, user="u", chat="c", turn=4)
    return scene_of("шаг", ["шаг"], namespace="дом").with_(origin=origin, reply=Reply(text=text, receipt=receipt))


def test_it_declares_what_it_does() -> None:
    assert (Remember.reads, Remember.writes, Remember.needs) == (frozenset(), frozenset(), {"archive"})
    assert Remember.explains is False


def test_it_writes_the_analysis_the_meeting_and_the_reply() -> None:
    async def main() -> None:
        archive, scene = MemoryArchive(), spoken()
        assert await Remember().run(scene, context(archive)) is scene
        assert tuple(await archive.get([scene.id])) == (scene_of("шаг", ["шаг"], namespace="дом"),)
        met, said = await archive.encounters()
        assert (met.kind, said.kind) == ("met", "spoken")
        assert scene.reply is not None
        assert met.data == {}
        receipt = scene.reply.receipt.model_dump(mode="json")
        assert said.data == {"text": "ответ", "receipt": receipt, "parent": met.id}
        assert Receipt.model_validate(said.data["receipt"]) == scene.reply.receipt
        for encounter in (met, said):
            assert encounter.id == str(uuid.uuid5(SCENE_NAMESPACE, f"{scene.id}\nr1\n2\n{encounter.kind}"))
            assert encounter.model_dump(include={"namespace", "run", "user", "chat", "turn"}) == {
                "namespace": "дом", "run": "r1", "user": "u", "chat": "c", "turn": 4
            }  # fmt: skip
            assert scene.analysis is not None
            assert encounter.analysis == scene.analysis.id

    asyncio.run(main())


def test_only_a_chat_has_parents() -> None:
    async def main() -> None:
        archive, scene = MemoryArchive(), spoken()
        await Remember().run(scene.with_(origin=Origin(run="r1")), context(archive))
        assert [e.data.get("parent") for e in await archive.encounters()] == [None, None]

    asyncio.run(main())


def test_a_turn_names_what_it_follows_and_a_regenerated_one_is_not_met_again() -> None:
    async def main() -> None:
        archive, scene = MemoryArchive(), spoken()
        origin = Origin(chat="c", turn=2, run="r1", parent="before")
        await Remember().run(scene.with_(origin=origin), context(archive))
        met, said = await archive.encounters()
        assert (met.data, said.data["parent"]) == ({"parent": "before"}, met.id)
        again = Origin(chat="c", turn=2, run="r2", parent=met.id, regenerate=True)
        await Remember().run(scene.with_(origin=again), context(archive))
        kinds = [(e.kind, e.data.get("parent")) for e in await archive.encounters()]
        assert sorted(kinds) == [("met", "before"), ("spoken", met.id), ("spoken", met.id)]
        silent = scene.with_(origin=again.model_copy(update={"run": "r3"}), reply=None)
        await Remember().run(silent, context(archive))
        assert len(await archive.encounters()) == 3

    asyncio.run(main())


def test_a_call_of_a_tool_is_no_answer_and_what_follows_it_is() -> None:
    async def main() -> None:
        archive, scene = MemoryArchive(), spoken("")
        assert scene.reply is not None
        called = scene.reply.model_copy(update={"tool_calls": (ToolCall(id="c", name="f"),)})
        await Remember().run(scene.with_(reply=called), context(archive))
        (met,) = await archive.encounters()
        assert met.kind == "met"
        assert chats.tip_of(scene.with_(reply=called)) == met.id
        on = Origin(namespace="дом", chat="c", turn=4, run="r2", parent=met.id, regenerate=True)
        for reply in (called, scene.reply.model_copy(update={"text": "снег"})):
            await Remember().run(scene.with_(origin=on, reply=reply), context(archive))
        assert [e.kind for e in await archive.encounters()] == ["met", "spoken"]
        chat = await chats.load(archive, "c", namespace="дом")
        assert [(step.reply, step.replies) for step in chat.steps()] == [("снег", 1)]
        assert chats.tip_of(scene.with_(origin=on, reply=called)) == met.id

    asyncio.run(main())


def test_without_a_reply_only_the_meeting_is_written() -> None:
    async def main() -> None:
        archive = MemoryArchive()
        await Remember().run(scene_of("шаг"), context(archive))
        assert [e.kind for e in await archive.encounters()] == ["met"]

    asyncio.run(main())


def test_the_same_row_of_the_same_run_is_written_once() -> None:
    async def main() -> None:
        archive, stage = MemoryArchive(), Remember()
        for run in ("a", "a", "b", "b"):
            await stage.run(scene_of("шаг"), context(archive, run))
        assert sorted(e.run for e in await archive.encounters()) == ["a", "b"]
        assert (await archive.verify()).scenes == 1

    asyncio.run(main())


def test_an_abandoned_run_is_still_remembered() -> None:
    async def main() -> None:
        archive, stage = SlowArchive(), Remember()
        task = asyncio.create_task(stage.run(spoken(), context(archive)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert tuple(await archive.encounters()) == ()
        archive.gate.set()
        await stage.aclose()
        assert [e.kind for e in await archive.encounters()] == ["met", "spoken"]

    asyncio.run(main())


def test_a_failed_write_fails_its_scene() -> None:
    async def main() -> None:
        archive = SlowArchive(ArchiveError("the disk is full"))
        archive.gate.set()
        with pytest.raises(ArchiveError, match="the disk is full"):
            await Remember().run(spoken(), context(archive))

    asyncio.run(main())


def test_a_failed_write_that_nobody_waits_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        archive, stage = SlowArchive(ArchiveError("the disk is full")), Remember()
        task = asyncio.create_task(stage.run(spoken(), context(archive)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        archive.gate.set()
        await stage.aclose()

    with caplog.at_level(logging.ERROR, "scenepipe.remember"):
        asyncio.run(main())
    assert "the disk is full" in caplog.text


def test_the_end_of_the_loop_loses_nothing(tmp_path: Path) -> None:
    """The loop is closed while the write waits for the disk; the archive's own thread finishes it."""
    archive, stage = SqliteArchive(path=str(tmp_path / "a.db")), Remember()
    scenes = [scene_of(f"текст {n}") for n in range(20)]

    async def abandon() -> None:
        await archive.open()
        for scene in scenes:
            task = asyncio.create_task(stage.run(scene, context(archive)))
            stage_tasks.append(task)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def count() -> int:
        found = len(await archive.encounters())
        await archive.aclose()
        return found

    stage_tasks: list[asyncio.Task[Scene]] = []
    asyncio.run(abandon())
    assert asyncio.run(count()) == 20
