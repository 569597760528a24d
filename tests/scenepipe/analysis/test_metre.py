"""Metre by Bayes' rule, and the stress that a metre settles."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenepipe.analysis.metre import LONGEST_VERSE, METRES, OUTSIDE, Slot, scan, slot
from scenepipe.analysis.stress import Stress

KNOWN = 0.95


def line(pattern: str) -> list[Slot]:
    """``-+ +- x``: words by their stress; x is a word of one syllable."""
    return [slot(Stress(word.index("+"), KNOWN), len(word)) if "+" in word else Slot(1) for word in pattern.split()]


@pytest.mark.parametrize(
    ("metre", "pattern"),
    [
        ("iamb", "-+ -+- x -+"),
        ("trochee", "+- +- +- x"),
        ("dactyl", "+-- +-- +-- +-"),
        ("amphibrach", "-+- -+- -+- -+"),
        ("anapaest", "--+ --+ --+"),
    ],
)
def test_each_metre_is_found(metre: str, pattern: str) -> None:
    found = scan([line(pattern)] * 4)
    assert found.metre == metre
    assert found.confidence > 0.9


def test_one_line_is_not_enough_and_prose_has_no_metre() -> None:
    assert scan([line("+- +- +- x")]).metre is None
    prose = ["-+-- x +- --+-", "+- x -+ +--- -+-", "--+ +-- x -+", "x ---+- +- -+--"]
    assert scan([line(pattern) for pattern in prose]).metre is None


def test_a_line_that_strays_does_not_hide_the_metre() -> None:
    found = scan([*[line("-+ -+ -+ -+")] * 6, line("+- +- +- +-")])
    assert found.metre == "iamb"
    assert found.confidence < scan([line("-+ -+ -+ -+")] * 7).confidence
    assert found.lines[-1][0].chances[0] > 0.8, "its own words keep their stress"


def test_a_homograph_takes_the_sense_that_the_metre_asks_for() -> None:
    homograph = slot(Stress(1, 0.7, others=(0,)), 2)
    found = scan([[*line("+- +-"), homograph, *line("+-")], *[line("+- +- +- +-")] * 3])
    assert found.metre == "trochee"
    assert found.lines[0][2].chances[0] > 0.9


def test_what_the_text_marks_is_never_changed() -> None:
    marked = slot(Stress(1, 1.0), 2)
    found = scan([[*line("+- +-"), marked, *line("+-")], *[line("+- +- +- +-")] * 3])
    assert found.lines[0][2].chances == (0.0, 1.0)


def test_words_that_nobody_knows_prove_no_metre() -> None:
    unknown = [slot(Stress(), 2)] * 4
    assert scan([unknown] * 50).metre is None


def test_long_and_short_lines_say_nothing() -> None:
    assert scan([line("-+ " * LONGEST_VERSE)] * 4).metre is None
    assert scan([line("-+")] * 40).metre is None
    assert scan([[OUTSIDE, *line("-+ -+ -+")]] * 4).metre is None


def test_nothing_has_no_metre() -> None:
    assert scan([]).metre is None
    assert scan([[]]).lines == [[]]


words = st.integers(1, 6).flatmap(
    lambda size: st.builds(
        lambda place, confidence, others: slot(Stress(place, confidence, others), size),
        st.none() | st.integers(0, 7),
        st.floats(0.0, 1.0),
        st.lists(st.integers(0, 7), max_size=3, unique=True).map(tuple),
    )
)


@settings(deadline=None)
@given(st.lists(st.lists(words, max_size=8), max_size=8))
def test_chances_stay_chances(lines: list[list[Slot]]) -> None:
    found = scan(lines)
    assert found.metre is None or found.metre in METRES
    assert 0.0 <= found.confidence <= 1.0 + 1e-9
    assert [[word.size for word in line] for line in found.lines] == [[word.size for word in line] for line in lines]
    for word in (word for line in found.lines for word in line if word.chances):
        assert sum(word.chances) == pytest.approx(1.0)
        assert min(word.chances) >= 0.0
