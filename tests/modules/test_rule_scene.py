"""``rule-scene``."""

from __future__ import annotations

from typing import Any

import pytest

from scenepipe.analysis.reading import read_text
from scenepipe.context import Context, Resources
from scenepipe.encoders.usem3 import Usem3Encoder
from scenepipe.errors import ConfigError
from scenepipe.modules.rule_scene import RuleScene
from scenepipe.scene import Scene, new_scene
from scenepipe.testing.hash_encoder import HashEncoder
from scenepipe.testing.stage_suite import StageSuite

ENCODER = Usem3Encoder()


def run(texts: list[str], encoder: Any, **options: Any) -> list[Scene]:
    resources = Resources(encoder=encoder)
    stage = RuleScene(**options)
    stage.open(resources)
    scenes = [new_scene(text).with_(**read_text(text)._asdict()) for text in texts]
    return stage.run_batch(scenes, Context(resources, run="t", pipeline="t", emit=lambda event: None))


class TestWithEncoder(StageSuite):
    def make_stage(self) -> RuleScene:
        return RuleScene()

    def resources(self) -> Resources:
        return Resources(encoder=ENCODER)


class TestWithoutEncoder(StageSuite):
    def make_stage(self) -> RuleScene:
        return RuleScene()


class TestWithAnotherEncoder(StageSuite):
    def make_stage(self) -> RuleScene:
        return RuleScene()

    def resources(self) -> Resources:
        return Resources(encoder=HashEncoder(dim=64))


def test_every_field_is_filled() -> None:
    (scene,) = run(["Почему я не чувствую шаг в себе?"], ENCODER)
    assert all(getattr(scene, name) is not None for name in RuleScene.writes)
    assert Scene.from_json(scene.to_json(vectors=True)) == scene


def test_without_an_encoder_only_delta_and_vector_are_missing() -> None:
    (scene,) = run(["Почему я не чувствую шаг в себе?"], None)
    assert [name for name in RuleScene.writes if getattr(scene, name) is None] == ["delta"]
    assert scene.field is not None
    assert scene.field.vector is None
    assert scene.linkage is not None
    assert len(scene.linkage.chain) == 3


def test_associations_are_as_many_as_asked() -> None:
    for count in (0, 1, 5):
        (scene,) = run(["Мне страшно"], ENCODER, associations=count)
        assert scene.hyperscene is not None
        assert sum(symbol.origin != "text" for symbol in scene.hyperscene) == count


def test_the_delta_code_does_not_hang_on_the_number_of_associations() -> None:
    assert run(["Мне страшно"], ENCODER, associations=0)[0].delta == run(["Мне страшно"], ENCODER)[0].delta


def test_batch_size_is_what_the_runner_reads() -> None:
    assert RuleScene(batch_size=7).batch_size == 7


def test_wrong_options_are_refused_together() -> None:
    with pytest.raises(ConfigError) as caught:
        RuleScene(associations=-1, batch_size=0)
    assert {fault.where for fault in caught.value.faults} == {"associations", "batch_size"}


VERSE = "Ночь легла на тёмный сад,\nзвёзды в озере дрожат,\nтихо листья шелестят\nи огни вдали горят."


def test_stress_metre_and_rhyme_are_read_where_they_are_asked_for() -> None:
    (plain,), (read,) = run([VERSE], ENCODER), run([VERSE], ENCODER, stress="dictionary")
    assert plain.rhythm is not None
    assert read.rhythm is not None
    assert (plain.rhythm.stress.value, plain.rhythm.rhyme.value) == (None, None)
    assert (read.rhythm.metre.value, read.rhythm.rhyme.value) == ("trochee", "AAAA")
    assert read.delta == plain.delta, "a code does not depend on which dictionary is installed"
    assert read.analysis != plain.analysis


def test_an_unknown_kind_of_stress_is_refused() -> None:
    with pytest.raises(ConfigError, match="possible: dictionary, off"):
        run(["Ночь"], None, stress="loud")
