"""What is filtered by, and the filters."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from scenepipe.contracts import Query
from scenepipe.facets import answers, asks_encounters, conditions_of, facets_of, meets, moment
from scenepipe.testing.archive_filters import coloured
from scenepipe.testing.archive_suite import NOON, encounter_of, scene_of


def test_facets_are_what_is_known() -> None:
    scene = coloured(scene_of("шаг"), {"poet": 0.5, "body": 0.0}, 41, valence=-0.5, tension=0.75)
    assert facets_of(scene) == {"register:poet": 0.5, "code:Δ41@c1": 0.25, "valence": -0.5, "tension": 0.75}
    bare = scene_of("шаг").with_(registers=None)
    assert facets_of(bare) == {}


def test_every_condition_has_to_be_met() -> None:
    query = Query(registers=("poet", "body"), codes=("Δ1@c1",), ranges={"valence": (-0.5, 0.5)})
    good = {"register:body": 0.1, "code:Δ1@c1": 0.0, "valence": 0.5}
    assert meets(conditions_of(query), good)
    for name in good:
        assert not meets(conditions_of(query), {key: value for key, value in good.items() if key != name})
    assert not meets(conditions_of(query), good | {"valence": 0.501})
    assert meets(conditions_of(Query()), {})


@pytest.mark.parametrize(
    ("filters", "asks"),
    [({}, False), ({"chat": ""}, True), ({"kinds": ("met",)}, True), ({"since": NOON}, True), ({"until": NOON}, True),
     ({"registers": ("poet",)}, False)],
)  # fmt: skip
def test_which_filters_look_at_encounters(filters: dict[str, object], asks: bool) -> None:
    assert asks_encounters(Query.model_validate(filters)) is asks


def test_one_encounter_has_to_answer_all() -> None:
    met = encounter_of(scene_of("шаг"), "1", chat="a")
    query = Query(chat="a", kinds=("met",), since=NOON, until=NOON)
    assert answers(query, met)
    others = ({"chat": "b"}, {"kind": "spoken"}, {"namespace": "x"}, {"at": NOON + timedelta(seconds=1)})
    for change in (*others, {"at": NOON - timedelta(seconds=1)}):
        assert not answers(query, met.model_copy(update=change))


def test_a_time_without_a_zone_is_utc() -> None:
    assert moment(datetime(2026, 5, 1, 12)) == moment(datetime(2026, 5, 1, 14, tzinfo=timezone(timedelta(hours=2))))
