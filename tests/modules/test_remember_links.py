"""The links that the remember stage writes: which remembered scenes a scene called back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from scenepipe.context import Context, Resources
from scenepipe.contracts import Encounter
from scenepipe.graph import echoes, link_id
from scenepipe.memory.memory import MemoryArchive
from scenepipe.modules.recall import Recall
from scenepipe.modules.remember import Remember
from scenepipe.scene import Echo, Origin, Scene
from scenepipe.testing.archive_suite import scene_of


def remember(*scenes: Scene, runs: Sequence[str] = ("r",)) -> list[Encounter]:
    """The log after these scenes were remembered one after the other, in each of the runs."""

    async def main() -> list[Encounter]:
        archive = MemoryArchive()
        for run in runs:
            for scene in scenes:
                ctx = Context(Resources(archive=archive), run=run, pipeline="t", emit=lambda event: None)
                await Remember().run(scene, ctx)
        return list(await archive.encounters())

    return asyncio.run(main())


def links(log: Sequence[Encounter]) -> list[Encounter]:
    return [encounter for encounter in log if encounter.kind == "linked"]


OLD, OTHER = scene_of("Тихая вода.", ["вода"]), scene_of("Вода и камень.", ["вода", "камень"])
NEW = scene_of("Вода молчит.", ["вода"]).with_(
    origin=Origin(run="r", chat="чат", turn=2, user="u"),
    echoes=(
        Echo(scene_id=OLD.id, text=OLD.text, score=0.03, reasons=("shared symbols: вода",)),
        Echo(scene_id=OTHER.id, text=OTHER.text, score=0.01),
    ),
)


def test_every_echo_is_a_link_from_the_scene_that_called_it() -> None:
    found = sorted(links(remember(NEW)), key=lambda e: -e.data["score"])
    assert [(e.scene_id, e.data) for e in found] == [
        (NEW.id, {"relation": "echo", "to": OLD.id, "score": 0.03}),
        (NEW.id, {"relation": "echo", "to": OTHER.id, "score": 0.01}),
    ]
    assert {(e.chat, e.turn, e.user, e.run) for e in found} == {("чат", 2, "u", "r")}
    assert {e.id for e in found} == {link_id(NEW.id, "echo", other.id) for other in (OLD, OTHER)}


def test_a_pair_is_linked_once_however_often_it_meets() -> None:
    log = remember(NEW.with_(origin=Origin()), runs=("a", "b", "c"))
    assert len([e for e in log if e.kind == "met"]) == 3
    assert len(links(log)) == 2
    assert {e.run for e in links(log)} == {"a"}


def test_a_link_holds_no_text_of_the_other_scene() -> None:
    """What was forgotten must be gone everywhere; the other scene is named by its id alone."""
    said = "".join(link.model_dump_json() for link in links(remember(NEW)))
    assert "вода" not in said.lower()
    assert "камень" not in said.lower()


def test_a_scene_is_not_linked_to_itself() -> None:
    again = NEW.with_(echoes=(Echo(scene_id=NEW.id, text=NEW.text, score=0.04),))
    assert links(remember(again)) == []
    assert links(remember(NEW.with_(echoes=None))) == []


def test_what_recall_found_is_what_is_linked() -> None:
    async def main() -> list[Encounter]:
        archive = MemoryArchive()
        ctx = Context(Resources(archive=archive), run="r", pipeline="t", emit=lambda event: None)
        for scene in (OLD, OTHER, NEW.with_(echoes=None)):
            await Remember().run(await Recall(top_k=5).run(scene, ctx), ctx)
        return list(await archive.encounters())

    edges = {(edge.source, edge.target) for edge in echoes(asyncio.run(main()))}
    assert edges == {(OTHER.id, OLD.id), (NEW.id, OLD.id), (NEW.id, OTHER.id)}
