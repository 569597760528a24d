"""The router: the same alone and in a batch, reasons that add up, odd registers and odd scenes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenepipe.errors import RegisterError
from scenepipe.register import Register
from scenepipe.routing import router as module
from scenepipe.routing.calibration import Calibration
from scenepipe.routing.inputs import read_scenes, scene_builder
from scenepipe.routing.router import Router, train_router
from scenepipe.scene import Emotion, Language, Reading, Rhythm, Scene, SemanticField, Symbol, Tension, Vector, new_scene
from scenepipe.testing.hash_encoder import HashEncoder

MakeRegister = Callable[..., Register]

SEA = ["the sea and the harbour", "a boat on the sea", "salt wind over the sea", "the harbour at night", "море и берег"]
SUMS = ["add the numbers of the bill", "the sum of two numbers", "count the numbers again", "a bill of numbers"]
ODD = ["🙂", "שלום", "x" * 3000, "a\0b", "Why?!", "Почему я не чувствую шаг в себе?", "the sea " * 200]
ENCODER = HashEncoder()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def see() -> Callable[..., list[Scene]]:
    builder = scene_builder(ENCODER)
    return lambda *texts: read_scenes(texts, builder)


@pytest.fixture(scope="module")
def two(make_register: MakeRegister) -> dict[str, Register]:
    rows = [*((text, 0.9) for text in SEA), *((text, 0.1) for text in SUMS)]
    return {
        "sailor": make_register("sailor", rows),
        "clerk": make_register("clerk", [(text, 1.0 - fit) for text, fit in rows]),
    }


@pytest.fixture(scope="module")
def router(two: dict[str, Register], folder: Path) -> Router:
    return train_router(two, ENCODER, folder)


def test_alone_and_in_a_batch_a_scene_has_one_mixture(router: Router, see: Callable[..., list[Scene]]) -> None:
    scenes = see(*SEA, *SUMS, *ODD)
    together = router.mixtures(scenes)
    assert together == [router.mixtures([scene])[0] for scene in scenes]
    assert together == router.mixtures(scenes[::-1])[::-1]
    assert np.array_equal(router.fits(scenes)[3], router.fits(scenes[3:4])[0])


def test_the_order_of_the_registers_changes_nothing(
    router: Router, two: dict[str, Register], folder: Path, see: Callable[..., list[Scene]]
) -> None:
    turned = train_router(dict(reversed(two.items())), ENCODER, folder)
    scenes = see(*SEA, *ODD)
    assert turned.mixtures(scenes) == router.mixtures(scenes)


def test_reasons_add_up_to_the_fit(router: Router, see: Callable[..., list[Scene]]) -> None:
    for mixture in router.mixtures(see(*SEA, *SUMS, *ODD)):
        for reasons in mixture.reasons.values():
            *parts, fit = reasons
            assert fit.cause == "fit"
            assert min(1.0, max(0.0, math.fsum(part.amount for part in parts))) == pytest.approx(fit.amount, abs=1e-3)


def test_the_nearest_examples_are_named_first_nearest_first(router: Router, see: Callable[..., list[Scene]]) -> None:
    causes = [reason.cause for reason in router.mixtures(see("a boat on the sea"))[0].reasons["sailor"]]
    assert causes[0].startswith("near en-train-1 «a boat on the sea» (cosine ")
    assert causes[1].startswith("near en-train-")
    cosines = [float(cause.split("(cosine ")[1][:4]) for cause in causes[:2]]
    assert cosines[0] > 0.9 > cosines[1]
    assert not causes[2].startswith("near")


def test_a_long_example_is_named_in_short(
    make_register: MakeRegister, folder: Path, see: Callable[..., list[Scene]]
) -> None:
    long = "the sea " * 40
    router = train_router({"sailor": make_register("sailor", [(long, 0.9)])}, ENCODER, folder)
    cause = router.mixtures(see("the sea"))[0].reasons["sailor"][0].cause
    assert "…»" in cause
    assert len(cause) < 150


def test_features_that_moved_a_fit_are_named(
    make_register: MakeRegister, folder: Path, see: Callable[..., list[Scene]]
) -> None:
    asked = [f"Is {thing} here?" for thing in ("rope", "bread", "snow", "a dog", "money", "love", "the bus", "tea")]
    told = [f"{thing} is there." for thing in ("Wine", "Sand", "Iron", "A cat", "Debt", "Fear", "The train", "Milk")]
    rows = [*((text, 1.0) for text in asked), *((text, 0.0) for text in told)]
    router = train_router({"asker": make_register("asker", rows)}, None, folder)
    reasons = router.mixtures(see("Does the river freeze?"))[0].reasons["asker"]
    assert any(reason.cause == "question" and reason.amount > 0.02 for reason in reasons), reasons


def test_no_vector_says_so_and_features_still_count(router: Router) -> None:
    reasons = router.mixtures([new_scene("a boat")])[0].reasons["sailor"]
    assert (reasons[0].cause, reasons[0].amount) == ("no vector to compare with", 0.0)
    assert not any(reason.cause.startswith("near") for reason in reasons)


# --- registers -------------------------------------------------------------------------------------------------------


def test_constant_fits(make_register: MakeRegister, folder: Path, see: Callable[..., list[Scene]]) -> None:
    constant = make_register("constant", [(text, 0.7) for text in SEA + SUMS])
    fits = train_router({"constant": constant}, ENCODER, folder).fits(see(*SEA, *ODD))
    assert ((fits > 0.6) & (fits < 0.75)).all()


def test_a_register_without_train_rows_has_the_prior(make_register: MakeRegister, folder: Path, two: dict[str, Register],
                                                     see: Callable[..., list[Scene]]) -> None:  # fmt: skip
    empty = make_register("empty", [(text, 1.0) for text in SEA], split="test")
    found = train_router({**two, "empty": empty}, ENCODER, folder)
    assert found.fits(see(*ODD))[:, found.names.index("empty")] == pytest.approx(0.6)
    assert found.mixtures(see(SEA[0]))[0].weights["sailor"] > 0.3


def test_blank_inputs_are_passed_over(
    make_register: MakeRegister, folder: Path, see: Callable[..., list[Scene]]
) -> None:
    blank = make_register("blank", [(" ", 0.0), (SEA[0], 0.9)])
    assert train_router({"blank": blank}, ENCODER, folder).fits(see(SEA[0]))[0, 0] > 0.6


def test_a_text_given_twice_counts_once_with_its_mean(make_register: MakeRegister, folder: Path,
                                                      see: Callable[..., list[Scene]]) -> None:  # fmt: skip
    twice = make_register("twice", [(SEA[0], 1.0), (SEA[0], 0.5), (SUMS[0], 0.1)])
    once = make_register("once", [(SEA[0], 0.75), (SUMS[0], 0.1)])
    fits = train_router({"twice": twice, "once": once}, ENCODER, folder).fits(see(*SEA, *SUMS))
    assert fits[:, 0] == pytest.approx(fits[:, 1], abs=1e-12)


def test_many_rows_are_thinned_evenly(make_register: MakeRegister, folder: Path, see: Callable[..., list[Scene]],
                                      monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    rows = [*((text, 0.9) for text in SEA), *((text, 0.1) for text in SUMS)]
    many = make_register("many", rows)
    monkeypatch.setattr(module, "MOST_ROWS", 5)
    found = train_router({"many": many}, ENCODER, folder)
    assert len(found.learned["many"].rows) == 5
    assert found.fits(see(SEA[0]))[0, 0] > found.fits(see(SUMS[0]))[0, 0]


def test_broken_examples_are_named(make_register: MakeRegister, folder: Path) -> None:
    broken = make_register("broken", [("the sea", 0.5)])
    (broken.folder / "examples.jsonl").write_text('{"id": 1}\n', "utf-8")
    with pytest.raises(RegisterError, match=r"examples\.jsonl"):
        train_router({"broken": broken}, ENCODER, folder)


def test_without_registers_every_scene_is_the_bases(folder: Path, see: Callable[..., list[Scene]]) -> None:
    found = train_router({}, ENCODER, folder)
    assert found.mixtures(see("the sea"))[0].weights == {}
    assert found.fits(see("the sea")).shape == (1, 0)


# --- calibration -----------------------------------------------------------------------------------------------------


def test_dev_rows_calibrate_and_teach_nothing(
    make_register: MakeRegister, folder: Path, see: Callable[..., list[Scene]]
) -> None:
    dev = [(f"{text} {n}", 0.2) for n in range(8) for text in SEA]
    rows = [(text, 0.9) for text in SEA]
    plain = {name: make_register(name, rows) for name in ("one", "two")}
    with_dev = {name: make_register(name, rows, dev=dev) for name in ("one", "two")}
    before, after = (train_router(registers, ENCODER, folder) for registers in (plain, with_dev))
    assert before.calibration == Calibration()
    assert after.calibration.rows == len(dev)
    assert after.calibration.lift < Calibration().lift, "every best label lies under its prediction"
    assert after.fits(see(*SEA)) == pytest.approx(before.fits(see(*SEA)), abs=1e-12)


def test_given_numbers_win(two: dict[str, Register], folder: Path, see: Callable[..., list[Scene]]) -> None:
    sharp = train_router(two, ENCODER, folder, temperature=0.01, base=0.4).mixtures(see(SEA[0]))[0]
    assert sharp.weights == {"sailor": 0.6}


# --- any scene -------------------------------------------------------------------------------------------------------

UNIT = st.none() | st.floats(0.0, 1.0)
SIGNED = st.none() | st.floats(-1.0, 1.0)


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Scenes no builder would make, too: any of their fields missing, unknown or extreme."""
    data = draw(st.none() | st.binary(min_size=256, max_size=256) | st.binary(max_size=9))
    vector = Vector(data=data, encoder=ENCODER.fingerprint) if data is not None else None
    axes = st.sampled_from(["bodily", "inner", "abstract", "unheard of"])
    field = SemanticField(axes="axes@1", weights=draw(st.dictionaries(axes, st.floats(0.0, 1.0))), vector=vector)
    emotion = Emotion(valence=Reading(value=draw(SIGNED)), arousal=Reading(value=draw(SIGNED)))
    rhythm = Rhythm(words=draw(st.integers(0, 10**9)), syllables=Reading(value=draw(st.none() | st.integers(0, 10**9))))
    positive = Symbol(lemma="x", language="en")
    denied = positive.model_copy(update={"polarity": -1})
    symbols = tuple(draw(st.lists(st.sampled_from([positive, denied]), max_size=3)))
    filled = {
        "language": Language(code=draw(st.sampled_from(["ru", "en", "und"]))),
        "field": field,
        "emotion": emotion,
        "rhythm": rhythm,
        "tension": Tension(level=Reading(value=draw(UNIT))),
        "symbols": symbols,
    }
    kept = draw(st.sets(st.sampled_from(sorted(filled))))
    return new_scene("x").with_(**{name: filled[name] for name in kept})


@settings(deadline=None)
@given(st.lists(scenes(), max_size=4))
def test_weights_are_legal_for_any_scene(router: Router, drawn: list[Scene]) -> None:
    for mixture, fits in zip(router.mixtures(drawn), router.fits(drawn), strict=True):
        assert all(0.0 < weight <= 1.0 for weight in mixture.weights.values())
        assert math.fsum(mixture.weights.values()) <= 1.0
        assert ((fits >= 0.0) & (fits <= 1.0)).all()
        assert set(mixture.reasons) == set(mixture.weights)
        if mixture.weights:
            assert fits[router.names.index(next(iter(mixture.weights)))] == fits.max()


# --- inputs without replies ------------------------------------------------------------------------------------------


def test_inputs_without_replies_teach_the_fit(
    make_register: MakeRegister, folder: Path, see: Callable[..., list[Scene]]
) -> None:
    taught, untaught = (make_register(name, [(text, 0.9) for text in SEA]) for name in ("taught", "untaught"))
    lines = [{"id": f"f-{i}", "language": "en", "text": text, "fit": 0.05} for i, text in enumerate(SUMS)]
    (taught.folder / "fits.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    found = train_router({"taught": taught, "untaught": untaught}, ENCODER, folder)
    [[low, high]] = found.fits(see(SUMS[0]))
    assert low < high - 0.2
    assert len(found.learned["taught"].rows) == len(SEA) + len(SUMS)


def test_broken_inputs_without_replies_are_named(make_register: MakeRegister, folder: Path) -> None:
    broken = make_register("broken_fits", [("the sea", 0.5)])
    (broken.folder / "fits.jsonl").write_text('{"id": "f", "language": "en", "text": "a sum", "fit": 2}\n', "utf-8")
    with pytest.raises(RegisterError, match=r"fits\.jsonl:1: fit"):
        train_router({"broken": broken}, ENCODER, folder)
