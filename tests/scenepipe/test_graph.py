"""Relations and what they are read from."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenepipe.contracts import Encounter
from scenepipe.graph import (
    INVERSE,
    Edge,
    Graph,
    Node,
    Relation,
    echoes,
    held,
    key_of,
    link_id,
    orders,
    symbol_id,
    turns,
)
from scenepipe.scene import Scene, Symbol
from scenepipe.testing.archive_suite import encounter_of, scene_of

RELATIONS: tuple[Relation, ...] = get_args(Relation)
EDGES = st.builds(
    Edge,
    source=st.sampled_from("abc"),
    target=st.sampled_from("abc"),
    relation=st.sampled_from(RELATIONS),
    weight=st.floats(0.0, 1.0),
    count=st.integers(1, 9),
)


def link(scene: Scene, data: dict[str, Any], name: str = "l") -> Encounter:
    return encounter_of(scene, name, kind="linked", data=data)


def steps(edges: list[Edge]) -> dict[tuple[str, str], int]:
    return {(edge.source, edge.target): edge.count for edge in edges}


# --- inverses ---


def test_every_relation_has_an_inverse_and_is_the_inverse_of_it() -> None:
    assert INVERSE.keys() == set(RELATIONS)
    for relation in RELATIONS:
        assert INVERSE[INVERSE[relation]] == relation
    assert [relation for relation in RELATIONS if INVERSE[relation] == relation] == ["beside"]


@given(edge=EDGES)
def test_an_edge_read_twice_from_its_other_end_is_itself(edge: Edge) -> None:
    assert edge.inverse.inverse == edge
    assert (edge.inverse.source, edge.inverse.target) == (edge.target, edge.source)
    assert (edge.inverse.weight, edge.inverse.count) == (edge.weight, edge.count)


@given(edges=st.lists(EDGES.filter(lambda edge: edge.source != edge.target), max_size=12))
def test_both_ends_read_the_same_facts(edges: list[Edge]) -> None:
    graph = Graph(namespace="n", nodes=(Node(id="a", kind="scene", label="a"),), edges=tuple(edges))
    for name in "abc":
        around = graph.around(name)
        assert all(edge.source == name for edge in around)
        assert len(around) == sum(name in (edge.source, edge.target) for edge in edges)
        assert {edge.inverse for edge in around} <= {e for edge in edges for e in (edge, edge.inverse)}


def test_an_edge_holds_its_bounds() -> None:
    for weight in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="weight"):
            Edge(source="a", target="b", relation="echo", weight=weight)


# --- what scenes say ---


def test_a_scene_holds_the_symbols_of_its_text_and_of_its_linkage() -> None:
    scene = scene_of("Не страх", ["не:страх"], linkage=["не:страх", "тишина", "вход"])
    silence = Symbol(lemma="тишина", language="ru", origin="encoder", score=0.4)
    edges = held(scene.with_(hyperscene=(silence,)))
    assert {key_of(edge.target): edge.weight for edge in edges} == {"не:страх": 0.0, "тишина": 0.4, "вход": 0.0}
    assert {(edge.source, edge.relation) for edge in edges} == {(scene.id, "holds")}
    assert symbol_id(key_of(edges[0].target)) == edges[0].target


def test_order_is_the_share_of_linkages_that_go_on_so() -> None:
    chains = (["шаг", "тишина"], ["шаг", "тишина", "вход"], ["шаг", "жар"], ["тишина", "шаг"])
    edges = {(key_of(e.source), key_of(e.target)): e for e in orders(scene_of(str(c), linkage=c) for c in chains)}
    assert {pair: (edge.weight, edge.count) for pair, edge in edges.items()} == {
        ("шаг", "тишина"): (0.5, 2),
        ("тишина", "вход"): (1 / 3, 1),
        ("шаг", "жар"): (0.25, 1),
        ("тишина", "шаг"): (1 / 3, 1),
    }
    assert {edge.relation for edge in edges.values()} == {"then"}


def test_a_symbol_that_is_repeated_does_not_lead_to_itself() -> None:
    (edge,) = orders([scene_of("эхо", linkage=["эхо", "эхо", "лес", "эхо", "лес"])])[:1]
    assert (edge.count, edge.weight) == (1, 1.0)


# --- what the log says ---


def test_an_echo_is_read_as_it_was_written() -> None:
    old, new = scene_of("Тихая вода."), scene_of("Вода молчит.")
    (edge,) = echoes([link(new, {"relation": "echo", "to": old.id, "score": 1 / 3})])
    assert (edge.source, edge.target, edge.relation, edge.count) == (new.id, old.id, "echo", 1)
    assert edge.weight == pytest.approx(1 / 3)
    assert edge.inverse.relation == "echoed by"


def test_an_echo_stands_once_however_often_it_is_written() -> None:
    old, new = scene_of("а"), scene_of("б")
    data = {"relation": "echo", "to": old.id}
    log = [link(new, data | {"score": score}, str(score)) for score in (0.04, 0.01)]
    assert [edge.weight for edge in echoes(log)] == [0.04]
    back = link(old, {"relation": "echo", "to": new.id})
    assert len(echoes([*log, back])) == 2


@pytest.mark.parametrize("score", ["1", None, True, math.nan, -1.0, [], {"a": 1}])
def test_a_score_that_is_none_weighs_nothing(score: object) -> None:
    one, other = scene_of("а"), scene_of("б")
    (edge,) = echoes([link(one, {"relation": "echo", "to": other.id, "score": score})])
    assert edge.weight == 0.0


@pytest.mark.parametrize("score", [math.inf, 5, 10**400])
def test_a_score_above_the_best_is_the_best(score: float) -> None:
    one, other = scene_of("а"), scene_of("б")
    (edge,) = echoes([link(one, {"relation": "echo", "to": other.id, "score": score})])
    assert edge.weight == 1.0


@pytest.mark.parametrize(
    "data", [{}, {"relation": "echo"}, {"relation": "echo", "to": 7}, {"relation": "x", "to": "y"}]
)
def test_a_link_that_says_nothing_is_passed_over(data: dict[str, Any]) -> None:
    scene = scene_of("а")
    assert echoes([link(scene, data)]) == []
    assert echoes([link(scene, {"relation": "echo", "to": scene.id})]) == []
    assert echoes([encounter_of(scene, "m", data={"relation": "echo", "to": "b"})]) == []


def test_the_turns_of_a_chat_follow_each_other() -> None:
    a, b, c = (scene_of(text) for text in "абв")
    log = [encounter_of(s, f"m{i}", minutes=i, chat="чат", turn=i) for i, s in enumerate((a, b, c, a, b), 1)]
    assert steps(turns(log, {a.id})) == {(a.id, b.id): 2, (b.id, c.id): 1, (c.id, a.id): 1}
    assert {edge.relation for edge in turns(log, {a.id})} == {"next"}


def test_an_edited_turn_goes_on_from_where_it_branched() -> None:
    a, b, c, other = (scene_of(text) for text in ("а", "б", "в", "г"))
    first = encounter_of(a, "1", minutes=1, chat="чат", turn=1)
    second = encounter_of(b, "2", minutes=2, chat="чат", turn=2, data={"parent": first.id})
    third = encounter_of(c, "3", minutes=3, chat="чат", turn=3, data={"parent": second.id})
    edited = encounter_of(other, "4", minutes=4, chat="чат", turn=2, data={"parent": first.id})
    found = steps(turns([first, second, third, edited], {a.id}))
    assert found == {(a.id, b.id): 1, (b.id, c.id): 1, (a.id, other.id): 1}


def test_chats_are_told_apart_by_name_and_namespace() -> None:
    a, b = scene_of("а"), scene_of("б")
    far = scene_of("а", namespace="чужой")
    log = [
        encounter_of(a, "1", minutes=1, chat="x", turn=1),
        encounter_of(b, "2", minutes=2, chat="y", turn=2),
        encounter_of(far, "3", minutes=3, chat="x", turn=2),
        encounter_of(b, "4", minutes=4),
    ]
    assert turns(log, {a.id, b.id}) == []
    together = [*log, encounter_of(b, "5", minutes=5, chat="x", turn=2)]
    assert steps(turns(together, {a.id})) == {(a.id, b.id): 1}
    assert turns(together, {far.id}) == []
    assert turns(together, set()) == []


def test_a_link_has_one_id_for_its_pair_and_direction() -> None:
    assert link_id("a", "echo", "b") == link_id("a", "echo", "b")
    assert len({link_id(*row) for row in (("a", "echo", "b"), ("b", "echo", "a"), ("a", "next", "b"))}) == 3
