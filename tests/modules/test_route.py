"""`route`: weights follow the registers' own labels, and say why; every option does what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from scenepipe.context import Context, Resources
from scenepipe.errors import ConfigError, MixtureError
from scenepipe.mixture import Mixture
from scenepipe.modules.route import Route
from scenepipe.register import Register
from scenepipe.routing.inputs import read_scenes, scene_builder
from scenepipe.scene import Scene, new_scene
from scenepipe.testing.hash_encoder import HashEncoder
from scenepipe.testing.stage_suite import StageSuite

INPUTS = {
    "sea": ["the sea and the harbour", "a boat on the sea", "salt wind over the sea", "the harbour at night"],
    "sum": ["add the numbers of the bill", "the sum of two numbers", "count the numbers again", "a bill of numbers"],
}


def themed(folder: Path, name: str, likes: str) -> Register:
    """A register that fits texts of one theme and not the other's."""
    (folder / name).mkdir(parents=True)
    rows = [
        {"id": f"en-{theme}-{i}", "language": "en", "split": "train", "text": text, "linkage": ["word", "thing"],
         "reply": "A word is a thing.", "fit": 0.9 if theme == likes else 0.1}
        for theme, texts in INPUTS.items() for i, text in enumerate(texts)
    ]  # fmt: skip
    (folder / name / "examples.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return Register(name, folder / name, {"en": name}, {"en": name}, "*", "*", "CC0-1.0", {})


@cache
def read(text: str) -> Scene:
    return read_scenes([text], scene_builder(HashEncoder()))[0]


@pytest.fixture(scope="module")
def resources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resources]:
    folder = tmp_path_factory.mktemp("route")
    registers = {name: themed(folder, name, theme) for name, theme in (("sailor", "sea"), ("clerk", "sum"))}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCENEPIPE_CACHE", str(folder / "cache"))
        yield Resources(encoder=HashEncoder(), registers=registers)


def chosen(stage: Route, resources: Resources, scene: Scene) -> Mixture:
    ctx = Context(resources, run="r", pipeline="p", emit=lambda event: None)
    mixture = stage.run_batch([scene], ctx)[0].registers
    assert mixture is not None
    return mixture


def opened(resources: Resources, **options: float) -> Route:
    stage = Route(**options)  # type: ignore[arg-type]
    stage.open(resources)
    return stage


@pytest.fixture(scope="module")
def stage(resources: Resources) -> Route:
    return opened(resources)


def test_the_register_that_fits_leads(stage: Route, resources: Resources) -> None:
    sea = chosen(stage, resources, read("the boat in the harbour and the sea"))
    count = chosen(stage, resources, read("count the sum of the bill"))
    assert sea.weights["sailor"] > sea.weights.get("clerk", 0.0)
    assert count.weights["clerk"] > count.weights.get("sailor", 0.0)


def test_every_weight_names_the_examples_that_made_it(stage: Route, resources: Resources) -> None:
    mixture = chosen(stage, resources, read("a boat on the sea"))
    causes = [reason.cause for reason in mixture.reasons["sailor"]]
    assert set(mixture.reasons) == set(mixture.weights)
    pattern = r"near en-sea-1 «a boat on the sea» \(cosine (0\.9\d|1\.00)\), whose fit is 0\.90"
    assert any(re.search(pattern, cause) for cause in causes), causes


def test_without_a_vector_it_says_so(stage: Route, resources: Resources) -> None:
    mixture = chosen(stage, resources, new_scene("a boat"))
    assert mixture.weights["sailor"] == pytest.approx(mixture.weights["clerk"], abs=0.05)
    assert "no vector" in mixture.reasons["sailor"][0].cause


def test_it_opens_itself_when_it_is_used_without(resources: Resources) -> None:
    assert chosen(Route(), resources, read("a boat on the sea")).weights["sailor"] > 0.4


def test_without_registers_the_base_speaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCENEPIPE_CACHE", str(tmp_path))
    alone = Resources(encoder=HashEncoder())
    assert chosen(opened(alone), alone, read("the sea")) == Mixture()


def test_a_callers_mixture_is_kept_and_its_neighbours_are_routed(stage: Route, resources: Resources) -> None:
    own = Mixture(weights={"clerk": 0.2})
    scenes = [read("the sea"), read("the sea").with_(registers=own), read("the sum of two numbers")]
    ctx = Context(resources, run="r", pipeline="p", emit=lambda event: None)
    first, second, third = (scene.registers for scene in stage.run_batch(scenes, ctx))
    assert second is own
    assert first is not None
    assert third is not None
    assert (next(iter(first.weights)), next(iter(third.weights))) == ("sailor", "clerk")


# --- options ---------------------------------------------------------------------------------------------------------


def test_mixture_is_given_to_every_scene(resources: Resources) -> None:
    mixture = chosen(Route(mixture={"clerk": 0.3}), resources, read("the sea"))
    assert mixture.weights == {"clerk": 0.3}
    assert mixture.reasons["clerk"][0].cause == "fixed in the pipeline"


def test_a_fixed_mixture_reads_no_examples() -> None:
    nowhere = Register("clerk", Path("/nowhere"), {}, {}, "*", "*", "CC0-1.0", {})
    broken = Resources(registers={"clerk": nowhere})
    stage = Route(mixture={"clerk": 0.3})
    stage.open(broken)
    assert chosen(stage, broken, new_scene("x")).weights == {"clerk": 0.3}


def test_temperature_says_how_evenly_registers_share(resources: Resources) -> None:
    scene = read("a boat on the sea")
    sharp, even = (chosen(opened(resources, temperature=t), resources, scene).weights for t in (0.02, 10.0))
    assert set(sharp) == {"sailor"}
    assert even["sailor"] == pytest.approx(even["clerk"], rel=0.1)


def test_base_is_the_weight_of_the_base(resources: Resources) -> None:
    scene = read("a boat on the sea")
    for base in (0.0, 0.25, 1.0):
        assert chosen(opened(resources, base=base), resources, scene).base == pytest.approx(base, abs=0.003)


def test_batch_size_reaches_the_runner() -> None:
    assert Route(batch_size=7).batch_size == 7


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": 11.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"base": -0.1}, "base"),
        ({"base": 1.1}, "base"),
        ({"batch_size": 0}, "batch_size"),
        ({"mixture": {"clerk": 0.5}, "base": 0.5}, "leave one of them out"),
        ({"mixture": {"clerk": 0.5}, "temperature": 0.5}, "leave one of them out"),
    ],
)
def test_options_out_of_range_are_refused_by_name(options: dict[str, float], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Route(**options)  # type: ignore[arg-type]


def test_an_impossible_fixed_mixture_is_refused_at_once() -> None:
    with pytest.raises(MixtureError):
        Route(mixture={"clerk": 1.3})


class TestRoute(StageSuite):
    def make_stage(self) -> Route:
        return Route()


class TestRouteWithRegisters(StageSuite):
    """The suite's odd texts, with registers to choose from."""

    @pytest.fixture(autouse=True)
    def _shared(self, resources: Resources) -> None:
        self._resources = resources

    def resources(self) -> Resources:
        return self._resources

    def make_stage(self) -> Route:
        return Route()

    def test_a_full_scene_gets_weights(self) -> None:
        stage = self.make_stage()
        scene = self.run_stage(self.scene_for(INPUTS["sum"][0], stage), stage)
        assert scene.registers is not None
        assert scene.registers.weights
