"""The whole evaluation on toy registers, with the fake engine and a scorer that is a rule."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from scenepipe.config import PipelineConfig
from scenepipe.errors import InputError, RegisterError
from scenepipe.evaluation.drawing import CONTROLS, Options, Replies, draw_replies
from scenepipe.evaluation.evaluate import evaluate, facts
from scenepipe.evaluation.goals import Goal, goals
from scenepipe.evaluation.intervals import Figure
from scenepipe.evaluation.report import as_json, document, free_folder, tables, write_replies, write_results
from scenepipe.models.catalogue import LocalModel
from scenepipe.register import Register
from scenepipe.registry import Registry
from tests.scenepipe.evaluation.conftest import StubScorer

OPTIONS = Options(replies=4, prompts=3, swaps=6)


@pytest.fixture
def draw(registers: list[Register], config: PipelineConfig, registry: Registry, silent: Any) -> Any:
    def draw(**changes: Any) -> Replies:
        options = dataclasses.replace(OPTIONS, **changes)
        return draw_replies(registers, config, None, options, silent, registry=registry)

    return draw


@pytest.fixture
def measured(draw: Any, registers: list[Register], silent: Any) -> Any:
    def measured(**changes: Any) -> dict[str, Any]:
        options = dataclasses.replace(OPTIONS, **changes)
        return evaluate(registers, draw(**changes), StubScorer(), options, silent)

    return measured


# --- drawing ---------------------------------------------------------------------------------------------------------


def test_everything_is_drawn_once_and_the_ends_of_curves_are_shared(draw: Any) -> None:
    replies = draw()
    sizes = {mixture: len(some) for mixture, some in replies.by.items()}
    assert sizes == {
        "sailor@1": 8,
        "baker@1": 8,
        "sailor@0.75+baker@0.25": 6,
        "baker@0.5+sailor@0.5": 6,
        "baker@0.75+sailor@0.25": 6,
    }
    assert set(replies.by["baker@0.5+sailor@0.5"]) <= set(replies.by["sailor@1"])


def test_an_input_keeps_its_seed_over_mixtures_and_inputs_have_different_ones(draw: Any) -> None:
    replies = draw()
    seeds = {id: {some[id].task.seed for some in replies.by.values() if id in some} for id in replies.by["sailor@1"]}
    assert all(len(each) == 1 for each in seeds.values())
    assert len({seed for each in seeds.values() for seed in each}) == 8


def test_a_smaller_run_is_part_of_a_larger_one(draw: Any) -> None:
    small, large = draw(replies=2, prompts=1), draw(replies=6, prompts=3)
    for mixture, some in small.by.items():
        assert {id: each.text for id, each in some.items()}.items() <= {
            id: each.text for id, each in large.by[mixture].items()
        }.items()


def test_swaps_change_the_linkage_alone(draw: Any) -> None:
    replies = draw(swaps=6)
    assert len(replies.first) == len(replies.swapped) == 6
    assert len(replies.again) == min(6, CONTROLS)
    for own, other in zip(replies.first, replies.swapped, strict=True):
        assert own.task.linkage != other.task.linkage
        assert (own.task.asked, own.task.mixture, own.task.seed) == (
            other.task.asked,
            other.task.mixture,
            other.task.seed,
        )
        assert own.task.asked.language == other.task.asked.language
    assert [a.text for a in replies.first] == [a.text for a in replies.again]


def test_each_option_of_drawing_has_an_effect(draw: Any, tmp_path: Path) -> None:
    texts = {"text": "Why is the harbour empty?", "id": "own"}
    (tmp_path / "in.jsonl").write_text(json.dumps(texts))
    plain = draw()
    assert len(draw(replies=2, prompts=2).by["sailor@1"]) == 4
    assert len(draw(prompts=1).by["baker@0.5+sailor@0.5"]) == 2
    assert len(draw(swaps=2).first) == 2
    assert draw(swaps=0).first == []
    assert [row.id for row in draw(inputs=tmp_path / "in.jsonl").asked] == ["own"]
    assert draw(candidates=3).settings["candidates"] == 3
    assert draw(seed=8).by["sailor@1"] != plain.by["sailor@1"]


def test_one_register_alone_is_refused(registers: list[Register], config: PipelineConfig, silent: Any) -> None:
    with pytest.raises(RegisterError, match="at least two"):
        draw_replies(registers[:1], config, None, OPTIONS, silent)


def test_replies_are_written_one_line_each(draw: Any, tmp_path: Path) -> None:
    replies = draw()
    write_replies(tmp_path / "out", replies.rows())
    rows = [json.loads(line) for line in (tmp_path / "out/replies.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 34 + 18
    assert {row["for"] for row in rows} == {"voice and curves", "swap: own", "swap: another's", "swap: own again"}
    assert all(row["reply"] for row in rows)


# --- figures ---------------------------------------------------------------------------------------------------------


def test_the_scorers_rule_comes_back_in_the_figures(measured: Any) -> None:
    results = measured()
    for code in ("ru", "en"):
        for name in ("sailor", "baker"):
            row = results["matrix"][code]["perplexity"][name]
            assert min(row, key=lambda speaker: row[speaker].value) == name
            assert set(row) == {"base", "sailor", "baker"}
            assert results["matrix"][code]["margin"][name].value == pytest.approx(2.718281828 - 1, abs=1e-6)
            figures = results["causality"]["loss"][code][name]
            assert figures["other_over_own"].value == pytest.approx(0.5)
            assert figures["none_over_own"].value == pytest.approx(0.5)
            assert figures["own"].n == 6
    assert results["judge"]["written"]["accuracy"].value == 1.0
    assert results["judge"]["written"]["accuracy"].n == 24


def test_curves_follow_the_weights(measured: Any) -> None:
    curves = measured()["curves"]
    assert [(curve.pair, curve.language) for curve in curves] == [
        (("sailor", "baker"), "ru"),
        (("sailor", "baker"), "en"),
    ]
    for curve in curves:
        falling = [figure.value for figure in curve.perplexity["sailor"]]
        assert falling == sorted(falling, reverse=True)
        assert [f.value for f in curve.perplexity["baker"]] == sorted(f.value for f in curve.perplexity["baker"])
        assert all(figure.value < 1 for figure in curve.excess.values())
        assert [figure.n for figure in curve.log_odds] == [3] * 5
        assert -1 <= curve.spearman.low <= curve.spearman.value <= curve.spearman.high <= 1


def test_fake_replies_use_their_linkage_and_swaps_change_them(measured: Any) -> None:
    results = measured()
    symbols = results["causality"]["symbols"]
    assert symbols["all"]["carried"].value == 1.0
    assert symbols["all"]["used"].value > 2.5
    assert symbols["ru"]["given"].value == 3.0
    assert results["causality"]["swaps"]["changed"].value == 1.0
    assert results["causality"]["swaps"]["changed_by_nothing"].value == 0.0
    assert results["causality"]["swaps"]["swapped_carried"].value == 1.0


def test_quality_stands_beside_the_written_replies(measured: Any) -> None:
    quality = measured()["quality"]
    assert set(quality) == {"all", "ru", "en", "sailor", "baker"}
    every = quality["all"]
    assert every["fidelity"].value == 1.0
    assert every["unknown_more"].value == pytest.approx(every["unknown"].value - every["unknown_written"].value)
    assert every["aptness_share"].value == pytest.approx(every["aptness"].value / every["aptness_written"].value)
    assert (every["fidelity"].n, quality["ru"]["fidelity"].n) == (16, 8)


def test_rows_and_prompts_have_an_effect_on_the_figures(measured: Any) -> None:
    assert measured(rows=2)["matrix"]["ru"]["perplexity"]["sailor"]["base"].n == 2
    assert measured(prompts=2)["curves"][0].log_odds[0].n == 2
    assert measured(swaps=0)["causality"]["swaps"] == {}


# --- goals and files -------------------------------------------------------------------------------------------------


def test_goals_name_the_worst_case(measured: Any) -> None:
    found = {goal.what: goal for goal in goals(measured())}
    margin = found["perplexity of the next best adapter over the own, less 1, worst"]
    assert margin.reached
    assert re.fullmatch(r"(sailor|baker), (ru|en)", margin.case)
    assert found["nats that another's linkage costs, worst"].value == pytest.approx(0.5)
    assert {goal.what.split(":")[0] for goal in found.values()} >= {"mixture curves", "language fidelity"}


@pytest.mark.parametrize(
    ("value", "least", "reached"),
    [(0.9, "at least", True), (0.89, "at least", False), (0.9, "at most", True), (0.91, "at most", False)],
)
def test_a_goal_is_reached_at_its_bound(value: float, least: Any, reached: bool) -> None:
    goal = Goal("x", value, least, 0.9, Figure(value, 0.0, 1.0, 5))
    assert goal.reached is reached
    assert goal.as_json()["reached"] is reached
    assert goal.as_json()["goal"] == f"{least} 0.9"


def test_files_are_json_and_pictures_and_are_never_overwritten(measured: Any, tmp_path: Path) -> None:
    folder = free_folder(tmp_path / "out")
    results = measured()
    everything = document({"scenepipe": "x"}, results)
    names = {path.name for path in write_results(folder, everything, results)}
    assert names == {
        "perplexity-ru.svg", "perplexity-en.svg", "judge.svg", "curves-ru.svg", "curves-en.svg", "results.json"
    }  # fmt: skip
    assert {path.name for path in folder.iterdir()} == names
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert found == json.loads(json.dumps(as_json(everything)))
    assert set(found["matrix"]["ru"]["margin"]["sailor"]) == {"value", "low", "high", "n"}
    with pytest.raises(InputError, match="never overwritten"):
        free_folder(folder)
    with pytest.raises(InputError, match="is a file"):
        free_folder(folder / "judge.svg")


def test_pictures_hold_every_number_in_both_schemes(measured: Any, tmp_path: Path) -> None:
    results = measured()
    write_results(tmp_path, {}, results)
    matrix, curves = ((tmp_path / name).read_text(encoding="utf-8") for name in ("perplexity-ru.svg", "curves-ru.svg"))
    root = ET.fromstring(matrix)
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    for row in results["matrix"]["ru"]["perplexity"].values():
        assert {f"{figure.value:.1f}" for figure in row.values()} <= set(texts)
    assert curves.count("<circle") == 5
    assert curves.count("<polyline") == 3
    for picture in (matrix, curves):
        ET.fromstring(picture)
        assert "prefers-color-scheme: dark" in picture
        assert "var(" not in picture


def test_tables_show_every_part(measured: Any) -> None:
    console = Console(file=io.StringIO(), width=180, record=True)
    for table in tables(measured()):
        console.print(table)
    text = console.export_text()
    for words in ("goals", "perplexity of written test replies, ru", "judge", "mixture curves", "another's", "aptness"):
        assert words in text
    assert "reached" in text
    assert len(re.findall(r"\[-?\d+\.\d+, -?\d+\.\d+\]", text)) > 60


def test_facts_name_what_was_measured(draw: Any, registers: list[Register], monkeypatch: pytest.MonkeyPatch) -> None:
    class Folder:
        sha256 = "f" * 64

    monkeypatch.setattr("scenepipe.register.adapter_of", lambda register, model: Folder)
    model = LocalModel("tiny", Path("tiny.gguf"), "a" * 64, None, "b" * 64)
    found = facts(model, registers, OPTIONS, draw())
    assert found["model"] == {"id": "tiny", "sha256": "a" * 64}
    assert found["adapters"] == {"sailor": "f" * 64, "baker": "f" * 64}
    assert found["asked"] == {"ru": 4, "en": 4}
    assert (found["drawn"], found["failed"]) == (34 + 18, 0)
    assert found["speaks_with"]["max_tokens"] == 30
    assert "seed" not in found["speaks_with"]
    json.dumps(found)
