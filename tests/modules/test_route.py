"""`route`: weights follow the registers' own labels, and say why."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenepipe.contracts import Context, Resources
from scenepipe.errors import MixtureError
from scenepipe.mixture import Mixture
from scenepipe.modules.route import SMALLEST, Route, _share
from scenepipe.register import Register
from scenepipe.scene import Language, Scene, SemanticField, Vector, new_scene
from scenepipe.testing.hash_encoder import HashEncoder
from scenepipe.testing.stage_suite import StageSuite

INPUTS = {
    "sea": ["the sea and the harbour", "a boat on the sea", "salt wind over the sea", "the harbour at night"],
    "sum": [
        "add the numbers of the bill",
        "the sum of two numbers",
        "count the numbers again",
        "a bill with three numbers",
    ],
}


def make_register(folder: Path, name: str, likes: str) -> Register:
    """A register that fits texts of one theme and not the other's."""
    folder = folder / name
    folder.mkdir()
    rows = [
        {"id": f"en-{theme}-{i}", "language": "en", "split": "train", "text": text, "linkage": ["word", "thing"],
         "reply": "A word is a thing.", "fit": 0.9 if theme == likes else 0.1}
        for theme, texts in INPUTS.items() for i, text in enumerate(texts)
    ]  # fmt: skip
    (folder / "examples.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return Register(name, folder, {"en": name}, {"en": name}, "*", "*", "CC0-1.0", {})


@pytest.fixture
def resources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Resources:
    monkeypatch.setenv("SCENEPIPE_CACHE", str(tmp_path / "cache"))
    registers = {"sailor": make_register(tmp_path, "sailor", "sea"), "clerk": make_register(tmp_path, "clerk", "sum")}
    return Resources(encoder=HashEncoder(), registers=registers)


def scene_with_vector(text: str, encoder: HashEncoder) -> Scene:
    data = np.round(encoder.encode([text])[0] * 127).astype(np.int8).tobytes()
    field = SemanticField(axes="axes@1", vector=Vector(data=data, encoder=encoder.fingerprint))
    return new_scene(text).with_(field=field, language=Language(code="en"))


def chosen(stage: Route, resources: Resources, scene: Scene) -> Mixture:
    ctx = Context(resources, run="r", pipeline="p", emit=lambda event: None)
    mixture = stage.run_batch([scene], ctx)[0].registers
    assert mixture is not None
    return mixture


def test_the_register_that_fits_leads(resources: Resources) -> None:
    stage = Route()
    stage.open(resources)
    encoder = HashEncoder()
    sea = chosen(stage, resources, scene_with_vector("the boat in the harbour and the sea", encoder))
    count = chosen(stage, resources, scene_with_vector("count the sum of the bill", encoder))
    assert sea.weights["sailor"] > sea.weights.get("clerk", 0.0)
    assert count.weights["clerk"] > count.weights.get("sailor", 0.0)


def test_every_weight_names_the_examples_that_made_it(resources: Resources) -> None:
    stage = Route()
    stage.open(resources)
    mixture = chosen(stage, resources, scene_with_vector("a boat on the sea", HashEncoder()))
    causes = [reason.cause for reason in mixture.reasons["sailor"]]
    assert set(mixture.reasons) == set(mixture.weights)
    assert any(
        re.search(r"«a boat on the sea» \(cosine (0\.9\d|1\.00)\), whose fit is 0\.90", cause) for cause in causes
    ), causes


def test_without_a_vector_the_mean_fit_speaks_and_says_so(resources: Resources) -> None:
    stage = Route()
    stage.open(resources)
    mixture = chosen(stage, resources, new_scene("a boat").with_(language=Language(code="en")))
    assert mixture.weights["sailor"] == mixture.weights["clerk"]
    assert "no vector" in mixture.reasons["sailor"][0].cause


def test_a_callers_mixture_is_kept(resources: Resources) -> None:
    stage = Route()
    stage.open(resources)
    own = Mixture(weights={"clerk": 0.2})
    assert chosen(stage, resources, scene_with_vector("the sea", HashEncoder()).with_(registers=own)) is own


def test_fixed_mixture_option(resources: Resources) -> None:
    stage = Route(mixture={"clerk": 0.3})
    stage.open(resources)
    mixture = chosen(stage, resources, scene_with_vector("the sea", HashEncoder()))
    assert mixture.weights == {"clerk": 0.3}
    assert mixture.reasons["clerk"][0].cause == "fixed in the pipeline"


def test_an_impossible_fixed_mixture_is_refused_at_once() -> None:
    with pytest.raises(MixtureError):
        Route(mixture={"clerk": 1.3})


def test_vectors_are_kept_in_the_cache(resources: Resources, tmp_path: Path) -> None:
    Route().open(resources)
    (kept,) = (tmp_path / "cache" / "vectors").iterdir()
    kept.write_bytes(b"broken")
    stage = Route()
    stage.open(resources)
    mixture = chosen(stage, resources, scene_with_vector("the boat in the harbour", HashEncoder()))
    assert mixture.weights["sailor"] > mixture.weights.get("clerk", 0.0)
    assert kept.stat().st_size > 100


@given(st.dictionaries(st.from_regex(r"[a-z]{1,6}", fullmatch=True), st.floats(0.0, 1.0), max_size=6))
def test_shares_are_a_mixture_in_the_order_of_the_fits(fits: dict[str, float]) -> None:
    mixture = _share(fits, dict.fromkeys(fits, ()))
    assert sum(mixture.weights.values()) <= max(fits.values(), default=0.0) + 0.01
    assert all(weight >= SMALLEST for weight in mixture.weights.values())
    ordered = list(mixture.weights)
    for one, other in itertools.pairwise(ordered):
        assert fits[one] >= fits[other] - 1e-3


class TestRoute(StageSuite):
    def make_stage(self) -> Route:
        return Route()
