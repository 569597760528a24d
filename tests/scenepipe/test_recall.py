"""What archives share: fusion, comparison, resonance, hypertokens."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenepipe.contracts import Query
from scenepipe.recall import (
    Proposals,
    activation,
    archived,
    fuse,
    lemma_of,
    operation_id,
    rank,
    reasons,
    resonance,
    symbol_keys,
)
from scenepipe.scene import Origin
from scenepipe.testing.archive_suite import query_of, scene_of

NOW = datetime(2026, 5, 1, tzinfo=UTC)
YEARS = st.floats(-1e6, 1e9)


def strength(*ages: float) -> float:
    found = resonance([NOW - timedelta(seconds=age) for age in ages], NOW).strength
    assert found is not None
    return found


# --- Resonance -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ages", "expected"),
    [
        ([1], 0.0),
        ([0], 0.0),
        ([-5], 0.0),
        ([100], -math.log(10)),
        ([1, 1, 1, 1], math.log(4)),
        ([4, 16], math.log(0.75)),
    ],
)
def test_activation_is_the_base_level_equation(ages: list[float], expected: float) -> None:
    assert activation(ages) == pytest.approx(expected)


def test_activation_of_nothing() -> None:
    assert activation([]) == -math.inf


def test_strengths_are_spread_over_the_unit_interval() -> None:
    hour, day, year = 3600, 86_400, 365 * 86_400
    spread = [strength(year), strength(day), strength(hour), strength(1), strength(*range(1, 11))]
    assert spread == pytest.approx([0.123, 0.5, 0.743, 0.840, 0.961], abs=0.001)


def test_never_met_is_unknown() -> None:
    assert resonance([], NOW).model_dump() == {"strength": None, "encounters": 0, "last": None}


def test_the_last_meeting_is_the_latest() -> None:
    times = [NOW, NOW - timedelta(days=3), NOW - timedelta(days=1)]
    assert resonance(times, NOW).last == NOW
    assert resonance(times, NOW).encounters == 3


@given(st.lists(YEARS, min_size=1, max_size=30), YEARS)
def test_an_encounter_more_never_lowers_strength(ages: list[float], another: float) -> None:
    assert strength(*ages, another) >= strength(*ages)
    assert 0.0 < strength(*ages) < 1.0


@given(st.lists(st.floats(0.0, 60.0), min_size=1, max_size=9))
def test_every_run_within_ten_minutes_is_stronger_than_the_one_before(gaps: list[float]) -> None:
    times, found = [NOW], []
    for gap in gaps:
        now = times[-1] + timedelta(seconds=gap)
        found.append(resonance(times, now).strength or 0.0)
        times.append(now)
    assert all(later > earlier for earlier, later in pairwise(found))


@given(st.lists(YEARS, min_size=1, max_size=10), st.floats(0.0, 1e8))
def test_strength_only_fades_while_nothing_happens(ages: list[float], wait: float) -> None:
    assert strength(*(age + wait for age in ages)) <= strength(*ages)


@given(st.lists(YEARS, min_size=1, max_size=10).flatmap(lambda ages: st.tuples(st.just(ages), st.permutations(ages))))
def test_the_order_of_the_log_does_not_matter(pair: tuple[list[float], list[float]]) -> None:
    assert strength(*pair[0]) == strength(*pair[1])


# --- Ranking ---------------------------------------------------------------------------------------------------------


def test_fusion_by_reciprocal_rank() -> None:
    assert fuse([["a", "b"], ["b"], ["c"]]) == pytest.approx({"a": 0.25, "b": 0.25 * 6 / 7 + 0.25, "c": 0.5})
    assert fuse([["a"], ["a"], ["a"]]) == {"a": 1.0}
    assert fuse([["a", "b"]], shares=[7.0]) == pytest.approx({"a": 7.0, "b": 6.0})


def test_nothing_outranks_the_same_words() -> None:
    itself = scene_of("шаг", ["шаг"])
    crowd = [scene_of(f"шаг {n}", ["шаг"]) for n in range(5)]
    scenes = {scene.id: scene for scene in (itself, *crowd)}
    others = [scene.id for scene in crowd]
    proposals = Proposals(same=[itself.id], symbols=others, words=others, near=dict.fromkeys(others, 1.0))
    hits = rank(query_of(itself), proposals, lambda ids: {i: scenes[i] for i in ids})
    assert hits[0].scene == itself
    assert hits[0].score == max(hit.score for hit in hits) == pytest.approx(1.0)


def test_a_proposal_without_a_reason_is_dropped() -> None:
    claimed = scene_of("дом", ["дом"], linkage=["дом"])
    proposals = Proposals(same=[claimed.id], symbols=[claimed.id], words=[claimed.id])
    query = query_of(scene_of("шаг", ["шаг"], linkage=["шаг"]))
    assert rank(query, proposals, lambda ids: {claimed.id: claimed}) == ()


def test_scenes_that_cannot_be_read_are_passed_over() -> None:
    scenes = {scene.id: scene for scene in (scene_of(f"шаг {n}", ["шаг"]) for n in range(9))}
    names = list(scenes)
    query = Query(symbols=("шаг",), limit=3)
    hits = rank(query, Proposals(symbols=names), lambda ids: {i: scenes[i] for i in ids if i not in names[:4]})
    assert [hit.scene.id for hit in hits] == names[4:7]


def test_long_reasons_are_cut() -> None:
    words = [f"слово{n}" for n in range(15)]
    (why,) = reasons(Query(symbols=tuple(words)), scene_of("текст", words))
    assert why == "shared symbols: " + ", ".join(words[:12]) + " (+3)"


# --- Keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "lemma"),
    [
        ("шаг", "шаг"),
        ("не:шаг", "шаг"),
        ("not:step", "step"),
        ("a:b", "a:b"),
        ("не:", "не:"),
        ("не:a:b", "a:b"),
        ("", ""),
    ],
)
def test_lemma_of_a_key(key: str, lemma: str) -> None:
    assert lemma_of(key) == lemma


def test_symbol_keys_join_text_and_linkage() -> None:
    assert symbol_keys(scene_of("x", ["не:шаг", "дом"], linkage=["дом", "тишина"])) == ("не:шаг", "дом", "тишина")


def test_an_operation_is_a_row_of_a_run() -> None:
    scene = scene_of("шаг")
    row = scene.with_(origin=Origin(row=1))
    ids = {operation_id(s, run, kind) for s in (scene, row) for run in ("a", "b") for kind in ("met", "spoken")}  # type: ignore[arg-type]
    assert len(ids) == 8
    assert operation_id(scene, "a", "met") == operation_id(scene, "a", "met")


def test_archived_twice_is_archived_once() -> None:
    scene = scene_of("шаг", ["шаг"], namespace="дом").with_(outputs={"text": "x"}, echoes=())
    assert archived(archived(scene)) == archived(scene) == scene_of("шаг", ["шаг"], namespace="дом")
