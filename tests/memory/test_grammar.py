"""Hypertokens as the stores keep them: only new rows are read, others' writes and removals are seen, damage is named."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import pytest

from scenepipe.memory import point_grammar, points
from scenepipe.memory.point_engine import Engine, Payload, Point
from scenepipe.memory.point_grammar import Grammars
from scenepipe.memory.sqlite import SqliteArchive
from scenepipe.scene import Scene
from scenepipe.testing.archive_material import NOON, scene_of

T = TypeVar("T")
CHAIN = ("шаг", "тишина", "жар")


def scenes(count: int, first: int = 0, **rest: Any) -> list[Scene]:
    return [scene_of(f"текст {n}", linkage=CHAIN, **rest) for n in range(first, first + count)]


def chains(archive: SqliteArchive) -> Awaitable[list[tuple[str, ...]]]:
    async def ask() -> list[tuple[str, ...]]:
        return [token.chain for token in await archive.hypertokens()]

    return ask()


def use(path: Path, work: Callable[[SqliteArchive, SqliteArchive], Awaitable[T]]) -> T:
    """Two archives on one file, as two processes have them."""

    async def main() -> T:
        one, other = SqliteArchive(path=str(path)), SqliteArchive(path=str(path))
        await one.open()
        await other.open()
        try:
            return await work(one, other)
        finally:
            await one.aclose()
            await other.aclose()

    return asyncio.run(main())


def test_what_another_process_writes_and_forgets_is_seen(tmp_path: Path) -> None:
    async def work(one: SqliteArchive, other: SqliteArchive) -> None:
        rows = scenes(2)
        await one.append(rows[:1], [])
        assert await chains(one) == []
        await other.append(rows[1:], [])
        assert await chains(one) == [CHAIN]
        await other.forget([rows[0].id], at=NOON + timedelta(days=1))
        assert await chains(one) == []

    use(tmp_path / "a.db", work)


def test_nothing_new_gives_the_same_tuple_and_only_new_rows_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scenepipe.folding.grammar import Grammar

    put: list[str] = []
    whole = Grammar.put

    def counted(self: Grammar, scene_id: str, found: Any) -> None:
        put.append(scene_id)
        whole(self, scene_id, found)

    monkeypatch.setattr(Grammar, "put", counted)

    async def work(one: SqliteArchive, _: SqliteArchive) -> None:
        await one.append(scenes(5), [])
        first = await one.hypertokens()
        assert await one.hypertokens() is first
        assert len(put) == 5
        await one.append(scenes(1, 5), [])
        await one.hypertokens()
        assert len(put) == 6
        assert await one.hypertokens("чужой") == ()

    use(tmp_path / "a.db", work)


def test_damaged_chains_are_named_and_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.db"

    async def fill(one: SqliteArchive, _: SqliteArchive) -> None:
        await one.append(scenes(5), [])

    async def look(one: SqliteArchive, _: SqliteArchive) -> None:
        faults = (await one.verify()).faults
        assert await chains(one) == []
        assert len(faults) == 4
        assert all(
            "chains are not what they should be; 'scenepipe memory rebuild' repairs it" in each for each in faults
        )
        await one.rebuild()
        assert (await one.verify()).faults == ()
        assert await chains(one) == [CHAIN]

    use(path, fill)
    file = sqlite3.connect(path)
    file.execute('UPDATE chains SET chains = \'[["а", "б", "в"]]\' WHERE seq = 1')
    file.execute("DELETE FROM chains WHERE seq = 2")
    file.execute("UPDATE chains SET chains = '[[\"а\", 1]]' WHERE seq = 4")
    file.execute("UPDATE chains SET chains = '[[\"а\"' WHERE seq = 5")
    file.commit()
    file.close()
    use(path, look)


# --- Vector engines --------------------------------------------------------------------------------------------------


class Fake:
    """As much of an engine as a grammar asks, with a count of what was read."""

    def __init__(self, *, shared: bool) -> None:
        self.shared = shared
        self.rows: list[Payload] = []
        self.stones = 0
        self.read = 0

    def write(self, found: Sequence[Scene]) -> list[Point]:
        fresh = [points.scene_point(scene, 1) for scene in found]
        self.rows += [dict(point.payload) for point in fresh]
        return fresh

    def count(self, wheres: Sequence[Mapping[str, Sequence[str]]], kind: str = "scenes") -> list[int]:
        if kind == "encounters":
            return [self.stones for _ in wheres]
        return [sum(row["namespace"] in where["namespace"] for row in self.rows) for where in wheres]

    def select(self, kind: str, where: Mapping[str, Sequence[str]], fields: Sequence[str]) -> list[Payload]:
        found = [row for row in self.rows if row["namespace"] in where["namespace"]]
        self.read += len(found)
        return [{name: row[name] for name in fields} for row in found]


def asked(grammars: Grammars, fake: Fake, namespace: str = "default") -> list[tuple[str, ...]]:
    return [token.chain for token in grammars.hypertokens(cast(Engine, fake), namespace)]


@pytest.mark.parametrize("shared", [True, False])
def test_own_writes_are_counted_without_reading(shared: bool) -> None:
    fake, grammars = Fake(shared=shared), Grammars()
    assert asked(grammars, fake) == []
    grammars.wrote(fake.write(scenes(2)))
    assert asked(grammars, fake) == [CHAIN]
    assert fake.read == 0
    grammars.wrote(fake.write(scenes(2, namespace="чужой")))
    assert asked(grammars, fake, "чужой") == [CHAIN]
    assert fake.read == 2


def test_others_writes_and_removals_are_read_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, grammars = Fake(shared=True), Grammars()
    clock = [0.0]

    def tick() -> float:
        clock[0] += 1.0
        return clock[0]

    monkeypatch.setattr("scenepipe.memory.point_grammar.time", SimpleNamespace(monotonic=tick))
    fake.write(scenes(1))
    assert asked(grammars, fake) == []  # one reading took one second
    fake.write(scenes(1, 1))
    assert asked(grammars, fake) == []
    assert fake.read == 1
    clock[0] += point_grammar.PAUSE
    assert asked(grammars, fake) == [CHAIN]
    del fake.rows[0]
    fake.stones += 1
    clock[0] += 2 * point_grammar.PAUSE
    assert asked(grammars, fake) == []


def test_an_engine_of_one_process_is_read_once() -> None:
    fake, grammars = Fake(shared=False), Grammars()
    fake.write(scenes(2))
    assert asked(grammars, fake) == asked(grammars, fake) == [CHAIN]
    assert fake.read == 2
    grammars.clear()
    del fake.rows[0]
    assert asked(grammars, fake) == []


def test_the_latest_analysis_is_read() -> None:
    fake, grammars = Fake(shared=False), Grammars()
    fake.write(scenes(2))
    for row, scene in zip(list(fake.rows), scenes(2), strict=True):
        other = scene_of(scene.text, linkage=("дом",), analysers=("a@2",))
        fake.rows.insert(0, dict(points.scene_point(other, 2).payload))
        assert row["scene"] == other.id
    assert asked(grammars, fake) == []
