"""Conformance of an archive: the hypertokens that its scenes have in common, whatever the order of writing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from scenepipe.contracts import Archive
from scenepipe.scene import Linkage, Scene
from scenepipe.testing.archive_material import NOON, ArchiveCase, ArchiveFactory, scene_of


def said(text: str, chain: Sequence[str], own: Sequence[str] = (), *, analysers: Sequence[str] = ("suite@1",)) -> Scene:
    """A scene with a linkage and a chain of its own text."""
    scene = scene_of(text, linkage=chain, analysers=analysers)
    return scene.with_(linkage=Linkage(chain=tuple(chain), text=tuple(own)))


async def names(archive: Archive, namespace: str = "default") -> list[str]:
    return [token.name for token in await archive.hypertokens(namespace)]


class HypertokenSuite(ArchiveCase):
    """A chain is a hypertoken when a rule for it saves: (scenes - 1) x (length - 1) > 1."""

    def test_a_repeated_chain_is_a_hypertoken(self, archive_factory: ArchiveFactory) -> None:
        chain = ("дрожь", "не:вход")
        scenes = [scene_of(f"раз {n}", linkage=chain) for n in range(3)]
        twice = [scene_of(f"пара {n}", linkage=["дом", "порог"]) for n in range(2)]
        again = [scene_of(scene.text, linkage=["дом", "порог"], analysers=["a@2"]) for scene in twice]
        single = [scene_of(f"слово {n}", linkage=["слово"]) for n in range(3)]
        alien = scene_of("раз 0", linkage=["дом", "порог"], namespace="чужой")

        async def body(archive: Archive) -> None:
            await archive.append([*scenes, *twice, *again, *single, alien], [])
            assert [(token.name, token.chain) for token in await archive.hypertokens()] == [("дрожьневход", chain)]
            assert await names(archive, "чужой") == []

        self.use(archive_factory, body)

    def test_hypertokens_that_save_most_come_first(self, archive_factory: ArchiveFactory) -> None:
        pair, long = ["б", "в"], ["а", "б", "в", "г", "д"]
        scenes = [scene_of(f"пара {n}", linkage=pair) for n in range(4)]
        scenes += [scene_of(f"цепь {n}", linkage=long) for n in range(2)]

        async def body(archive: Archive) -> None:
            await archive.append(scenes, [])
            assert [list(token.chain) for token in await archive.hypertokens()] == [pair, long]
            await archive.append([scene_of("цепь 2", linkage=long)], [])
            assert [list(token.chain) for token in await archive.hypertokens()] == [long, pair]

        self.use(archive_factory, body)

    def test_a_part_of_a_texts_own_chain_is_found_and_a_bare_denial_ends_it(
        self, archive_factory: ArchiveFactory
    ) -> None:
        own = ("ночь", "мост", "не", "река", "мост", "река", "свет")
        scenes = [said(f"текст {n}", (), (f"слово{n}", *own[:2], "не", *own[3:])) for n in range(2)]

        async def body(archive: Archive) -> None:
            await archive.append(scenes, [])
            assert await names(archive) == ["рекамострекасвет"]
            await archive.append([said("текст 2", (), ("ночь", "мост"))], [])
            assert await names(archive) == ["рекамострекасвет", "ночьмост"]

        self.use(archive_factory, body)

    def test_the_latest_analysis_of_a_scene_counts(self, archive_factory: ArchiveFactory) -> None:
        old = [said(f"текст {n}", ("шаг", "тишина", "жар")) for n in range(2)]
        new = [said(f"текст {n}", ("шаг", "тишина", "дом"), analysers=["a@2"]) for n in range(2)]

        async def body(archive: Archive) -> None:
            await archive.append(old, [])
            assert await names(archive) == ["шагтишинажар"]
            await archive.append(new[:1], [])
            assert await names(archive) == []
            await archive.append(new[1:], [])
            assert await names(archive) == ["шагтишинадом"]

        self.use(archive_factory, body)

    def test_what_was_forgotten_does_not_count(self, archive_factory: ArchiveFactory) -> None:
        scenes = [said(f"текст {n}", ("шаг", "тишина", "жар")) for n in range(2)]

        async def body(archive: Archive) -> None:
            await archive.append(scenes, [])
            assert await names(archive) == ["шагтишинажар"]
            await archive.forget([scenes[0].id], at=NOON + timedelta(days=1))
            assert await names(archive) == []

        self.use(archive_factory, body)

    def test_hypertokens_do_not_depend_on_the_order_of_writing(self, archive_factory: ArchiveFactory) -> None:
        rows = [("а", "б", "в", "а", "б", "в", "г", "д", "е", "ж")[n % 4 : 4 + n % 7] for n in range(40)]
        scenes = [said(f"текст {n}", row[:3], row) for n, row in enumerate(rows)]

        async def at_once(archive: Archive) -> list[object]:
            await archive.append(scenes, [])
            return list(await archive.hypertokens())

        async def backwards(archive: Archive) -> list[object]:
            for scene in reversed(scenes):
                await archive.append([scene], [])
                await archive.hypertokens()
            await archive.rebuild()
            return list(await archive.hypertokens())

        first = self.use(archive_factory, at_once)
        assert len(first) > 5
        assert self.use(archive_factory, backwards, "second") == first
