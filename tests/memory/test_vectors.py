"""Exact vector search agrees with a plain loop."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenepipe.memory.vectors import SIMILARITY_FLOOR, VectorIndex, by_scene

ROW = st.lists(st.integers(-128, 127), min_size=3, max_size=3)


def stored(row: list[int]) -> bytes:
    return bytes(value % 256 for value in row)


def cosine(a: list[int], b: list[int]) -> float:
    length = math.hypot(*a) * math.hypot(*b)
    return sum(x * y for x, y in zip(a, b, strict=True)) / length if length else 0.0


@given(st.lists(ROW, max_size=30), ROW, st.integers(1, 40))
def test_search_is_exact(rows: list[list[int]], asked: list[int], limit: int) -> None:
    index: VectorIndex[str] = VectorIndex()
    for start in range(0, len(rows), 7):
        part = rows[start : start + 7]
        index.add([str(start + n) for n in range(len(part))], [stored(row) for row in part])
    found = index.search(stored(asked), limit)
    expected = {str(n): cosine(row, asked) for n, row in enumerate(rows)}
    sure, maybe = (sum(value > SIMILARITY_FLOOR + shift for value in expected.values()) for shift in (1e-5, -1e-5))
    assert min(limit, sure) <= len(found) <= min(limit, maybe)
    nearest = sorted(expected.values(), reverse=True)[: len(found)]
    assert list(found.values()) == pytest.approx(nearest, abs=1e-5)
    assert [expected[name] for name in found] == pytest.approx(nearest, abs=1e-5)


def test_only_allowed_ids_are_found() -> None:
    index: VectorIndex[str] = VectorIndex()
    index.add(["a", "b", "c"], [b"\x64\x00", b"\x64\x01", b"\x64\x02"])
    assert list(index.search(b"\x64\x00", 1, lambda keys: {"b", "c"})) == ["b"]
    assert index.search(b"\x64\x00", 5, lambda keys: set()) == {}


def test_the_nearest_are_asked_about_first_and_no_more_than_needed() -> None:
    index: VectorIndex[int] = VectorIndex()
    index.add(range(1000), [bytes([100, n % 100]) for n in range(1000)])
    asked: list[int] = []

    def odd(keys: Sequence[int]) -> set[int]:
        asked.extend(keys)
        return {key for key in keys if key % 2}

    assert list(index.search(b"\x64\x00", 12, odd)) == [*range(1, 1000, 100), 3, 103]
    assert len(asked) == 200


def test_analyses_of_a_scene_are_joined() -> None:
    assert by_scene({("a", 2): 0.9, ("b", 1): 0.8, ("a", 1): 0.7}) == {"a": 0.9, "b": 0.8}


def test_only_rows_of_the_same_length_are_compared() -> None:
    index: VectorIndex[str] = VectorIndex()
    index.add(["a", "b", "c"], [b"\x64\x00", b"\x64", b"\x64\x01"])
    assert len(index) == 3
    assert list(index.search(b"\x64\x00", 5)) == ["a", "c"]
    assert list(index.search(b"\x64", 5)) == ["b"]
    assert index.search(b"\x64\x00\x00", 5) == {}


def test_two_analyses_of_a_scene_count_once() -> None:
    index: VectorIndex[str] = VectorIndex()
    index.add(["a", "a"], [b"\x64\x00", b"\x64\x20"])
    assert list(index.search(b"\x64\x20", 5).items())[0][0] == "a"
    assert len(index.search(b"\x64\x20", 5)) == 1
