"""Conformance suite of the archive contract, for every store alike.

A store's test module subclasses it and says how to make one::

    class TestMyArchive(ArchiveSuite):
        @pytest.fixture
        def archive_factory(self, tmp_path):
            return lambda name="archive": MyArchive(path=str(tmp_path / name))

The factory returns an unopened archive; the same name is the same storage. A store that keeps nothing after `aclose`
sets ``persistent = False``.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, timedelta

import pytest

from scenepipe.contracts import Appended, Archive, Query
from scenepipe.errors import ArchiveError
from scenepipe.recall import resonance
from scenepipe.scene import Echo, Origin, Receipt, Reply, Resonance, Scene
from scenepipe.testing.archive_derived import DerivedSuite
from scenepipe.testing.archive_filters import FilterSuite
from scenepipe.testing.archive_forgetting import ForgettingSuite
from scenepipe.testing.archive_material import (
    COMMON_HITS,
    ENCODER,
    NOON,
    TEXTS,
    ArchiveFactory,
    common_archive,
    encounter_of,
    query_of,
    scene_of,
    score_of,
)

__all__ = [
    "COMMON_HITS",
    "ENCODER",
    "NOON",
    "TEXTS",
    "ArchiveFactory",
    "ArchiveSuite",
    "common_archive",
    "encounter_of",
    "query_of",
    "scene_of",
]


class ArchiveSuite(FilterSuite, ForgettingSuite, DerivedSuite):
    """What every archive must do. Subclass it and provide the fixture ``archive_factory``."""

    # --- writing -----------------------------------------------------------------------------------------------------

    def test_the_same_operation_twice_changes_nothing(self, archive_factory: ArchiveFactory) -> None:
        scene = scene_of("шаг", ["шаг"])
        met = encounter_of(scene, "op-1")

        async def body(archive: Archive) -> None:
            assert await archive.append([scene], [met]) == Appended(scenes=1, encounters=1)
            assert await archive.append([scene], [met]) == Appended(scenes=0, encounters=0)
            assert await archive.append([scene, scene], [met, met]) == Appended(scenes=0, encounters=0)
            other = met.model_copy(update={"data": {"changed": True}})
            assert await archive.append([], [other]) == Appended(scenes=0, encounters=0)
            assert tuple(await archive.get([scene.id])) == (scene,)
            assert tuple(await archive.encounters()) == (met,)

        self.use(archive_factory, body)

    def test_a_batch_may_repeat_itself(self, archive_factory: ArchiveFactory) -> None:
        scene = scene_of("шаг")
        met = encounter_of(scene, "op-1")

        async def body(archive: Archive) -> None:
            assert await archive.append([scene, scene], [met, met]) == Appended(scenes=1, encounters=1)

        self.use(archive_factory, body)

    def test_an_encounter_without_its_scene_is_refused(self, archive_factory: ArchiveFactory) -> None:
        here, missing = scene_of("здесь"), scene_of("нигде")

        async def body(archive: Archive) -> None:
            with pytest.raises(ArchiveError, match=missing.id):
                await archive.append([here], [encounter_of(here, "a"), encounter_of(missing, "b")])
            assert tuple(await archive.get([here.id])) == ()
            assert tuple(await archive.encounters()) == ()

        self.use(archive_factory, body)

    def test_concurrent_appends_all_arrive(self, archive_factory: ArchiveFactory) -> None:
        scenes = [scene_of(f"текст {n}", ["шаг"]) for n in range(40)]
        orphan = encounter_of(scene_of("нигде"), "orphan")

        async def body(archive: Archive) -> None:
            writes = [archive.append([scene], [encounter_of(scene, f"op-{scene.text}")]) for scene in scenes]
            results = await asyncio.gather(archive.append([], [orphan]), *writes, return_exceptions=True)
            assert isinstance(results[0], ArchiveError)
            assert results[1:] == [Appended(scenes=1, encounters=1)] * len(scenes)
            assert len(await archive.encounters()) == len(scenes)

        self.use(archive_factory, body)

    def test_what_belongs_to_the_occasion_is_not_stored(self, archive_factory: ArchiveFactory) -> None:
        bare = scene_of("шаг", ["шаг"], linkage=["шаг"], namespace="дом")
        receipt = Receipt(backend="fake", model="m", mode="exact", prompt_version=1, prompt_sha256="0" * 64)
        full = bare.with_(
            origin=Origin(namespace="дом", run="r", row=3, user="u", chat="c", turn=1),
            reply=Reply(text="ответ", receipt=receipt),
            echoes=(Echo(scene_id="x", text="y"),),
            resonance=Resonance(strength=0.5, encounters=2, last=NOON),
            outputs={"text": "ответ"},
        )

        async def body(archive: Archive) -> None:
            await archive.append([full], [])
            assert tuple(await archive.get([full.id])) == (bare,)

        self.use(archive_factory, body)

    # --- reading back ------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
    def test_texts_come_back_byte_for_byte(self, archive_factory: ArchiveFactory, text: str) -> None:
        word = text[:200] or "x"
        scene = scene_of(text, [word], linkage=[word, "не:" + word], vector=[0, 127, -128, -1])
        met = encounter_of(scene, f"op {word}", user=word, chat=word, turn=7, data={"text": text, "n": [1, None, 0.5]})

        async def body(archive: Archive) -> None:
            await archive.append([scene], [met])
            assert tuple(await archive.get([scene.id])) == (scene,)
            assert tuple(await archive.encounters([scene.id])) == (met,)
            assert (await archive.find(query_of(scene, chat=word)))[0].scene == scene

        self.use(archive_factory, body)

    def test_get_keeps_the_order_and_leaves_out_the_unknown(self, archive_factory: ArchiveFactory) -> None:
        scenes = [scene_of(f"текст {n}") for n in range(5)]

        async def body(archive: Archive) -> None:
            await archive.append(scenes, [])
            asked = [scenes[3].id, "unknown", scenes[0].id, scenes[4].id]
            assert tuple(await archive.get(asked)) == (scenes[3], scenes[0], scenes[4])
            assert tuple(await archive.get([])) == ()
            assert tuple(await archive.encounters(["unknown"])) == ()
            assert tuple(await archive.encounters([])) == ()

        self.use(archive_factory, body)

    def test_get_returns_the_latest_analysis(self, archive_factory: ArchiveFactory) -> None:
        old = scene_of("шаг", ["шаг"], analysers=["a@1"])
        new = scene_of("шаг", ["шаг", "тишина"], analysers=["a@2"])

        async def body(archive: Archive) -> list[object]:
            assert await archive.append([old], []) == Appended(scenes=1, encounters=0)
            assert await archive.append([new], []) == Appended(scenes=1, encounters=0)
            assert tuple(await archive.get([old.id])) == (new,)
            assert await archive.append([old], []) == Appended(scenes=0, encounters=0)
            assert tuple(await archive.get([old.id])) == (new,)
            assert [hit.scene for hit in await archive.find(query_of(old))] == [new]
            return [record async for record in archive.export()]

        assert self.use(archive_factory, body) == [old, new]

    def test_encounters_come_oldest_first(self, archive_factory: ArchiveFactory) -> None:
        scene, other = scene_of("шаг"), scene_of("дом")
        log = [encounter_of(scene, str(n), minutes=minutes) for n, minutes in enumerate((5, 0, 3))]
        elsewhere = encounter_of(other, "9", minutes=1)

        async def body(archive: Archive) -> None:
            await archive.append([scene, other], [*log, elsewhere])
            assert [e.id for e in await archive.encounters()] == ["1", "9", "2", "0"]
            assert [e.id for e in await archive.encounters([scene.id])] == ["1", "2", "0"]

        self.use(archive_factory, body)

    def test_a_chat_is_read_alone(self, archive_factory: ArchiveFactory) -> None:
        scene, alien = scene_of("шаг"), scene_of("шаг", namespace="чужой")
        log = [encounter_of(scene, str(n), minutes=-n, chat="a' OR 1=1 --", turn=n) for n in range(3)]
        rest = [encounter_of(scene, "b", chat="b"), encounter_of(scene, "none")]
        rest.append(encounter_of(alien, "alien", chat="a' OR 1=1 --"))

        async def body(archive: Archive) -> None:
            await archive.append([scene, alien], [*log, *rest])
            assert list(await archive.chat("a' OR 1=1 --")) == list(reversed(log))
            assert [e.id for e in await archive.chat("a' OR 1=1 --", namespace="чужой")] == ["alien"]
            assert list(await archive.chat("a")) == []

        self.use(archive_factory, body)

    def test_times_of_any_zone_are_one_instant(self, archive_factory: ArchiveFactory) -> None:
        scene = scene_of("шаг")
        texts = ("2026-05-01T14:00:00+02:00", "2026-05-01T12:30:00+00:00", "2026-05-01T12:15:00")
        log = [encounter_of(scene, str(n), at=text) for n, text in enumerate(texts)]

        async def body(archive: Archive) -> None:
            await archive.append([scene], log)
            found = await archive.encounters()
            assert [e.id for e in found] == ["0", "2", "1"]
            assert [e.at.utcoffset() for e in found] == [timedelta(0)] * 3

        self.use(archive_factory, body)

    # --- finding -----------------------------------------------------------------------------------------------------

    def test_find_says_why(self, archive_factory: ArchiveFactory) -> None:
        asked = scene_of("Ёлка и шаг.", ["елка", "шаг"], linkage=["шаг", "елка"], vector=[100, 10, 0])
        spelled = scene_of("елка и шаг.", ["елка", "шаг"], linkage=["шаг", "елка"])
        linked = scene_of("Ёлка, потом шаг", ["елка", "шаг"], linkage=["шаг", "елка"])
        shared = scene_of("Шаг во тьму", ["шаг", "тьма"], linkage=["тьма"])
        near = scene_of("A fir tree", ["tree"], vector=[100, 0, 20])
        far = scene_of("Courage", ["courage"], vector=[-20, 0, 100])
        stored = [far, near, shared, linked, spelled, asked]

        async def body(archive: Archive) -> None:
            await archive.append(stored, [])
            hits = await archive.find(query_of(asked))
            assert [hit.scene.text for hit in hits[:3]] == [asked.text, spelled.text, linked.text]
            why = {hit.scene.text: hit.reasons for hit in hits}
            assert why[asked.text] == ("same words",)
            assert why[spelled.text] == ("same text apart from spelling",)
            assert why[linked.text] == ("same linkage", "shared symbols: елка, шаг")
            assert why[shared.text] == ("shared symbols: шаг",)
            assert why[near.text] == ("near in meaning: 0.98",)
            assert far.text not in why
            assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)

        self.use(archive_factory, body)

    def test_texts_of_one_linkage_are_not_one_when_they_say_something_else(
        self, archive_factory: ArchiveFactory
    ) -> None:
        chain = ["дрожь", "тишина"]
        asked = scene_of("Война окончена", ["война"], linkage=chain)
        again = scene_of("Война ведь окончена", ["война"], linkage=chain)
        denied = scene_of("Война не окончена", ["война"], linkage=chain)
        turned = scene_of("Окончена ли война?", ["не:война"], linkage=chain)
        others = scene_of("Война и мир", ["война", "мир"], linkage=chain)

        async def body(archive: Archive) -> None:
            await archive.append([others, turned, denied, again], [])
            hits = await archive.find(query_of(asked))
            assert [hit.scene.text for hit in hits if "same linkage" in hit.reasons] == [again.text]
            assert hits[0].scene == again
            by_chain = await archive.find(Query(linkage=tuple(chain)))
            assert all("same linkage" in hit.reasons for hit in by_chain)
            assert len(by_chain) == 4

        self.use(archive_factory, body)

    def test_the_order_of_a_linkage_matters(self, archive_factory: ArchiveFactory) -> None:
        one = scene_of("первая", linkage=["дрожь", "тишина", "вход"])
        back = scene_of("вторая", linkage=["вход", "тишина", "дрожь"])
        run_together = scene_of("третья", linkage=["дрожьтишина", "вход"])

        async def body(archive: Archive) -> None:
            await archive.append([back, run_together], [])
            why = {hit.scene.text: hit.reasons for hit in await archive.find(query_of(one))}
            assert why == {"вторая": ("shared symbols: дрожь, тишина, вход",), "третья": ("shared symbols: вход",)}

        self.use(archive_factory, body)

    def test_opposites_are_never_the_same(self, archive_factory: ArchiveFactory) -> None:
        yes = scene_of("Мне страшно дома.", ["страшно", "дом"], linkage=["страшно", "дом"], vector=[100, 5, 0])
        no = scene_of("Мне не страшно дома.", ["не:страшно", "дом"], linkage=["не:страшно", "дом"], vector=[100, 0, 5])

        async def body(archive: Archive) -> None:
            await archive.append([no], [])
            why = {hit.scene.text: hit.reasons for hit in await archive.find(query_of(yes))}
            assert why[no.text] == ("opposite polarity: страшно", "shared symbols: дом", "near in meaning: 1.00")
            back = {hit.scene.text: hit.reasons for hit in await archive.find(query_of(no))}
            assert back[no.text] == ("same words",)

        self.use(archive_factory, body)

    def test_a_linkage_does_not_hide_an_opposite(self, archive_factory: ArchiveFactory) -> None:
        yes = scene_of("Мне страшно дома вечером", ["страшно", "дом", "вечер"], linkage=["дом", "вечер"])
        no = scene_of("Мне не страшно дома вечером", ["не:страшно", "дом", "вечер"], linkage=["дом", "вечер"])

        async def body(archive: Archive) -> None:
            await archive.append([no], [])
            found = await archive.find(query_of(yes))
            assert [hit.reasons for hit in found] == [("opposite polarity: страшно", "shared symbols: дом, вечер")]

        self.use(archive_factory, body)

    def test_opposites_in_english(self, archive_factory: ArchiveFactory) -> None:
        yes, no = scene_of("I feel", ["feel"]), scene_of("I do not feel", ["not:feel"])

        async def body(archive: Archive) -> None:
            await archive.append([yes], [])
            assert [hit.reasons for hit in await archive.find(query_of(no))] == [("opposite polarity: feel",)]

        self.use(archive_factory, body)

    def test_limit_and_exclude(self, archive_factory: ArchiveFactory) -> None:
        scenes = [scene_of(f"шаг {n}", ["шаг"], linkage=["шаг"], vector=[100, n, 0]) for n in range(8)]

        async def body(archive: Archive) -> None:
            await archive.append(scenes, [])
            query = query_of(scenes[0], limit=3)
            assert len(await archive.find(query)) == 3
            out = tuple(scene.id for scene in scenes[:6])
            kept = await archive.find(query.model_copy(update={"exclude": out}))
            assert {hit.scene.id for hit in kept} == {scenes[6].id, scenes[7].id}

        self.use(archive_factory, body)

    def test_an_empty_query_finds_nothing(self, archive_factory: ArchiveFactory) -> None:
        async def body(archive: Archive) -> None:
            await archive.append([scene_of("без символов"), scene_of("шаг", ["шаг"], vector=[1, 0])], [])
            assert tuple(await archive.find(Query())) == ()
            assert tuple(await archive.find(Query(symbols=("неведомое",), vector=b"\x00\x00", encoder=ENCODER))) == ()

        self.use(archive_factory, body)

    def test_vectors_of_another_encoder_are_not_compared(self, archive_factory: ArchiveFactory) -> None:
        scene = scene_of("шаг", vector=[100, 0])

        async def body(archive: Archive) -> None:
            await archive.append([scene], [])
            near = Query(vector=b"\x64\x00", encoder=ENCODER)
            assert [hit.reasons for hit in await archive.find(near)] == [("near in meaning: 1.00",)]
            assert tuple(await archive.find(near.model_copy(update={"encoder": "other@1"}))) == ()
            assert tuple(await archive.find(near.model_copy(update={"vector": b"\x64\x00\x00"}))) == ()

        self.use(archive_factory, body)

    def test_rows_written_after_a_search_are_found(self, archive_factory: ArchiveFactory) -> None:
        first, second = scene_of("шаг", vector=[100, 0]), scene_of("ход", vector=[100, 1])

        async def body(archive: Archive) -> None:
            near = Query(vector=b"\x64\x00", encoder=ENCODER)
            assert tuple(await archive.find(near)) == ()
            await archive.append([first], [])
            assert len(await archive.find(near)) == 1
            await archive.append([second], [])
            assert [hit.scene.text for hit in await archive.find(near)] == ["шаг", "ход"]

        self.use(archive_factory, body)

    def test_namespaces_do_not_see_each_other(self, archive_factory: ArchiveFactory) -> None:
        words = {"symbols": ["шаг"], "linkage": ["шаг", "дом"], "vector": [100, 0]}
        mine, theirs = (scene_of("шаг", namespace=space, **words) for space in ("мой", "чужой"))  # type: ignore[arg-type]

        async def body(archive: Archive) -> None:
            await archive.append([theirs], [encounter_of(theirs, "t", chat="c")])
            assert mine.id != theirs.id
            assert tuple(await archive.find(query_of(mine))) == ()
            assert tuple(await archive.find(query_of(mine, scene_id=theirs.id, key=theirs.key))) == ()
            assert tuple(await archive.find(query_of(mine, chat="c"))) == ()
            await archive.append([mine], [])
            assert [hit.scene for hit in await archive.find(query_of(mine))] == [mine]

        self.use(archive_factory, body)

    def test_a_chat_can_be_searched_alone(self, archive_factory: ArchiveFactory) -> None:
        here, there = (scene_of(text, ["шаг"], linkage=["шаг", "дом"], vector=[100, 0]) for text in ("тут", "там"))

        async def body(archive: Archive) -> None:
            log = [encounter_of(here, "1", chat="a"), encounter_of(there, "2", chat="b")]
            await archive.append([here, there], log)
            query = query_of(scene_of("новое", ["шаг"], linkage=["шаг", "дом"], vector=[100, 0]))
            assert len(await archive.find(query)) == 2
            found = await archive.find(query.model_copy(update={"chat": "a"}))
            assert [hit.scene.text for hit in found] == ["тут"]
            assert tuple(await archive.find(query.model_copy(update={"chat": "c"}))) == ()

        self.use(archive_factory, body)

    def test_all_stores_recall_the_common_archive_alike(self, archive_factory: ArchiveFactory) -> None:
        """Hits, their order, reasons and scores; the ranks are derived in `COMMON_HITS`."""
        scenes, log = common_archive()

        async def body(archive: Archive) -> None:
            await archive.append(scenes, log)
            for query, expected in COMMON_HITS:
                hits = await archive.find(query)
                assert [(hit.scene.text, hit.reasons) for hit in hits] == [(text, why) for text, why, _ in expected]
                scores = [score_of(ranks) for _, _, ranks in expected]
                assert [hit.score for hit in hits] == pytest.approx(scores, abs=1e-12)

        self.use(archive_factory, body)

    def test_the_order_of_writing_does_not_matter(self, archive_factory: ArchiveFactory) -> None:
        """Except that of the analyses of one scene."""
        scenes, log = common_archive()

        async def body(archive: Archive) -> None:
            for scene in sorted(scenes, key=lambda s: s.text, reverse=True):
                await archive.append([scene], [])
            await archive.append([], log[::-1])
            for query, expected in COMMON_HITS:
                assert [hit.scene.text for hit in await archive.find(query)] == [text for text, *_ in expected]

        self.use(archive_factory, body)

    # --- what is derived ---------------------------------------------------------------------------------------------

    def test_resonance_of_the_common_archive(self, archive_factory: ArchiveFactory) -> None:
        """One meeting a day ago is 0.5 by the choice of tau; n meetings are 1 / (1 + n^(-1/1.5))."""
        scenes, log = common_archive()

        async def body(archive: Archive) -> None:
            await archive.append(scenes, log)
            for scene, meetings in ((scenes[0], 1), (scenes[2], 2)):
                times = [e.at for e in await archive.encounters([scene.id]) if e.kind == "met"]
                found = resonance(times, NOON + timedelta(days=1))
                assert (found.encounters, found.last) == (meetings, NOON)
                assert found.strength == pytest.approx(1 / (1 + meetings ** (-1 / 1.5)))

        self.use(archive_factory, body)

    def test_records_come_back_as_the_same_json(self, archive_factory: ArchiveFactory) -> None:
        scenes, log = common_archive()
        data = {"b": 1, "a": [0.1, 1e16, -0.0, 10**20, "\x00\u2028🙂"], "": {"z": None, "y": True}}
        odd = encounter_of(scenes[0], "0 \x1b\x00 \U0001f642", data=data, at="2026-05-01T14:00:00+02:00")

        async def body(archive: Archive) -> None:
            await archive.append(scenes, [*log, odd])
            found = [r.to_json(vectors=True) if isinstance(r, Scene) else r.model_dump_json()
                     async for r in archive.export()]  # fmt: skip
            expected = [scene.to_json(vectors=True) for scene in sorted(scenes, key=lambda s: s.id)]
            utc = odd.model_copy(update={"at": odd.at.astimezone(UTC)})
            assert found == expected + [e.model_dump_json() for e in sorted([*log, utc], key=lambda e: e.id)]

        self.use(archive_factory, body)

    def test_export_is_ordered_and_complete(self, archive_factory: ArchiveFactory) -> None:
        scenes = [scene_of(f"текст {n}", ["шаг"], vector=[n, 1]) for n in range(300)]
        log = [encounter_of(scene, f"op-{n:03}", minutes=-n) for n, scene in enumerate(scenes)]
        expected = [*sorted(scenes, key=lambda s: s.id), *log]

        async def fill(archive: Archive) -> list[object]:
            await archive.append(scenes, log)
            first = [record async for record in archive.export()]
            assert first == [record async for record in archive.export()]
            return list(first)

        async def refill(archive: Archive) -> list[object]:
            last = scenes[::-1]
            for start in range(0, len(last), 50):
                await archive.append(last[start : start + 50], [])
            await archive.append([], log)
            return [record async for record in archive.export()]

        assert self.use(archive_factory, fill) == expected
        assert self.use(archive_factory, refill, "second") == expected

    def test_verify_finds_nothing_wrong(self, archive_factory: ArchiveFactory) -> None:
        async def body(archive: Archive) -> None:
            empty = await archive.verify()
            assert (empty.scenes, empty.encounters, empty.faults) == (0, 0, ())
            scenes = [scene_of(text, ["шаг"], linkage=["шаг"], vector=[1, 2]) for text in TEXTS]
            await archive.append(scenes, [encounter_of(scene, scene.id) for scene in scenes])
            full = await archive.verify()
            assert (full.scenes, full.encounters, full.faults) == (len(TEXTS), len(TEXTS), ())

        self.use(archive_factory, body)

    def test_reading_never_writes(self, archive_factory: ArchiveFactory) -> None:
        scene = scene_of("шаг", ["шаг"], linkage=["шаг"], vector=[1, 2])

        async def body(archive: Archive) -> None:
            await archive.append([scene], [encounter_of(scene, "1")])
            before = [record async for record in archive.export()]
            first = await archive.find(query_of(scene))
            for _ in range(3):
                await archive.get([scene.id])
                await archive.encounters()
                await archive.hypertokens()
                await archive.verify()
                assert await archive.find(query_of(scene)) == first
            assert before == [record async for record in archive.export()]

        self.use(archive_factory, body)

    def test_closing_and_opening_again_keeps_everything(self, archive_factory: ArchiveFactory) -> None:
        if not self.persistent:
            pytest.skip("this store keeps nothing after aclose")
        scene = scene_of("шаг", ["шаг"], linkage=["шаг"], vector=[100, 2])
        met = encounter_of(scene, "1", data={"a": "я"})

        async def write(archive: Archive) -> list[object]:
            await archive.append([scene], [met])
            return [*await archive.find(query_of(scene)), *await archive.verify()]

        async def read(archive: Archive) -> list[object]:
            assert tuple(await archive.get([scene.id])) == (scene,)
            assert tuple(await archive.encounters()) == (met,)
            assert await archive.append([scene], [met]) == Appended(scenes=0, encounters=0)
            return [*await archive.find(query_of(scene)), *await archive.verify()]

        assert self.use(archive_factory, write) == self.use(archive_factory, read)

    def test_aclose_twice_is_no_error(self, archive_factory: ArchiveFactory) -> None:
        async def body(archive: Archive) -> None:
            await archive.aclose()

        self.use(archive_factory, body)
