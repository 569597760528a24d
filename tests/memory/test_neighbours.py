"""The strength of neighbours, and what a store looks at when a symbol is very common."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenepipe.contracts import Archive
from scenepipe.memory import candidates
from scenepipe.memory.neighbours import MOST, Company, keys_to_count, strongest
from scenepipe.memory.sqlite import SqliteArchive
from scenepipe.testing.archive_suite import ArchiveSuite, scene_of


@given(st.integers(1, 50), st.data())
def test_scores_are_between_nothing_and_always(documents: int, data: st.DataObject) -> None:
    having = data.draw(st.integers(1, documents))
    count = data.draw(st.integers(1, documents))
    together = data.draw(st.integers(max(1, having + count - documents), max(1, min(having, count))))
    [found] = strongest(Company({"b": together}, having, having, documents), {"b": count}, 5)
    assert 0.0 <= found.score <= 1.0
    if together == having == count:
        assert found.score == pytest.approx(1.0)
    if together * documents <= having * count and not together == having == count == documents:
        assert found.score == pytest.approx(0.0, abs=1e-9)


def test_equals_are_ordered_by_how_often_then_by_key() -> None:
    company = Company({"г": 2, "б": 1, "в": 1}, 4, 4, 8)
    assert [each.key for each in strongest(company, {"г": 2, "в": 1, "б": 1}, 9)] == ["г", "б", "в"]


def test_of_very_many_keys_those_met_most_often_are_counted() -> None:
    together = {f"{n:03}": 1 + (n > 150) for n in range(300)} | {"спрошено": 9, "длинно" * 200: 9}
    kept = keys_to_count(Company(together, 9, 9, 9), ["спрошено"])
    assert len(kept) == MOST
    assert kept[:149] == [f"{n:03}" for n in range(151, 300)]
    assert kept[149:] == [f"{n:03}" for n in range(51)]


def test_of_a_very_common_symbol_the_newest_scenes_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The score is estimated as if the others were like them."""
    monkeypatch.setattr(candidates, "POSTINGS", 10)

    async def body(archive: Archive) -> None:
        old = [scene_of(f"старый {n}", ["быть", "давно"]) for n in range(30)]
        new = [scene_of(f"новый {n}", ["быть", "ныне"]) for n in range(10)]
        rest = [scene_of(f"прочее {n}", ["ныне"]) for n in range(40)]
        await archive.append([*old, *new, *rest], [])
        [found] = await archive.neighbours(["быть"])
        assert (found.key, found.together, found.count) == ("ныне", 10, 50)
        assert found.score == strongest(Company({"ныне": 40}, 40, 40, 80), {"ныне": 50}, 1)[0].score

    ArchiveSuite().use(lambda name: SqliteArchive(path=str(tmp_path / "a.db")), body)
