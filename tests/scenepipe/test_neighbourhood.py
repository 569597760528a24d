"""What lies around a scene and around a symbol."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from scenepipe.contracts import Archive
from scenepipe.graph import Edge, Graph, link_id, symbol_id
from scenepipe.memory.memory import MemoryArchive
from scenepipe.neighbourhood import EDGES_PER_NODE, MOST_NODES, around_scene, around_symbol
from scenepipe.scene import Scene
from scenepipe.testing.archive_suite import NOON, encounter_of, scene_of

T = TypeVar("T")

STEP = scene_of("Шаг по снегу", ["шаг", "снег"], linkage=["шаг", "снег", "тишина"])
SNOW = scene_of("Снег и шаг", ["снег", "шаг"], linkage=["снег", "шаг"])
HOUSE = scene_of("Тишина в доме", ["тишина", "дом"], linkage=["тишина", "дом"])
FEAR = scene_of("Не страх", ["не:страх"], linkage=["не:страх"])
FAR = scene_of("Шаг и море", ["шаг", "море"], linkage=["шаг", "море"], namespace="чужой")
LOG = [
    encounter_of(STEP, "1", minutes=1, chat="чат", turn=1),
    encounter_of(FEAR, "2", minutes=2, chat="чат", turn=2),
    encounter_of(SNOW, "3", kind="linked", data={"relation": "echo", "to": STEP.id, "score": 1.0}),
    encounter_of(STEP, "4", kind="linked", data={"relation": "echo", "to": HOUSE.id, "score": 0.5}),
]


def ask(work: Callable[[Archive], Awaitable[T]]) -> T:
    async def main() -> T:
        archive = MemoryArchive()
        await archive.append([STEP, SNOW, HOUSE, FEAR, FAR], LOG)
        return await work(archive)

    return asyncio.run(main())


def labels(graph: Graph) -> dict[str, str]:
    return {node.id: node.label for node in graph.nodes}


def facts(graph: Graph, centre: str | None = None) -> set[tuple[str, str, str]]:
    """What is said of the centre, or of another node, read from it."""
    names = labels(graph)
    return {(e.relation, names[e.target], f"{e.weight:.2f}") for e in graph.around(centre or graph.centre.id)}


def test_around_a_scene_stand_its_symbols_and_the_scenes_linked_to_it() -> None:
    graph = ask(lambda archive: around_scene(archive, STEP))
    assert graph.centre.label == STEP.text
    found = {(relation, label) for relation, label, _ in facts(graph)}
    assert found == {
        ("holds", "шаг"),
        ("holds", "снег"),
        ("holds", "тишина"),
        ("echo", HOUSE.text),
        ("echoed by", SNOW.text),
        ("next", FEAR.text),
    }
    assert ("echoed by", SNOW.text, "1.00") in facts(graph)
    assert ("echo", HOUSE.text, "0.50") in facts(graph)
    assert facts(graph, FEAR.id) >= {("before", STEP.text, "1.00")}
    assert graph.left_out == 0


def test_around_a_scene_are_also_scenes_that_share_its_symbols() -> None:
    alone = scene_of("Шаг, снег", ["шаг", "снег"])

    async def work(archive: Archive) -> Graph:
        await archive.append([alone], [])
        return await around_scene(archive, alone)

    graph = ask(work)
    names = labels(graph)
    assert {STEP.id, SNOW.id} <= names.keys()
    assert FEAR.id not in names
    assert ("held by", STEP.text) in {(r, label) for r, label, _ in facts(graph, symbol_id("снег"))}


def test_around_a_symbol_stand_neighbours_order_and_the_scenes_that_hold_it() -> None:
    graph = ask(lambda archive: around_symbol(archive, "шаг"))
    found = facts(graph)
    assert {(relation, label) for relation, label, _ in found} == {
        ("beside", "снег"),
        ("then", "снег"),
        ("after", "снег"),
        ("held by", STEP.text),
        ("held by", SNOW.text),
    }
    assert ("then", "снег", "0.50") in found
    (beside,) = [e for e in graph.around(graph.centre.id) if (e.relation, e.target) == ("beside", symbol_id("снег"))]
    assert beside.count == 2
    assert ("echo", STEP.text, "1.00") in facts(graph, SNOW.id), "links between the scenes that are shown"


def test_polarity_is_another_symbol() -> None:
    assert [node.label for node in ask(lambda archive: around_symbol(archive, "не:страх")).nodes[1:]] == [FEAR.text]
    assert ask(lambda archive: around_symbol(archive, "страх")).edges == ()


def test_a_namespace_shows_nothing_of_another() -> None:
    here = ask(lambda archive: around_symbol(archive, "шаг"))
    there = ask(lambda archive: around_symbol(archive, "шаг", namespace="чужой"))
    assert FAR.id not in labels(here)
    assert set(labels(there).values()) == {"шаг", "море", FAR.text}

    async def linked(archive: Archive) -> Graph:
        await archive.append([], [encounter_of(STEP, "5", kind="linked", data={"relation": "echo", "to": FAR.id})])
        return await around_scene(archive, STEP)

    assert FAR.id not in labels(ask(linked))


def test_what_was_forgotten_is_not_shown_though_a_link_names_it() -> None:
    async def work(archive: Archive) -> Graph:
        await archive.forget([HOUSE.id], at=NOON + timedelta(hours=1))
        return await around_scene(archive, STEP)

    graph = ask(work)
    assert HOUSE.id not in labels(graph)
    assert all({e.source, e.target} <= labels(graph).keys() for e in graph.edges)


def test_it_is_derived_and_the_same_after_everything_is_made_anew() -> None:
    async def work(archive: Archive) -> tuple[Graph, Graph]:
        before = await around_symbol(archive, "шаг")
        await archive.rebuild()
        return before, await around_symbol(archive, "шаг")

    before, after = ask(work)
    assert before == after
    assert before == ask(lambda archive: around_symbol(archive, "шаг"))


def test_reading_writes_nothing() -> None:
    async def work(archive: Archive) -> tuple[int, int]:
        await around_scene(archive, STEP)
        await around_symbol(archive, "шаг")
        found = await archive.verify()
        return found.scenes, found.encounters

    assert ask(work) == (5, len(LOG))


def many(count: int) -> list[Scene]:
    return [scene_of(f"Дом {n}", ["дом", f"слово{n}"], linkage=["дом", f"слово{n}"]) for n in range(count)]


def test_a_graph_is_bounded_and_counts_what_it_leaves_out() -> None:
    async def work(archive: Archive) -> list[Graph]:
        await archive.append(many(60), [])
        return [await around_symbol(archive, "дом", most=most) for most in (1, 2, 9, 500)]

    for graph, most in zip(ask(work), (1, 2, 9, MOST_NODES), strict=True):
        assert len(graph.nodes) == most
        assert len(graph.edges) <= EDGES_PER_NODE * most
        assert graph.left_out > 0
        kinds = [node.kind for node in graph.nodes[1:]]
        assert abs(kinds.count("scene") - kinds.count("symbol")) <= 1


def test_scenes_take_the_room_that_symbols_leave() -> None:
    same = [scene_of(f"Дом {'о' * n}", ["дом"]) for n in range(20)]

    async def work(archive: Archive) -> Graph:
        await archive.append(same, [])
        return await around_symbol(archive, "дом", most=11)

    kinds = [node.kind for node in ask(work).nodes[1:]]
    assert (kinds.count("symbol"), kinds.count("scene")) == (1, 9)


def test_edges_at_the_centre_come_first_and_none_stands_twice() -> None:
    graph = ask(lambda archive: around_scene(archive, STEP))
    touching = [graph.centre.id in (edge.source, edge.target) for edge in graph.edges]
    assert touching == sorted(touching, reverse=True)
    assert len({(e.source, e.target, e.relation) for e in graph.edges}) == len(graph.edges)
    weights = [edge.weight for edge, near in zip(graph.edges, touching, strict=True) if near]
    assert weights == sorted(weights, reverse=True)


def test_a_scene_that_nothing_is_near_stands_alone() -> None:
    empty = scene_of("🙂")

    async def work(archive: Archive) -> Graph:
        await archive.append([empty], [])
        return await around_scene(archive, empty)

    graph = ask(work)
    assert [node.id for node in graph.nodes] == [empty.id]
    assert graph.edges == ()


def test_links_that_remember_writes_are_found_from_both_ends() -> None:
    one, other = scene_of("Один"), scene_of("Другой")

    async def work(archive: Archive) -> tuple[tuple[Edge, ...], tuple[Edge, ...]]:
        link = encounter_of(one, "l", kind="linked", data={"relation": "echo", "to": other.id, "score": 0.02})
        await archive.append([one, other], [link.model_copy(update={"id": link_id(one.id, "echo", other.id)})])
        return (await around_scene(archive, one)).edges, (await around_scene(archive, other)).edges

    mine, theirs = ask(work)
    assert mine == theirs
    assert [edge.relation for edge in mine] == ["echo"]
