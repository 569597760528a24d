"""The verse benchmark on two poems written for this."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.benchmarks.conftest import load

MARKED = (
    "Ти\u0301хо па\u0301дает звезда\u0301,\nСпи\u0301т за ме\u0301льницей вода\u0301,\n"
    "В ко\u0301мнатах уже\u0301 темно\u0301,\nВе\u0301тка тро\u0301гает окно\u0301.",
    "Я купи\u0300л себе\u0301 весы\u0301,\nПотеря\u0301лись и часы\u0301.",
)


@pytest.fixture(scope="module")
def verse() -> ModuleType:
    return load("verse")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "poems.json"
    plain = [marked.replace("\u0301", "") for marked in MARKED]
    rows = zip(plain, MARKED, ("AABB", "AA"), strict=True)
    path.write_text(json.dumps([{"poem_text": t, "accentuation_markup": m, "rhyme_scheme": s} for t, m, s in rows]))
    return path


def test_gold_stress_is_aligned_by_characters(verse: ModuleType, data: Path) -> None:
    long, short = sorted(verse.load(data), key=lambda poem: -poem.lines)
    assert not {"\u0300", "\u0301"} & set(long.text + short.text)
    assert long.stressed[:3] == [(0,), (0,), (1,)]
    assert short.stressed[:3] == [(), (), (1,)], "a grave mark is a second stress"
    assert [short.words[i].form for i in verse.counted(short)] == ["себе", "весы", "потерялись", "часы"]


def test_a_markup_of_another_text_is_refused(verse: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "poems.json"
    path.write_text(json.dumps([{"poem_text": "да", "accentuation_markup": "не\u0301т", "rhyme_scheme": "-"}]))
    with pytest.raises(ValueError, match="markup and text differ"):
        verse.load(path)


def test_the_table(
    verse: ModuleType, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["verse.py", str(data)])
    verse.main()
    printed = capsys.readouterr().out
    assert "2 poems" in printed
    assert "gruut-lang-ru@" in printed
    row = next(line for line in printed.splitlines() if "stress in verse" in line)
    assert "n=15" in row
    assert float(row.split()[3]) >= 0.9


def test_without_data_it_says_so(
    verse: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["verse.py"])
    verse.main()
    assert capsys.readouterr().out == "not measured: no data given\n"


def test_the_interval_holds_the_share(verse: ModuleType) -> None:
    low, high = verse.interval([(1, 2)] * 10 + [(2, 2)] * 10)
    assert low < 0.75 < high
    assert verse.interval([(1, 2)] * 10) == (0.5, 0.5)
