"""A scene's numbers: each moves with what it names, and what is not known stays at the mean."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from scenepipe.analysis.builder import SceneBuilder
from scenepipe.analysis.lexicon import shipped_lexicon
from scenepipe.routing.features import FARTHEST, FEATURES, read_features, standardise
from scenepipe.routing.inputs import read_scenes
from scenepipe.scene import Scene, new_scene

NAMES = [feature.name for feature in FEATURES]
Words = Callable[[str], dict[str, float]]


@pytest.fixture(scope="module")
def number() -> Words:
    """A text's features by name, read without an encoder."""
    builder = SceneBuilder(shipped_lexicon())
    return lambda text: dict(zip(NAMES, read_features(read_scenes([text], builder)[0]), strict=True))


@pytest.mark.parametrize(
    ("name", "less", "more"),
    [
        ("question", "You are going home.", "Are you going home?"),
        ("exclamation", "Come home.", "Come home!"),
        ("contrast", "I am tired and happy.", "I am tired but happy."),
        ("negation", "I feel the step.", "I do not feel the step."),
        ("break", "I came home.", "I came home…"),
        ("negation", "Я чувствую шаг.", "Я не чувствую шаг."),
        ("tension", "Иду домой.", "Почему я не иду домой, но плачу?!"),
        ("length", "A short text.", "A text that is a good deal longer than the other one of the two."),
        ("pauses", "The sea and the wind and the salt.", "The sea, the wind, the salt."),
        ("syllables", "The cat sat on the mat.", "Electricity regulations necessitate documentation."),
        ("density", "It is what it is, and so it was.", "Wet stones, cold wind, salt rope."),
        ("nouns", "Run and jump and sing.", "Table and chair and lamp."),
        ("verbs", "Стол, стул и лампа.", "Беги, прыгай и пой."),
        ("adjectives", "Стол и стул.", "Старый белый стол."),
        ("valence", "Горе, боль и смерть.", "Радость, счастье и любовь."),
        ("bodily field", "Причина и правило.", "Ладонь и колено."),
    ],
)
def test_each_number_moves_with_what_it_names(number: Words, name: str, less: str, more: str) -> None:
    assert number(more)[name] > number(less)[name]


def test_nothing_is_known_of_a_bare_scene() -> None:
    row = read_features(new_scene("x"))
    assert len(row) == len(FEATURES)
    assert all(math.isnan(value) for value in row)
    assert not standardise([row]).any()


def test_a_text_without_words_is_at_the_mean_of_what_it_lacks(number: Words) -> None:
    found = number("🙂")
    assert math.isnan(found["length"])
    assert math.isnan(found["nouns"])


def test_standardised_by_mean_and_spread_within_bounds() -> None:
    usual = np.array([feature.usual for feature in FEATURES])
    spread = np.array([feature.spread for feature in FEATURES])
    rows = standardise([list(row) for row in (usual, usual + spread, usual - 100 * spread, usual + np.inf)])
    assert not rows[0].any()
    assert rows[1] == pytest.approx(1.0)
    assert (rows[2] == -FARTHEST).all()
    assert (rows[3] == FARTHEST).all()
    assert standardise([]).shape == (0, len(FEATURES))


def test_means_and_spreads_are_those_of_the_shipped_inputs(read: Callable[..., list[Scene]]) -> None:
    """So that a slope of one register means the same as that of another; measured on every tenth input."""
    from scenepipe.register import examples, find_registers
    from scenepipe.rooms import room

    rows = examples(find_registers(["poet"], [room("registers")])["poet"])[::10]
    table = standardise([read_features(scene) for scene in read(*(row.text for row in rows))])
    common = [NAMES.index(name) for name in NAMES if name not in ("exclamation", "break")]
    assert np.abs(table[:, common].mean(axis=0)).max() < 0.5
    assert table[:, common].std(axis=0).min() > 0.6
    assert table[:, common].std(axis=0).max() < 1.5
