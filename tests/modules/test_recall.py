"""The recall stage: echoes with reasons and replies, resonance from meetings alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import scenepipe.modules.recall as recall_module
from scenepipe.contracts import Context, Encounter, Resources
from scenepipe.memory.memory import MemoryArchive
from scenepipe.modules.recall import Recall
from scenepipe.modules.remember import Remember
from scenepipe.scene import Origin, Receipt, Reply, Scene
from scenepipe.testing.archive_suite import encounter_of, scene_of

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Clock:
    """Stands in for `datetime` in the stages."""

    def __init__(self) -> None:
        self.at = NOON

    def now(self, zone: object) -> datetime:
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(recall_module, "datetime", found)
    monkeypatch.setattr("scenepipe.modules.remember.datetime", found)
    return found


def context(archive: MemoryArchive, run: str = "now") -> Context:
    return Context(Resources(archive=archive), run=run, pipeline="test", emit=lambda event: None)


def recalled(
    scene: Scene, stored: Sequence[Scene], log: Sequence[Encounter] = (), run: str = "now", **options: Any
) -> Scene:
    async def main() -> Scene:
        archive = MemoryArchive()
        await archive.append(stored, log)
        before = [record async for record in archive.export()]
        done = await Recall(**options).run(scene, context(archive, run))
        assert before == [record async for record in archive.export()]
        return done

    return asyncio.run(main())


def texts(scene: Scene) -> list[str]:
    assert scene.echoes is not None
    return [echo.text for echo in scene.echoes]


def receipt() -> Receipt:
    return Receipt(backend="fake", model="m", mode="exact", prompt_version=1, prompt_sha256="0" * 64)


def test_it_declares_what_it_does() -> None:
    assert Recall.reads == {"linkage", "symbols"}
    assert Recall.writes == {"echoes", "resonance"}
    assert Recall.needs == {"archive"}
    assert getattr(Recall, "explains", True)


def test_a_first_meeting_has_no_strength(clock: Clock) -> None:
    done = recalled(scene_of("шаг", ["шаг"]), [])
    assert done.echoes == ()
    assert done.resonance is not None
    assert (done.resonance.strength, done.resonance.encounters, done.resonance.last) == (None, 0, None)


@pytest.mark.parametrize("gaps", [[1, 1, 1, 1], [0, 0, 0], [3, 5, 2, 9], [1, 30, 2], [60, 90, 120], [86_400, 86_400]])
def test_the_same_text_again_resonates_more(clock: Clock, gaps: list[int]) -> None:
    async def main() -> list[float | None]:
        archive, found = MemoryArchive(), []
        for number, gap in enumerate([0, *gaps]):
            clock.at += timedelta(seconds=gap)
            scene, ctx = (
                scene_of("Почему я не чувствую шаг в себе?", ["не:чувствовать", "шаг"]),
                context(archive, f"run {number}"),
            )
            done = await Remember().run(await Recall().run(scene, ctx), ctx)
            assert done.resonance is not None
            found.append(done.resonance.strength)
        return found

    first, *later = asyncio.run(main())
    assert first is None
    assert None not in later
    assert later == sorted(set(later))  # type: ignore[type-var]


def test_a_scene_met_before_is_its_own_first_echo(clock: Clock) -> None:
    scene = scene_of("Ёлка", ["елка"], linkage=["елка"])
    other = scene_of("Другая ёлка", ["елка"], linkage=["елка"])
    done = recalled(scene, [other, scene], [encounter_of(scene, "1"), encounter_of(other, "2")])
    assert texts(done) == ["Ёлка", "Другая ёлка"]
    assert done.echoes is not None
    assert done.echoes[0].reasons == ("same words",)
    assert done.echoes[0].linkage == ("елка",)
    assert done.echoes[0].score > done.echoes[1].score


def test_a_scene_stored_but_never_met_is_not_its_own_echo(clock: Clock) -> None:
    scene = scene_of("шаг", ["шаг"])
    assert texts(recalled(scene, [scene, scene_of("шаг назад", ["шаг"])])) == ["шаг назад"]


def test_running_a_row_again_sees_what_it_saw_the_first_time(clock: Clock) -> None:
    scene = scene_of("шаг", ["шаг"]).with_(reply=Reply(text="ответ", receipt=receipt()))

    async def main() -> list[Scene]:
        archive = MemoryArchive()
        ctx = context(archive)
        first = await Recall().run(scene, ctx)
        await Remember().run(first, ctx)
        return [first, await Recall().run(scene, ctx)]

    first, again = asyncio.run(main())
    assert (first.echoes, first.resonance) == (again.echoes, again.resonance)


def test_spellings_resonate_together(clock: Clock) -> None:
    scene = scene_of("Ёлка.", ["елка"])
    twins = [scene_of("елка.", ["елка"]), scene_of("ЕЛКА.", ["елка"]), scene_of("Ёлка .", ["елка"])]
    log = [encounter_of(twin, str(n)) for n, twin in enumerate(twins)]
    for options in ({}, {"top_k": 0}, {"top_k": 1}):
        done = recalled(scene, twins, log, **options)
        assert done.resonance is not None
        assert done.resonance.encounters == 2


def test_what_the_system_said_strengthens_nothing(clock: Clock) -> None:
    scene = scene_of("шаг", ["шаг"])
    met = encounter_of(scene, "1", minutes=-60)
    noise = [encounter_of(scene, kind, kind=kind, data={"text": "x"}) for kind in ("spoken", "linked", "forgotten")]
    plain = recalled(scene, [scene], [met]).resonance
    assert plain == recalled(scene, [scene], [met, *noise]).resonance
    assert plain is not None
    assert plain.last == met.at
    silent = recalled(scene, [scene], noise).resonance
    assert silent is not None
    assert silent.strength is None


def test_an_echo_brings_its_latest_reply_and_meeting(clock: Clock) -> None:
    old = scene_of("шаг назад", ["шаг"], linkage=["шаг"])
    log = [
        encounter_of(old, "1", minutes=-9),
        encounter_of(old, "2", kind="spoken", minutes=-8, data={"text": "первый"}),
        encounter_of(old, "3", kind="spoken", minutes=-2, data={"text": "второй"}),
        encounter_of(old, "4", minutes=-3),
    ]
    (echo,) = recalled(scene_of("шаг", ["шаг"]), [old], log).echoes or ()
    assert (echo.reply, echo.met) == ("второй", log[3].at)
    (echo,) = recalled(scene_of("шаг", ["шаг"]), [old]).echoes or ()
    assert (echo.reply, echo.met) == (None, None)


def test_the_vector_proposes(clock: Clock) -> None:
    old = scene_of("A fir tree", ["tree"], vector=[100, 0, 20])
    (echo,) = recalled(scene_of("Ёлка", ["елка"], vector=[100, 10, 0]), [old]).echoes or ()
    assert echo.reasons == ("near in meaning: 0.98",)
    assert recalled(scene_of("Ёлка", ["елка"]), [old]).echoes == ()


def test_top_k_and_min_score(clock: Clock) -> None:
    stored = [scene_of(f"шаг {n}", ["шаг"]) for n in range(6)]
    scene = scene_of("шаг", ["шаг"])
    assert len(recalled(scene, stored).echoes or ()) == 3
    assert len(recalled(scene, stored, top_k=5).echoes or ()) == 5
    assert recalled(scene, stored, top_k=0).echoes == ()
    best = (recalled(scene, stored).echoes or ())[0].score
    assert len(recalled(scene, stored, min_score=best).echoes or ()) == 1
    assert recalled(scene, stored, min_score=1.0).echoes == ()


def test_within_chat(clock: Clock) -> None:
    here, there = scene_of("шаг здесь", ["шаг"]), scene_of("шаг там", ["шаг"])
    scene = scene_of("шаг", ["шаг"])
    log = [encounter_of(here, "1", chat="a"), encounter_of(there, "2", chat="b")]
    log += [encounter_of(scene, "3", chat="b"), encounter_of(scene, "4", chat="a"), encounter_of(scene, "5", chat="b")]
    asked = scene.with_(origin=Origin(chat="a"))
    everywhere = recalled(asked, [here, there, scene], log)
    assert set(texts(everywhere)) == {"шаг", "шаг здесь", "шаг там"}
    inside = recalled(asked, [here, there, scene], log, within="chat")
    assert texts(inside) == ["шаг", "шаг здесь"]
    assert [r.encounters for r in (everywhere.resonance, inside.resonance) if r] == [3, 1]
    outside = recalled(scene, [here, there, scene], log, within="chat")
    assert outside.echoes == ()


def test_an_unanalysed_scene_is_recalled_by_its_words(clock: Clock) -> None:
    bare = scene_of("шаг").with_(symbols=None, linkage=None, field=None, analysis=None)
    assert texts(recalled(bare, [bare], [encounter_of(bare, "1")])) == ["шаг"]
