"""The benchmark of a model's scenes on hand-made ones: who is scored on which texts, and by which measures."""

from __future__ import annotations

import asyncio
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from scenepipe.backends.llama_cpp import LlamaCpp
from scenepipe.contracts import Chunk, Request
from scenepipe.scene import Emotion, Reading, Scene, SemanticField, Tension, new_scene
from scenepipe.scene_prompt import SceneRequest, quoted
from tests.benchmarks.conftest import load


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return load("scene_by_model")


def scene(valence: float | None, tension: float = 0.0, **weights: float) -> Scene:
    return new_scene(f"{valence} {weights}").with_(
        emotion=Emotion(valence=Reading(value=valence)),
        tension=Tension(level=Reading(value=tension)),
        field=SemanticField(axes="axes@1", weights=weights),
    )


def valence(_: int, read: Scene) -> list[float]:
    assert read.emotion is not None
    return [read.emotion.valence.value or 0.0]


def test_a_model_is_scored_where_its_answer_was_taken_with_the_rules_beside_it(
    bench: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = bench.Reader("rules", [scene(0.2)] * 3 + [scene(0.8)] * 3, [True] * 6)
    model = bench.Reader("base", [scene(0.5)] * 3 + [scene(0.8)] * 3, [True] * 3 + [False] * 3)
    bench.compare("valence", rules, [model], valence, bench.mean)
    printed = capsys.readouterr().out.splitlines()
    starts = ["rules 0.500 ", "base 0.500 [0.500, 0.500] n=3; rules on these 0.200 ", "base less rules, paired 0.300 "]
    for line, start in zip(printed, [*starts, "base with fallback 0.650 "], strict=True):
        assert line.startswith(f"valence: {start}"), line
    assert printed[0].endswith("n=6")


def test_too_few_answers_are_no_figure(bench: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    rules = bench.Reader("rules", [scene(0.1)] * 4, [True] * 4)
    model = bench.Reader("base", [scene(0.1)] * 4, [True, False, False, False])
    bench.compare("valence", rules, [model], valence, bench.mean)
    bench.agree(rules, model)
    printed = capsys.readouterr().out
    assert "base too few, n=1; rules on these too few, n=1" in printed
    assert "agreement, valence, Pearson r: base too few, n=1" in printed


def test_axes_agree_by_their_common_weight_and_by_the_heaviest(bench: ModuleType) -> None:
    one, other = scene(0.0, bodily=0.75, inner=0.25), scene(0.0, bodily=0.5, social=0.5)
    assert bench.in_common(one, other) == pytest.approx(0.5)
    assert bench.in_common(one, one) == 1.0
    assert bench.same_axis(one, other) == 1.0
    assert bench.same_axis(one, scene(0.0, inner=0.6, bodily=0.4)) == 0.0


def test_agreement_correlates_the_texts_that_were_taken(bench: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    levels = [-0.4, 0.0, 0.2, 0.9, -1.0]
    rules = bench.Reader("rules", [scene(v, abs(v), bodily=1.0) for v in levels], [True] * 5)
    model = bench.Reader("base", [scene(v, 1 - abs(v), bodily=1.0) for v in [*levels[:4], 1.0]], [True] * 4 + [False])
    bench.agree(rules, model)
    printed = capsys.readouterr().out
    assert "valence, Pearson r: base 1.000" in printed
    assert "tension, Pearson r: base -1.000" in printed
    assert "heaviest axis the same: base 1.000" in printed
    assert printed.count("n=4") == 6


def test_an_unknown_reading_counts_as_nothing(bench: ModuleType) -> None:
    assert bench._level(scene(None), "valence") == 0.0
    assert bench._level(new_scene("x"), "tension") == 0.0
    assert bench._level(scene(0.3, 0.7), "tension") == 0.7


def test_draws_are_counted_by_text(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(self: Any, request: Request) -> Any:
        yield Chunk(text="{}")

    monkeypatch.setattr(LlamaCpp, "generate", silent)
    backend = bench.Counted()

    async def draw(text: str, *, examples: bool) -> None:
        asked = Request(prompt=SceneRequest(text, "ru", examples=examples).render())
        assert [chunk.text async for chunk in backend.generate(asked)] == ["{}"]

    for text, examples in (("Шаг: раз, два", True), ("Шаг: раз, два", False), ("Тишина", True)):
        asyncio.run(draw(text, examples=examples))
    assert backend.draws == {quoted("Шаг: раз, два"): 2, quoted("Тишина"): 1}


def test_samples_are_the_same_each_time(bench: ModuleType) -> None:
    assert bench._some(list(range(100)), 5) == bench._some(list(range(100)), 5)
    assert sorted(bench._some(list(range(4)), 9)) == [0, 1, 2, 3]
    assert bench.mean(np.array([[1.0], [0.0]])) == 0.5
