"""Conformance of an archive: what is forgotten is gone and does not come back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from scenepipe.contracts import Appended, Archive, Encounter, Forgotten
from scenepipe.scene import Scene
from scenepipe.testing.archive_material import NOON, ArchiveCase, ArchiveFactory, encounter_of, query_of, scene_of

AT = NOON + timedelta(hours=1)
GONE = scene_of("Мне страшно.", ["страшно"], linkage=["страшно", "дом"], vector=[100, 0, 0])
KEPT = scene_of("Дома тихо.", ["тихо", "страшно"], linkage=["страшно", "дом"], vector=[100, 1, 0])
LATER = GONE.with_(created=AT + timedelta(minutes=1))
LOG = (
    encounter_of(GONE, "1", chat="a"),
    encounter_of(GONE, "2", kind="spoken", data={"text": "тайна"}, minutes=3),
    encounter_of(KEPT, "3", chat="a"),
)
AGAIN = encounter_of(GONE, "again", minutes=62)


async def everything(archive: Archive) -> list[Scene | Encounter]:
    return [record async for record in archive.export()]


async def filled(archive: Archive) -> None:
    await archive.append([GONE, KEPT], LOG)


async def forgotten(archive: Archive, ids: Sequence[str] = (GONE.id,), at: datetime = AT) -> Forgotten:
    await filled(archive)
    return await archive.forget(ids, at=at)


class ForgettingSuite(ArchiveCase):
    """What every archive must do when it is told to forget."""

    def test_what_is_forgotten_is_gone_everywhere(self, archive_factory: ArchiveFactory) -> None:
        async def body(archive: Archive) -> None:
            assert await forgotten(archive) == Forgotten(scenes=1, encounters=2)
            assert tuple(await archive.get([GONE.id, KEPT.id])) == (KEPT,)
            assert [hit.scene for hit in await archive.find(query_of(GONE))] == [KEPT]
            assert [e.id for e in await archive.chat("a")] == ["3"]
            assert [(e.kind, e.at) for e in await archive.encounters([GONE.id])] == [("forgotten", AT)]
            assert tuple(await archive.hypertokens()) == ()
            assert [each.count for each in await archive.neighbours(["тихо"])] == [1]
            found = await archive.verify()
            assert (found.scenes, found.encounters, found.faults) == (1, 2, ())
            text = "".join(
                r.to_json() if isinstance(r, Scene) else r.model_dump_json() for r in await everything(archive)
            )
            assert "Мне страшно" not in text
            assert "тайна" not in text

        self.use(archive_factory, body)

    def test_searches_before_do_not_keep_it(self, archive_factory: ArchiveFactory) -> None:
        """What a store keeps in memory for its searches forgets, too."""

        async def body(archive: Archive) -> None:
            await filled(archive)
            assert len(await archive.find(query_of(GONE))) == 2
            await archive.forget([GONE.id], at=AT)
            assert [hit.scene for hit in await archive.find(query_of(GONE))] == [KEPT]
            await archive.append([LATER], [AGAIN])
            hits = await archive.find(query_of(LATER))
            assert [hit.scene for hit in hits] == [LATER, KEPT]
            assert hits == await archive.find(query_of(LATER))

        self.use(archive_factory, body)

    def test_forgetting_twice_changes_nothing(self, archive_factory: ArchiveFactory) -> None:
        async def body(archive: Archive) -> None:
            await forgotten(archive)
            before = await everything(archive)
            assert await archive.forget([GONE.id, GONE.id], at=AT) == Forgotten(scenes=0, encounters=0)
            assert await archive.forget([GONE.id], at=AT - timedelta(minutes=30)) == Forgotten(scenes=0, encounters=0)
            assert await archive.forget([], at=AT) == Forgotten(scenes=0, encounters=0)
            assert await everything(archive) == before

        self.use(archive_factory, body)

    def test_a_retry_does_not_reach_a_later_meeting(self, archive_factory: ArchiveFactory) -> None:
        async def body(archive: Archive) -> None:
            await forgotten(archive)
            await archive.append([LATER], [AGAIN])
            assert await archive.forget([GONE.id], at=AT) == Forgotten(scenes=0, encounters=0)
            assert tuple(await archive.get([GONE.id])) == (LATER,)

        self.use(archive_factory, body)

    def test_nothing_comes_back(self, archive_factory: ArchiveFactory) -> None:
        """Not by the same write, not with another analysis, not under another operation, not at the very moment."""
        analysed = scene_of(GONE.text, ["страшно"], analysers=["a@2"]).with_(created=AT)
        late = encounter_of(GONE, "late", minutes=60)

        async def body(archive: Archive) -> None:
            await forgotten(archive)
            before = await everything(archive)
            assert await archive.append([GONE, KEPT], LOG) == Appended(scenes=0, encounters=0)
            assert await archive.append([analysed], [late]) == Appended(scenes=0, encounters=0)
            assert await archive.append([], [LOG[0]]) == Appended(scenes=0, encounters=0)
            assert await everything(archive) == before

        self.use(archive_factory, body)

    def test_a_later_meeting_begins_anew(self, archive_factory: ArchiveFactory) -> None:
        async def body(archive: Archive) -> None:
            await forgotten(archive)
            assert await archive.append([GONE], [AGAIN]) == Appended(scenes=0, encounters=0)
            assert await archive.append([LATER], [LOG[0], AGAIN]) == Appended(scenes=1, encounters=1)
            assert tuple(await archive.get([GONE.id])) == (LATER,)
            assert [e.kind for e in await archive.encounters([GONE.id])] == ["forgotten", "met"]
            assert (await archive.verify()).faults == ()
            assert await archive.forget([GONE.id], at=AT + timedelta(hours=1)) == Forgotten(scenes=1, encounters=1)
            assert len(await archive.encounters([GONE.id])) == 1

        self.use(archive_factory, body)

    def test_a_clock_that_ran_ahead_saves_nothing(self, archive_factory: ArchiveFactory) -> None:
        async def body(archive: Archive) -> None:
            await archive.append([LATER], [AGAIN])
            assert await archive.forget([GONE.id], at=NOON) == Forgotten(scenes=1, encounters=1)
            assert tuple(await archive.get([GONE.id])) == ()

        self.use(archive_factory, body)

    def test_an_unknown_scene_gets_a_tombstone(self, archive_factory: ArchiveFactory) -> None:
        async def body(archive: Archive) -> None:
            assert await archive.forget([GONE.id], at=AT) == Forgotten(scenes=0, encounters=0)
            assert [e.kind for e in await archive.encounters([GONE.id])] == ["forgotten"]
            await filled(archive)
            assert tuple(await archive.get([GONE.id, KEPT.id])) == (KEPT,)
            assert [e.id for e in await archive.encounters([KEPT.id])] == ["3"]

        self.use(archive_factory, body)

    def test_tombstones_travel_with_an_export(self, archive_factory: ArchiveFactory) -> None:
        """Into an empty archive, and into one that still remembers."""

        async def give(archive: Archive) -> list[Scene | Encounter]:
            await forgotten(archive)
            return await everything(archive)

        given = self.use(archive_factory, give)
        scenes = [record for record in given if isinstance(record, Scene)]
        log = [record for record in given if isinstance(record, Encounter)]

        async def take(archive: Archive) -> None:
            assert await archive.append(scenes, log) == Appended(scenes=1, encounters=2)
            await filled(archive)
            assert await everything(archive) == given

        async def still_knows(archive: Archive) -> None:
            await filled(archive)
            await archive.append([], [encounter_of(GONE, "late", minutes=90)])
            assert await archive.append(scenes, log) == Appended(scenes=0, encounters=1)
            assert await everything(archive) == given
            assert (await archive.verify()).faults == ()
            assert [hit.scene for hit in await archive.find(query_of(GONE))] == [KEPT]

        async def met_anew(archive: Archive) -> None:
            await archive.append([LATER], [AGAIN, LOG[0]])
            assert await archive.append(scenes, log) == Appended(scenes=1, encounters=2)
            assert tuple(await archive.get([GONE.id])) == (LATER,)
            assert [e.id for e in await archive.encounters([GONE.id]) if e.kind == "met"] == ["again"]

        self.use(archive_factory, take, "second")
        self.use(archive_factory, still_knows, "third")
        self.use(archive_factory, met_anew, "fourth")

    def test_namespaces_forget_for_themselves(self, archive_factory: ArchiveFactory) -> None:
        alien = scene_of(GONE.text, ["страшно"], namespace="чужой")

        async def body(archive: Archive) -> None:
            await filled(archive)
            await archive.append([alien], [encounter_of(alien, "9")])
            assert await archive.forget([alien.id], at=AT) == Forgotten(scenes=1, encounters=1)
            assert [e.namespace for e in await archive.encounters([alien.id])] == ["чужой"]
            assert tuple(await archive.get([GONE.id])) == (GONE,)

        self.use(archive_factory, body)

    def test_many_are_forgotten_at_once(self, archive_factory: ArchiveFactory) -> None:
        scenes = [scene_of(f"текст {n}", ["шаг"], vector=[100, n % 50]) for n in range(240)]
        log = [encounter_of(scene, f"op-{n}") for n, scene in enumerate(scenes)]

        async def body(archive: Archive) -> None:
            await archive.append(scenes, log)
            done = await archive.forget([scene.id for scene in scenes[:230]], at=AT)
            assert done == Forgotten(scenes=230, encounters=230)
            left = await archive.find(query_of(scenes[0], limit=100))
            assert {hit.scene.id for hit in left} == {scene.id for scene in scenes[230:]}
            found = await archive.verify()
            assert (found.scenes, found.encounters, found.faults) == (10, 240, ())
            assert await archive.rebuild() == 10

        self.use(archive_factory, body)

    def test_forgetting_outlives_the_process(self, archive_factory: ArchiveFactory) -> None:
        if not self.persistent:
            return
        self.use(archive_factory, forgotten)

        async def after(archive: Archive) -> None:
            assert await archive.append([GONE], [LOG[0]]) == Appended(scenes=0, encounters=0)
            assert await archive.append([LATER], [AGAIN]) == Appended(scenes=1, encounters=1)
            assert [hit.scene for hit in await archive.find(query_of(LATER))] == [LATER, KEPT]
            assert (await archive.verify()).faults == ()

        self.use(archive_factory, after)
