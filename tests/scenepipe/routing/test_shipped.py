"""The shipped registers: clear inputs go to the voice that anyone would name, and a new voice is heard at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scenepipe.encoders.usem3 import Usem3Encoder
from scenepipe.models.store import cache_dir
from scenepipe.register import Register, examples
from scenepipe.routing.router import Router, train_router
from scenepipe.scene import Scene

Read = Callable[..., list[Scene]]

CLEAREST = [
    ("body", "Перед экзаменом дрожат колени и пересохло во рту."),
    ("body", "Почему так ноет спина, когда я долго сижу?"),
    ("logician", "Следует ли из того, что дождь шёл вчера, что он пойдёт и завтра?"),
    ("logician", "Какой из двух тарифов выгоднее, если я звоню только по выходным?"),
    ("poet", "Первый снег лёг на пустую лодку у причала."),
    ("philosopher", "В чём смысл жизни, если всё кончается?"),
    ("body", "My shoulders ache and my hands are cold after a day at the desk."),
    ("body", "Why does my heart pound when I climb the stairs?"),
    ("logician", "If every raven is black and this bird is white, can it be a raven?"),
    ("logician", "Which of the two plans is cheaper if I drive more than ten thousand miles a year?"),
    ("poet", "Frost drew ferns on the window of the empty house."),
    ("philosopher", "Is a life without suffering still a human life?"),
]

COOK = [
    "How long should I boil an egg for a soft yolk?", "Which flour is best for thin pancakes?",
    "My soup is too salty, can I save it?", "Tell me how to chop onions without tears.",
    "The dough did not rise overnight.", "What can I bake with three apples and some oats?",
    "Should garlic go in before the tomatoes?", "The rice always sticks to my pan.",
    "Give me a quick sauce for cold noodles.", "Can I freeze a mushroom pie?",
    "How do I know when the chicken is done?", "My custard has curdled again.",
    "Suggest a spice for roast carrots.", "Is butter better than oil for frying fish?",
    "The bread came out heavy as a brick.", "What goes well with boiled beetroot?",
    "How much sugar does plum jam need?", "Teach me to fold dumplings.",
    "My gravy is full of lumps.", "Which pot keeps porridge from burning?",
]  # fmt: skip
OTHERS = [
    "Is freedom possible without rules?", "My back hurts after the long drive.", "Snow covered the bench in the park.",
    "I argued with my sister about money.", "Верно ли, что из этого следует и обратное?", "What is courage?",
    "The night train whistled far away.", "I cannot sleep before exams.", "Какой банк надёжнее, если вклад небольшой?",
    "My printer has stopped working.",
]  # fmt: skip
UNSEEN = [
    "How do I keep potatoes from turning grey in the stew?",
    "The pie crust is burnt and the filling is raw.",
    "What shall I add to lentil soup for more taste?",
    "Пересолила суп, как его спасти?",
]


@pytest.mark.parametrize(("voice", "text"), CLEAREST)
def test_clear_inputs(router: Router, read: Read, voice: str, text: str) -> None:
    mixture = router.mixtures(read(text))[0]
    assert next(iter(mixture.weights)) == voice, mixture.weights


def test_it_is_calibrated_on_the_dev_rows_that_the_voices_share(router: Router) -> None:
    assert router.calibration.rows > 80


@pytest.fixture(scope="module")
def with_cook(shipped: dict[str, Register], make_register: Callable[..., Register], usem3: Usem3Encoder) -> Router:
    rows = [*((text, 1.0) for text in COOK), *((text, 0.1) for text in OTHERS)]
    assert len(rows) == 30
    return train_router({**shipped, "cook": make_register("cook", rows)}, usem3, cache_dir())


@pytest.mark.parametrize("text", UNSEEN)
def test_a_new_register_of_thirty_rows_wins_on_its_own_kind(with_cook: Router, read: Read, text: str) -> None:
    mixture = with_cook.mixtures(read(text))[0]
    assert next(iter(mixture.weights)) == "cook", mixture.weights


def test_and_leaves_the_others_theirs(with_cook: Router, read: Read) -> None:
    for voice, text in CLEAREST:
        mixture = with_cook.mixtures(read(text))[0]
        assert next(iter(mixture.weights)) == voice, (text, mixture.weights)


def test_adding_a_register_changes_no_other_fit(with_cook: Router, router: Router, read: Read) -> None:
    scenes = read(*(text for _, text in CLEAREST))
    kept = [with_cook.names.index(name) for name in router.names]
    assert with_cook.fits(scenes)[:, kept] == pytest.approx(router.fits(scenes), abs=1e-9)


@pytest.mark.parametrize("language", ["ru", "en"])
def test_fits_of_one_language_serve_the_other(
    shipped: dict[str, Register], make_register: Callable[..., Register], usem3: Usem3Encoder, read: Read, language: str
) -> None:
    """Labels in one language alone rank inputs of the other by the voice they were written for."""
    rows = [
        (row.text, row.fit) for row in examples(shipped["body"]) if row.language == language and row.split == "train"
    ]
    half = train_router({"half": make_register("half", rows, language=language)}, usem3, cache_dir())
    other = [(voice, scene) for voice, text in CLEAREST if ("а" in text) != (language == "ru") for scene in read(text)]
    assert len(other) == 6
    fits = half.fits([scene for _, scene in other])[:, 0]
    bodily = [fit for (voice, _), fit in zip(other, fits, strict=True) if voice == "body"]
    assert min(bodily) > max(fit for (voice, _), fit in zip(other, fits, strict=True) if voice != "body")


def test_a_second_opening_reads_the_cache_and_says_the_same(
    shipped: dict[str, Register], usem3: Usem3Encoder, router: Router, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = read("Почему я не чувствую шаг в себе?")

    def never(texts: object) -> None:
        raise AssertionError("the encoder was asked")

    monkeypatch.setattr(Usem3Encoder, "encode", never)
    assert train_router(shipped, usem3, cache_dir()).mixtures(scenes) == router.mixtures(scenes)


def test_a_test_row_teaches_nothing(make_register: Callable[..., Register], tmp_path: Path, read: Read) -> None:
    from scenepipe.testing.hash_encoder import HashEncoder

    untaught = make_register("cook", [(text, 1.0) for text in COOK], split="test")
    router = train_router({"cook": untaught}, HashEncoder(), tmp_path)
    assert router.fits(read(COOK[0]))[0, 0] == pytest.approx(0.6)
