"""What is derived can be lost: verify notices, rebuild makes it anew from the records."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from scenepipe.contracts import Archive, Query
from scenepipe.errors import ArchiveError
from scenepipe.memory.sqlite import SqliteArchive
from scenepipe.testing.archive_filters import coloured
from scenepipe.testing.archive_suite import NOON, ArchiveSuite, encounter_of, scene_of

SCENES = [
    coloured(
        scene_of(f"текст {n}", ["шаг", f"слово{n}"], linkage=["шаг"], vector=[100, n]), {"poet": 0.5}, n, tension=0.5
    )
    for n in range(4)
]
LOG = [encounter_of(scene, f"{n}", chat="c") for n, scene in enumerate(SCENES)]
ASKED = Query(symbols=("слово1",), registers=("poet",), chat="c", kinds=("met",))


async def right(archive: Archive) -> None:
    assert (await archive.verify()).faults == ()
    assert [hit.scene for hit in await archive.find(ASKED)] == [SCENES[1]]
    assert [each.key for each in await archive.neighbours(["слово1"])] == ["шаг"]


@pytest.mark.parametrize(
    "loss",
    ["DELETE FROM symbols WHERE seq = 2", "DELETE FROM facets", "UPDATE facets SET value = value + 1 WHERE seq = 2",
     "UPDATE symbols SET key = 'не:' || lemma WHERE seq = 2",
     "INSERT INTO symbols VALUES ('default', 'лишнее', 'лишнее', 2, 1)",
     *(f"UPDATE {table} SET namespace = 'чужой' WHERE seq = 2" for table in ("symbols", "facets", "chains"))],
)  # fmt: skip
def test_a_sqlite_archive_repairs_what_it_derives(tmp_path: Path, loss: str) -> None:
    path = tmp_path / "a.db"
    suite = ArchiveSuite()
    suite.use(lambda name: SqliteArchive(path=str(path)), lambda archive: archive.append(SCENES, LOG))
    with sqlite3.connect(path) as file:
        file.execute(loss)
    file.close()

    async def body(archive: Archive) -> None:
        faults = (await archive.verify()).faults
        assert any(fault.startswith("scene row 2: its symbols") for fault in faults)
        assert await archive.rebuild() == 4
        await right(archive)

    suite.use(lambda name: SqliteArchive(path=str(path)), body)


def test_a_damaged_archive_is_not_rebuilt(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    suite = ArchiveSuite()
    suite.use(lambda name: SqliteArchive(path=str(path)), lambda archive: archive.append(SCENES, LOG))
    path.write_bytes(path.read_bytes()[:-3000])

    async def body(archive: Archive) -> None:
        for write in (archive.rebuild(), archive.forget([SCENES[0].id], at=NOON)):
            with pytest.raises(ArchiveError, match="nothing is written to it"):
                await write

    suite.use(lambda name: SqliteArchive(path=str(path)), body)


def old(payload: dict[str, object]) -> dict[str, object]:
    """A payload of version 1: without what is filtered by since."""
    new = ("register", "code", "valence", "arousal", "dominance", "tension", "figures", "kind")
    return {name: value for name, value in payload.items() if name not in new} | {"code": None}


@pytest.mark.parametrize("kind", ["qdrant", "weaviate", "qdrant-edge"])
def test_points_of_an_older_version_are_written_again(store: Callable[[str], Archive], kind: str) -> None:
    from scenepipe.memory import points
    from scenepipe.memory.point_archive import PointArchive
    from scenepipe.memory.point_engine import INDEXED, Kind, Point

    archive = store(kind)
    assert isinstance(archive, PointArchive)

    def outdate() -> None:
        """Strip what version 1 did not have, through the engine itself."""
        engine = archive._opened()
        every: tuple[tuple[Kind, list[Point]], ...] = (
            ("scenes", [points.scene_point(scene, 1) for scene in SCENES]),
            ("encounters", [points.encounter_point(encounter) for encounter in LOG]),
        )
        for place, fresh in every:
            found = [Point(p.id, {**dict.fromkeys(INDEXED[place]), **old(dict(p.payload))}, p.terms, p.vector)
                     for p in fresh]  # fmt: skip
            engine.replace(place, found)

    async def main() -> None:
        await archive.open()
        await archive.append(SCENES, LOG)
        await archive._work(outdate)
        assert len((await archive.verify()).faults) == 8
        await archive.aclose()
        mark(archive)
        await archive.open()
        assert not archive._opened().outdated
        await right(archive)
        await archive.aclose()
        await archive.open()
        await right(archive)
        await archive.aclose()

    def mark(archive: PointArchive) -> None:
        """Say that version 1 wrote it."""
        if kind == "qdrant-edge":
            place = Path(archive.name) / "archive.json"
            place.write_text(json.dumps(json.loads(place.read_text()) | {"version": 1}))
        elif kind == "qdrant":
            from qdrant_client import QdrantClient

            with_url = QdrantClient(url=str(archive.url), check_compatibility=False)  # type: ignore[attr-defined]
            with_url.update_collection("scenepipe_scenes", metadata={"scenepipe": 1})
            with_url.close()
        else:
            client = archive.client()  # type: ignore[attr-defined]
            client.connect()
            client.collections.use("ScenepipeScenes").config.update(description="scenepipe archive 1")
            client.close()

    asyncio.run(main())
