"""From YAML to a pipeline: every fault with its line, fingerprints that notice what changed, bad input end to end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import scenepipe
from scenepipe.build import build, load
from scenepipe.config import parse_config
from scenepipe.context import Failure
from scenepipe.errors import ConfigError, InputError
from scenepipe.models.catalogue import LocalModel
from scenepipe.rooms import room
from scenepipe.scene import STAGE_FIELDS, Scene

ECHO = """\
scenepipe: 1
name: test
model: gemma-3-270m
backend: {use: fake}
registers: [philosopher, poet]
memory: {use: sqlite, path: %s/archive.db}
stages: [sentencepiece, rule-scene, route, recall, {use: decode, seed: 1}, remember, render]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "p.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_faults_of_parts_and_chain_come_with_their_lines(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "scenepipe: 1\nname: x\nregisters: [philosopher, pooet]\nstages:\n"
        "  - use: route\n    mixture: {poet: 0.7, philosopher: 0.7}\n  - use: render\n",
    )
    with pytest.raises(ConfigError) as caught:
        load(path)
    text = str(caught.value)
    assert f"{path}:3:26" in text
    assert "did you mean 'poet'" in text
    assert f"{path}:5:" in text
    assert "sum to 1.400" in text


def test_a_chain_that_does_not_fit_is_placed_too(tmp_path: Path) -> None:
    path = write(tmp_path, "scenepipe: 1\nname: x\nstages:\n  - use: sentencepiece\n  - use: decode\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    text = str(caught.value)
    assert f"{path}:5:" in text
    assert "reads 'linkage'" in text
    assert "needs a backend; add 'backend:'" in text


def test_shipped_pipelines_are_found_by_name() -> None:
    assert load("scenes").name == "scenes"
    with pytest.raises(ConfigError, match="quickstart"):
        load("quickstrat")


def test_registers_beside_the_file_and_by_path(tmp_path: Path) -> None:
    shutil.copytree(room("registers") / "poet", tmp_path / "voices" / "poet")
    path = write(
        tmp_path,
        "scenepipe: 1\nname: x\nregisters: [./voices/poet]\nstages: [sentencepiece, rule-scene, route]\n",
    )
    assert load(path).resources.registers["poet"].folder.resolve() == (tmp_path / "voices" / "poet").resolve()
    by_root = write(
        tmp_path,
        "scenepipe: 1\nname: x\nregister_paths: [./voices]\nregisters: [poet, philosopher]\n"
        "stages: [sentencepiece, rule-scene, route]\n",
    )
    registers = load(by_root).resources.registers
    assert registers["poet"].folder.resolve() == (tmp_path / "voices" / "poet").resolve()
    assert registers["philosopher"].folder.resolve() == (room("registers") / "philosopher").resolve()


@pytest.mark.model
def test_the_fingerprint_names_what_changed(tmp_path: Path, local_model: LocalModel) -> None:
    shutil.copytree(room("registers") / "poet", tmp_path / "poet")
    text = "scenepipe: 1\nname: x\nmodel: gemma-3-270m\nregisters: [./poet]\nstages: [sentencepiece, {use: rule-scene}, route]\n"
    path = write(tmp_path, text)
    first = load(path).fingerprint()
    assert first == load(path).fingerprint()
    with (tmp_path / "poet" / "examples.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n")
    second = load(path).fingerprint()
    assert {k for k in first if first[k] != second[k]} == {"register poet"}
    write(tmp_path, text.replace("{use: rule-scene}", "{use: rule-scene, batch_size: 3}"))
    assert {k for k in first if load(path).fingerprint()[k] != second[k]} == {"pipeline"}


@pytest.mark.model
def test_every_field_is_filled_and_the_same_text_again_resonates_more(tmp_path: Path, local_model: LocalModel) -> None:
    with build(parse_config(ECHO % tmp_path)) as pipe:
        scenes = [pipe.run("Почему я не чувствую шаг в себе?") for _ in range(3)]
    assert all(isinstance(s, scenepipe.Scene) for s in scenes)
    raw = json.loads(scenes[-1].to_json())
    assert [name for name in STAGE_FIELDS if raw[name] is None] == []
    strengths = [s.resonance.strength for s in scenes if s.resonance]
    assert strengths[0] is None
    assert strengths[1] is not None
    assert strengths[2] is not None
    assert strengths[1] < strengths[2]
    assert scenes[1].echoes
    assert scenes[1].echoes[0].reasons[0] == "same words"
    assert scenes[1].echoes[0].reply == scenes[0].reply.text  # type: ignore[union-attr]


@pytest.mark.model
def test_odd_texts_are_scenes_or_named_refusals(tmp_path: Path, local_model: LocalModel) -> None:
    fine = [
        "🙂🙂",
        "a\0b",
        "שלום עולם",
        "mixed текст here",
        "Z͑ͫa̴l̶g̵o",
        "\u202eabc",
        "слово " * 3000,
        "1234 !!!",
        "ё" * 5000,
    ]
    refused = ["", "  \n", "\ud800"]
    with build(parse_config(ECHO % tmp_path)) as pipe:
        good = list(pipe.map(fine))
        bad = list(pipe.map(refused))
        for text in refused:
            with pytest.raises(InputError):
                pipe.run(text)
    assert [type(r) for r in good] == [Scene] * len(fine), [r for r in good if isinstance(r, Failure)]
    assert [r.text for r in good if isinstance(r, Scene)] == fine
    assert [r.error for r in bad if isinstance(r, Failure)] == ["InputError"] * 3
