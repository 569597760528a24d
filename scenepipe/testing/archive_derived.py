"""Conformance of an archive: what is derived from the stored scenes."""

from __future__ import annotations

import math

import pytest

from scenepipe.contracts import Archive, Neighbour
from scenepipe.testing.archive_hypertokens import HypertokenSuite
from scenepipe.testing.archive_material import (
    COMMON_HITS,
    ArchiveFactory,
    common_archive,
    encounter_of,
    query_of,
    scene_of,
)


def npmi(together: int, one: int, other: int, documents: int) -> float:
    """By hand: ln(p(ab) / p(a)p(b)) / -ln p(ab)."""
    return math.log(together * documents / (one * other)) / math.log(documents / together)


class DerivedSuite(HypertokenSuite):
    """Hypertokens, neighbours and making all of it anew."""

    # --- neighbours --------------------------------------------------------------------------------------------------

    def test_neighbours_of_the_common_archive(self, archive_factory: ArchiveFactory) -> None:
        """Eight analyses; дом is in five, with тишина in two, with страшно, не:страшно and порог in one."""
        scenes, log = common_archive()

        async def body(archive: Archive) -> None:
            await archive.append(scenes, log)
            found = await archive.neighbours(["дом"])
            assert [(each.key, each.together, each.count) for each in found] == [
                ("тишина", 2, 2), ("не:страшно", 1, 1), ("страшно", 1, 1), ("порог", 1, 2),
            ]  # fmt: skip
            expected = [npmi(2, 5, 2, 8), npmi(1, 5, 1, 8), npmi(1, 5, 1, 8), npmi(1, 5, 2, 8)]
            assert [each.score for each in found] == pytest.approx([max(0.0, score) for score in expected])
            assert tuple(await archive.neighbours(["дом"], limit=1)) == tuple(found[:1])
            assert tuple(await archive.neighbours(["дом"], limit=0)) == ()

        self.use(archive_factory, body)

    def test_neighbours_of_several_symbols_stand_with_one_of_them(self, archive_factory: ArchiveFactory) -> None:
        scenes, log = common_archive()

        async def body(archive: Archive) -> None:
            await archive.append(scenes, log)
            found = await archive.neighbours(["страшно", "тишина", "страшно"])
            assert tuple(found) == (Neighbour(key="дом", together=3, count=5, score=found[0].score),)
            assert found[0].score == pytest.approx(npmi(3, 3, 5, 8))

        self.use(archive_factory, body)

    def test_neighbours_keep_polarity_and_namespace(self, archive_factory: ArchiveFactory) -> None:
        yes, no = scene_of("да", ["страх", "ночь"]), scene_of("нет", ["не:страх", "не:ночь", "день"])
        alien = scene_of("чужое", ["страх", "тень"], namespace="чужой")
        rest = [scene_of(f"{n}", ["тишина"]) for n in range(3)]

        async def body(archive: Archive) -> None:
            await archive.append([yes, no, alien, *rest], [])
            assert [each.key for each in await archive.neighbours(["страх"])] == ["ночь"]
            assert [each.key for each in await archive.neighbours(["не:страх"])] == ["день", "не:ночь"]
            assert [each.key for each in await archive.neighbours(["страх"], namespace="чужой")] == ["тень"]
            assert tuple(await archive.neighbours(["неведомое"])) == ()
            assert tuple(await archive.neighbours([])) == ()

        self.use(archive_factory, body)

    def test_what_was_associated_with_a_text_stands_beside_nothing(self, archive_factory: ArchiveFactory) -> None:
        """Only the text's own symbols are evidence; a linkage repeats what the SceneBuilder associated."""
        texts = [scene_of(f"шаг {n}", ["шаг", "снег"], linkage=["шаг", "тишина", "вход"]) for n in range(3)]
        rest = [scene_of(f"{n}", ["вход"]) for n in range(3)]

        async def body(archive: Archive) -> None:
            await archive.append([*texts, *rest], [])
            [snow] = await archive.neighbours(["шаг"])
            assert (snow.key, snow.together, snow.count) == ("снег", 3, 3)
            assert tuple(await archive.neighbours(["тишина"])) == ()
            assert tuple(await archive.neighbours(["вход"])) == ()
            await archive.rebuild()
            assert tuple(await archive.neighbours(["шаг"])) == (snow,)
            assert (await archive.verify()).faults == ()

        self.use(archive_factory, body)

    def test_what_always_stands_together_scores_one(self, archive_factory: ArchiveFactory) -> None:
        async def body(archive: Archive) -> None:
            await archive.append([scene_of("раз", ["один", "два"])], [])
            assert tuple(await archive.neighbours(["один"])) == (Neighbour(key="два", together=1, count=1, score=1.0),)
            await archive.append([scene_of("три", ["три"]), scene_of("все", ["один", "два", "три"])], [])
            [two, three] = await archive.neighbours(["один"])
            assert (two.key, two.together, two.count) == ("два", 2, 2)
            assert two.score == pytest.approx(1.0)
            assert three == Neighbour(key="три", together=1, count=2, score=0.0)

        self.use(archive_factory, body)

    # --- rebuild -----------------------------------------------------------------------------------------------------

    def test_rebuilding_changes_nothing_that_is_right(self, archive_factory: ArchiveFactory) -> None:
        scenes, log = common_archive()

        async def body(archive: Archive) -> None:
            assert await archive.rebuild() == 0
            await archive.append(scenes, log)
            before = [record async for record in archive.export()]
            neighbours = await archive.neighbours(["дом"])
            assert await archive.rebuild() == len(scenes)
            assert [record async for record in archive.export()] == before
            assert await archive.neighbours(["дом"]) == neighbours
            for query, expected in COMMON_HITS:
                assert [hit.scene.text for hit in await archive.find(query)] == [text for text, *_ in expected]
            assert (await archive.verify()).faults == ()
            late = scene_of("потом", ["дом"], vector=[100, 5, 0])
            await archive.append([late], [encounter_of(late, "late")])
            assert (await archive.find(query_of(late)))[0].scene == late

        self.use(archive_factory, body)
