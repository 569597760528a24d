"""Conformance of an archive: filters leave scenes out, and only that."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from scenepipe.contracts import Archive, Encounter, Query
from scenepipe.mixture import Mixture
from scenepipe.scene import Delta, Emotion, Reading, Scene, Tension
from scenepipe.testing.archive_material import (
    ENCODER,
    NOON,
    ArchiveCase,
    ArchiveFactory,
    encounter_of,
    scene_of,
    score_of,
)


def coloured_archive() -> tuple[list[Scene], list[Encounter]]:
    """Scenes of one symbol that differ in all that is filtered by; they are found newest first."""
    far, near = scene_of("даль", ["шаг"], vector=[100, 0, 0]), scene_of("близь", ["шаг"], vector=[100, 20, 0])
    bare, other = scene_of("ничего", ["шаг"], vector=[100, 40, 0]), scene_of("чужое", ["шаг"], namespace="чужой")
    far = coloured(far, {"poet": 0.5, "body": 0.2}, 41, valence=-0.5, tension=0.75)
    near = coloured(near, {"poet": 0.3, "logician": 0.0}, 7, valence=0.25, arousal=-1.0)
    other = coloured(other, {"poet": 0.5}, 41, valence=-0.5, tension=0.75)
    bare = bare.with_(registers=None)
    scenes = [s.with_(created=NOON - timedelta(minutes=n)) for n, s in enumerate((far, near, bare, other))]
    log = [
        encounter_of(far, "1", chat="a"),
        encounter_of(far, "2", kind="spoken", chat="b", minutes=5),
        encounter_of(near, "3", kind="read", minutes=5),
        encounter_of(bare, "4", chat="a", minutes=10),
        encounter_of(other, "5", chat="a"),
    ]
    return scenes, log


def coloured(scene: Scene, registers: dict[str, float], code: int, **measures: float) -> Scene:
    """The scene with these registers, this code of codebook c1 and these measures."""
    readings = {name: Reading(value=value, confidence=0.5) for name, value in measures.items()}
    tension = readings.pop("tension", None)
    return scene.with_(
        registers=Mixture(weights=registers),
        delta=Delta(code=code, codebook="c1", margin=0.25, alternative=2),
        emotion=Emotion.model_validate(readings),
        tension=Tension.model_validate({"level": tension}) if tension else None,
    )


AFTER = NOON + timedelta(minutes=5)
FILTERS: tuple[tuple[dict[str, object], tuple[str, ...]], ...] = (
    ({}, ("даль", "близь", "ничего")),
    ({"chat": "a"}, ("даль", "ничего")),
    ({"kinds": ("met",)}, ("даль", "ничего")),
    ({"kinds": ("read", "spoken")}, ("даль", "близь")),
    ({"kinds": ("linked",)}, ()),
    ({"kinds": ("spoken",), "chat": "a"}, ()),
    ({"kinds": ("spoken",), "chat": "b"}, ("даль",)),
    ({"since": AFTER}, ("даль", "близь", "ничего")),
    ({"since": AFTER + timedelta(microseconds=1)}, ("ничего",)),
    ({"until": AFTER - timedelta(microseconds=1)}, ("даль",)),
    ({"since": AFTER, "until": AFTER}, ("даль", "близь")),
    ({"since": AFTER, "until": AFTER, "kinds": ("met",)}, ()),
    ({"since": AFTER.replace(tzinfo=None)}, ("даль", "близь", "ничего")),
    ({"until": NOON, "since": AFTER}, ()),
    ({"registers": ("poet",)}, ("даль", "близь")),
    ({"registers": ("body", "logician")}, ("даль",)),
    ({"registers": ("philosopher",)}, ()),
    ({"codes": ("Δ41@c1",)}, ("даль",)),
    ({"codes": ("Δ7@c1", "Δ41@c1")}, ("даль", "близь")),
    ({"codes": ("Δ41@c0", "41", "poet")}, ()),
    ({"ranges": {"valence": (-1.0, 1.0)}}, ("даль", "близь")),
    ({"ranges": {"valence": (-0.5, -0.5)}}, ("даль",)),
    ({"ranges": {"valence": (-0.49, 0.24)}}, ()),
    ({"ranges": {"valence": (0.0, 0.25), "arousal": (-1.0, -0.9)}}, ("близь",)),
    ({"ranges": {"valence": (-1.0, 1.0), "tension": (0.5, 1.0)}}, ("даль",)),
    ({"ranges": {"dominance": (-1.0, 1.0)}}, ()),
    ({"ranges": {"valence": (1.0, -1.0)}}, ()),
    ({"registers": ("poet",), "codes": ("Δ7@c1",), "chat": "a"}, ()),
    ({"registers": ("poet",), "kinds": ("read",), "ranges": {"valence": (0.0, 1.0)}}, ("близь",)),
)
"""Filters, and the texts of the coloured archive that they leave in, in their order."""


def asked(query: Query, filters: Mapping[str, object]) -> Query:
    """The query with these filters."""
    return Query.model_validate(query.model_dump() | dict(filters))


class FilterSuite(ArchiveCase):
    """What every archive must leave out when it is asked to."""

    def test_filters_leave_out(self, archive_factory: ArchiveFactory) -> None:
        """Whatever proposes the scene: its symbols, its vector, or that it is the same."""
        scenes, log = coloured_archive()
        symbols = Query(symbols=("шаг",))
        vector = Query(vector=bytes([100, 0, 0]), encoder=ENCODER)

        async def body(archive: Archive) -> None:
            await archive.append(scenes, log)
            for filters, expected in FILTERS:
                hits = await archive.find(asked(symbols, filters))
                assert [hit.scene.text for hit in hits] == list(expected), filters
                hits = await archive.find(asked(vector, filters))
                ranks = [score_of([place]) for place in (1, 2, 3)]
                assert [(hit.scene.text, hit.score) for hit in hits] == list(zip(expected, ranks, strict=False)), (
                    filters
                )
                for scene in scenes[:3]:
                    hits = await archive.find(asked(Query(scene_id=scene.id, key=scene.key), filters))
                    assert [hit.scene.text for hit in hits] == [scene.text] * (scene.text in expected), filters

        self.use(archive_factory, body)

    def test_a_filter_looks_at_the_latest_analysis(self, archive_factory: ArchiveFactory) -> None:
        old = coloured(scene_of("шаг", ["шаг"], analysers=["a@1"]), {"poet": 0.5}, 1, valence=0.5)
        new = coloured(scene_of("шаг", ["шаг"], analysers=["a@2"]), {"body": 0.5}, 2, valence=-0.5)

        async def body(archive: Archive) -> None:
            await archive.append([old], [])
            await archive.append([new], [])
            for filters, count in (
                ({"registers": ("poet",)}, 0),
                ({"registers": ("body",)}, 1),
                ({"codes": ("Δ1@c1",)}, 0),
                ({"codes": ("Δ2@c1",)}, 1),
                ({"ranges": {"valence": (0.0, 1.0)}}, 0),
                ({"ranges": {"valence": (-1.0, 0.0)}}, 1),
            ):
                found = await archive.find(asked(Query(symbols=("шаг",)), filters))
                assert len(found) == count, filters

        self.use(archive_factory, body)

    def test_filters_alone_find_nothing(self, archive_factory: ArchiveFactory) -> None:
        scenes, log = coloured_archive()

        async def body(archive: Archive) -> None:
            await archive.append(scenes, log)
            assert tuple(await archive.find(Query(chat="a", registers=("poet",)))) == ()

        self.use(archive_factory, body)

    def test_strings_of_a_filter_are_only_compared(self, archive_factory: ArchiveFactory) -> None:
        """Quotes, wildcards, operators and a NUL in any of them match nothing and harm nothing."""
        scenes, log = coloured_archive()

        async def body(archive: Archive) -> None:
            await archive.append(scenes, log)
            for text in (
                "' OR 1=1 --",
                "%",
                "poet' --",
                "*",
                "\x00",
                "po_t",
                '{"match": {"any": []}}',
                "'); DROP TABLE facets",
            ):
                for name in ("registers", "codes"):
                    found = await archive.find(asked(Query(symbols=("шаг",)), {name: (text,)}))
                    assert tuple(found) == ()
                assert tuple(await archive.find(Query(symbols=("шаг",), chat=text))) == ()
            assert len(await archive.find(Query(symbols=("шаг",)))) == 3

        self.use(archive_factory, body)

    def test_a_filter_that_many_pass_finds_those(self, archive_factory: ArchiveFactory) -> None:
        """More than a store is willing to name one by one."""
        scenes = [scene_of(f"текст {n}", ["шаг"], vector=[100, n % 100, 0]) for n in range(260)]
        scenes = [s.with_(created=NOON + timedelta(seconds=n)) for n, s in enumerate(scenes)]
        log = [encounter_of(s, f"{n}", kind="met" if n % 5 else "read") for n, s in enumerate(scenes)]

        async def body(archive: Archive) -> None:
            await archive.append(scenes, log)
            expected = [scene.text for n, scene in enumerate(scenes) if not n % 5][::-1]
            found = await archive.find(Query(symbols=("шаг",), kinds=("read",), limit=1000))
            assert [hit.scene.text for hit in found] == expected
            some = await archive.find(Query(symbols=("шаг",), kinds=("read",), limit=7))
            assert len(some) == 7
            assert {hit.scene.text for hit in some} <= set(expected)
            assert len(await archive.find(Query(symbols=("шаг",), kinds=("met",), limit=1000))) == 208

        self.use(archive_factory, body)
