from __future__ import annotations

import asyncio
import importlib.util
from typing import Any

import pytest

from scenepipe.config import PipelineConfig, parse_config
from scenepipe.errors import BackendError, ConfigError, InputError, MissingExtraError
from scenepipe.evaluation.inputs import Asked
from scenepipe.evaluation.replies import Drawn, Speaker, Task
from scenepipe.mixture import of
from scenepipe.register import Register
from scenepipe.registry import Registry
from scenepipe.testing.fake_backend import FakeBackend
from tests.scenepipe.evaluation.conftest import PIPELINE

ASKED = [Asked("a", "ru", "Где берег?"), Asked("b", "en", "Where is the harbour?"), Asked("c", "en", "Who calls?")]


def speak(speaker: Speaker, asked: list[Asked], *mixtures: dict[str, float], seed: int = 1, **how: Any) -> list[Drawn]:
    async def run() -> list[Drawn]:
        try:
            scenes = await speaker.scenes(asked)
            tasks = [Task(row, scenes[row.id], of(mixture), seed) for row in asked for mixture in mixtures]
            return await speaker.draw(tasks, **how)
        finally:
            await speaker.aclose()

    return asyncio.run(run())


@pytest.fixture
def make(config: PipelineConfig, registers: list[Register], registry: Registry) -> Any:
    def make(given: PipelineConfig = config, **options: Any) -> Speaker:
        return Speaker(given, registers, None, registry=registry, **options)

    return make


def test_replies_come_in_the_order_of_the_tasks(make: Any) -> None:
    drawn = speak(make(), ASKED, {"sailor": 1.0}, {"baker": 1.0}, {"sailor": 0.25, "baker": 0.75})
    assert [(d.task.asked.id, d.task.mixture.id) for d in drawn] == [
        (row.id, mixture) for row in ASKED for mixture in ("sailor@1", "baker@1", "baker@0.75+sailor@0.25")
    ]
    assert all(d.text and d.fault is None for d in drawn)
    assert len({d.text for d in drawn}) == len(drawn)


def test_scenes_are_those_of_the_pipelines_stages(make: Any) -> None:
    drawn = speak(make(), ASKED[:1], {"sailor": 1.0})
    assert drawn[0].task.linkage == ("берег", "якорь", "парус")
    assert "берег" in drawn[0].text.lower()
    row = drawn[0].as_json()
    assert (row["id"], row["mixture"], row["linkage"]) == ("a", "sailor@1", ["берег", "якорь", "парус"])


def test_the_tasks_seed_decides_and_not_the_pipelines(make: Any) -> None:
    one, again, other = (speak(make(), ASKED, {"sailor": 1.0}, seed=seed) for seed in (1, 1, 2))
    assert [d.text for d in one] == [d.text for d in again]
    assert [d.text for d in one] != [d.text for d in other]


def test_weights_are_not_snapped(make: Any) -> None:
    near, exact = speak(make(), ASKED[:1], {"sailor": 0.27}, {"sailor": 0.3})
    assert near.text != exact.text


def test_candidates_are_drawn_where_asked_for(make: Any) -> None:
    one, many = (speak(make(candidates=n), ASKED, {"sailor": 1.0}) for n in (None, 6))
    assert make(candidates=6).settings["candidates"] == 6
    assert make().settings["candidates"] == 1
    assert [d.text for d in one] != [d.text for d in many]


def test_alone_means_one_at_a_time(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    running, most = 0, [0]
    inner = FakeBackend.generate

    async def counted(self: FakeBackend, request: Any) -> Any:
        nonlocal running
        running += 1
        most.append(running)
        try:
            async for chunk in inner(self, request):
                yield chunk
        finally:
            running -= 1

    monkeypatch.setattr(FakeBackend, "generate", counted)
    speak(make(), ASKED, {"sailor": 1.0}, {"baker": 1.0}, alone=True)
    assert max(most) == 1
    speak(make(), ASKED, {"sailor": 1.0}, {"baker": 1.0})
    assert max(most) > 1


def test_another_linkage_changes_the_scene_alone(make: Any) -> None:
    speaker = make()

    async def run() -> tuple[Drawn, Drawn, Task, Task]:
        scenes = await speaker.scenes(ASKED[:1])
        task = Task(ASKED[0], scenes["a"], of({"sailor": 1.0}), 1)
        other = task.relinked(["печь"])
        one, two = await speaker.draw([task, other])
        await speaker.aclose()
        return one, two, task, other

    one, two, task, other = asyncio.run(run())
    assert (other.asked, other.mixture, other.seed, other.linkage) == (task.asked, task.mixture, task.seed, ("печь",))
    assert "печь" in two.text.lower()
    assert "печь" not in one.text.lower()


def test_few_failures_are_counted_and_many_end_the_run(make: Any, registry: Registry) -> None:
    fails = parse_config(PIPELINE.replace("delay_s: 0.001", "fail_on: calls"), registry=registry)
    with pytest.raises(BackendError, match="1 of 3 replies failed"):
        speak(make(fails), ASKED, {"sailor": 1.0})
    more = [Asked(str(i), "en", f"Number {i}") for i in range(12)]
    drawn = speak(make(fails), [*more, ASKED[2]], {"sailor": 1.0})
    assert [bool(d.fault) for d in drawn] == [False] * 12 + [True]
    assert drawn[-1].text == ""


def test_an_input_that_no_stage_can_read_is_named(make: Any) -> None:
    with pytest.raises(InputError, match=r"input x.*toy-scene.*fails"):
        speak(make(), [Asked("x", "en", "BOOM")], {"sailor": 1.0})


def test_progress_counts_every_reply(make: Any) -> None:
    told: list[tuple[int, int]] = []
    speak(make(), ASKED, {"sailor": 1.0}, tick=lambda done, of: told.append((done, of)))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    "cut", ["backend: {use: fake, delay_s: 0.001}\n", "  - {use: decode, mixture: exact, max_tokens: 30, seed: 5}\n"]
)
def test_a_pipeline_that_does_not_speak_is_refused(make: Any, registry: Registry, cut: str) -> None:
    with pytest.raises(ConfigError, match="decode"):
        make(parse_config(PIPELINE.replace(cut, ""), registry=registry))


def test_a_missing_engine_is_named_with_its_extra(
    make: Any, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    llama = parse_config(PIPELINE.replace("fake, delay_s: 0.001", "llama-cpp"), registry=registry)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "xllamacpp" else found(name, *a))
    with pytest.raises(MissingExtraError, match=r"scenepipe\[local\]"):
        make(llama)
