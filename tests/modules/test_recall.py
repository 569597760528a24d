"""The recall stage: echoes with reasons and replies, resonance from meetings alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import scenepipe.modules.recall as recall_module
from scenepipe.config import parse_config
from scenepipe.context import Context, Resources
from scenepipe.contracts import Encounter
from scenepipe.errors import ConfigError
from scenepipe.memory.memory import MemoryArchive
from scenepipe.mixture import Mixture
from scenepipe.modules.recall import Recall
from scenepipe.modules.remember import Remember
from scenepipe.scene import Delta, Emotion, Origin, Reading, Receipt, Reply, Scene, Tension
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
    assert Recall.writes == {"echoes", "resonance", "turns"}
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
    noise = [encounter_of(scene, kind, kind=kind, data={"text": "x"}) for kind in ("spoken", "linked", "read")]
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
    assert recalled(scene, stored, min_score=best + 0.01).echoes == ()


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


# --- Filters ---------------------------------------------------------------------------------------------------------


def stored_scenes() -> tuple[list[Scene], list[Encounter]]:
    """Four scenes alike in their words; what tells them apart stands in the filters."""
    scenes = [scene_of(f"шаг {name}", ["шаг"]) for name in ("а", "б", "в", "г")]
    scenes[0] = scenes[0].with_(registers=Mixture(weights={"body": 0.4, "poet": 0.2}))
    scenes[1] = scenes[1].with_(delta=Delta(code=7, codebook="c1", margin=0.2, alternative=1), registers=Mixture())
    scenes[2] = scenes[2].with_(emotion=Emotion(valence=Reading(value=-0.6)), registers=Mixture())
    scenes[3] = scenes[3].with_(tension=Tension(level=Reading(value=0.9)), registers=Mixture())
    log = [encounter_of(scene, str(n), minutes=-60 * 24 * n) for n, scene in enumerate(scenes)]
    log.append(encounter_of(scenes[2], "said", kind="spoken", minutes=-60 * 24 * 9, data={"text": "да"}))
    return scenes, log


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, "абвг"),
        ({"registers": ["body"]}, "а"),
        ({"registers": ["poet", "logician"]}, "а"),
        ({"registers": ["logician"]}, ""),
        ({"codes": ["Δ7@c1"]}, "б"),
        ({"codes": ["Δ7@c2"]}, ""),
        ({"ranges": {"valence": (-1.0, -0.5)}}, "в"),
        ({"ranges": {"valence": (-0.5, 1.0)}}, ""),
        ({"ranges": {"tension": (0.5, 1.0)}}, "г"),
        ({"kinds": ["spoken"]}, "в"),
        ({"kinds": ["met", "spoken"]}, "абвг"),
        ({"kinds": ["read"]}, ""),
        ({"since": "2026-04-30T12:00"}, "аб"),
        ({"since": "36h"}, "аб"),
        ({"until": "2026-04-29T12:00"}, "вг"),
        ({"until": "36h", "kinds": ["met"]}, "вг"),
        ({"until": "5d", "kinds": ["met"]}, ""),
        ({"since": "60h", "ranges": {"valence": (-1.0, 0.0)}, "kinds": ["met"]}, "в"),
    ],
)
def test_each_filter_leaves_out(clock: Clock, options: dict[str, Any], found: str) -> None:
    scenes, log = stored_scenes()
    done = recalled(scene_of("шаг", ["шаг"]), scenes, log, top_k=9, **options)
    assert "".join(sorted(text[-1] for text in texts(done))) == found
    assert all(echo.reasons for echo in done.echoes or ())


def test_filters_leave_resonance_alone(clock: Clock) -> None:
    scene = scene_of("Шаг.", ["шаг"])
    twin = scene_of("шаг.", ["шаг"])
    log = [encounter_of(twin, "1", minutes=-5), encounter_of(scene, "2", minutes=-5)]
    plain = recalled(scene, [scene, twin], log)
    for options in ({"kinds": ["read"]}, {"registers": ["logician"]}, {"since": "1m"}, {"codes": ["Δ1@c1"]}):
        done = recalled(scene, [scene, twin], log, **options)
        assert done.echoes == ()
        assert done.resonance == plain.resonance
    assert plain.resonance is not None
    assert plain.resonance.encounters == 2


@pytest.mark.parametrize(
    ("options", "where", "says"),
    [
        ({"since": "yesterday"}, "since", "is no time; give a date"),
        ({"until": "30"}, "until", "is no time"),
        ({"codes": ["41"]}, "codes", "'41' is no Δ-code; give it with its codebook, as a scene shows it: Δ41@c1"),
        ({"ranges": {"valence": (0.5, -0.5)}}, "ranges.valence", "[0.5, -0.5] holds nothing"),
        ({"ranges": {"tension": (float("nan"), 1.0)}}, "ranges.tension", "holds nothing"),
    ],
)
def test_a_filter_that_cannot_be_is_refused_when_it_is_built(options: dict[str, Any], where: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Recall(**options)
    assert [fault.where for fault in refused.value.faults] == [where]
    assert says in str(refused.value)


def test_filters_are_options_of_the_yaml() -> None:
    """Every one of them is known by name, checked and passed on."""
    options = {
        "kinds": ["met", "read"], "since": "30d", "until": "2030-01-01", "registers": ["poet"], "codes": ["Δ41@c1"],
        "ranges": {"valence": [-1, 0]}, "within": "chat", "turns": 2,
    }  # fmt: skip
    lines = "".join(f"    {name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in options.items())
    text = "scenepipe: 1\nname: t\nencoder: null\nmemory: {use: memory}\nstages:\n  - use: recall\n" + lines
    found = parse_config(text, source="t").stages[0].options
    assert found == options | {"ranges": {"valence": (-1.0, 0.0)}, "top_k": 3, "min_score": 0.0}
    with pytest.raises(ConfigError, match="kinds"):
        parse_config(text.replace('"read"', '"heard"'), source="t")
    with pytest.raises(ConfigError, match="ranges"):
        parse_config(text.replace("valence", "joy"), source="t")


# --- Documents -------------------------------------------------------------------------------------------------------


def read_of(scene: Scene, name: str, **data: object) -> Encounter:
    place = {"source": "книги/вход.md", "span": [4, 9], "sha256": "0" * 64} | data
    return encounter_of(scene, name, kind="read", data=place)


def test_what_was_read_is_cited(clock: Clock) -> None:
    part, row, met = scene_of("шаг в книге", ["шаг"]), scene_of("шаг в строке", ["шаг"]), scene_of("шаг мой", ["шаг"])
    log = [read_of(part, "1"), read_of(row, "2", source="x.jsonl", row=12), encounter_of(met, "3")]
    done = recalled(scene_of("шаг", ["шаг"]), [part, row, met], log)
    cited = {echo.text: (echo.source, echo.span, echo.met is None) for echo in done.echoes or ()}
    assert cited == {
        "шаг в книге": ("книги/вход.md", (4, 9), True),
        "шаг в строке": ("x.jsonl:12", (4, 9), True),
        "шаг мой": (None, None, False),
    }
    assert Scene.from_json(done.to_json()) == done


def test_what_was_read_is_its_own_echo_and_was_not_met(clock: Clock) -> None:
    scene = scene_of("шаг", ["шаг"])
    done = recalled(scene, [scene], [read_of(scene, "1")])
    (echo,) = done.echoes or ()
    assert (echo.reasons, echo.source, echo.met) == (("same words",), "книги/вход.md", None)
    assert done.resonance is not None
    assert (done.resonance.strength, done.resonance.encounters) == (None, 0)


@pytest.mark.parametrize(
    "data", [{"span": [1]}, {"span": "x"}, {"source": 7}, {"row": 0}, {"more": 1}, {"span": [-1, 2]}]
)
def test_a_citation_that_cannot_be_read_is_none(clock: Clock, data: dict[str, object]) -> None:
    scene = scene_of("шаг в книге", ["шаг"])
    (echo,) = recalled(scene_of("шаг", ["шаг"]), [scene], [read_of(scene, "1", **data)]).echoes or ()
    assert (echo.source, echo.span) == (None, None)
