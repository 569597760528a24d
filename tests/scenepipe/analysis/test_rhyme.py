"""How Russian line ends sound, what rhymes, and schemes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenepipe.analysis import rhyme
from scenepipe.analysis.rhyme import NAMES, SURE, WINDOW, Ending, likeness, scheme
from scenepipe.analysis.russian_sounds import russian_ending


def ending(marked: str) -> Ending:
    """``во+да``: the plus stands before the stressed vowel."""
    before, _, _ = marked.partition("+")
    return russian_ending(marked.replace("+", ""), sum(letter in "аеёиоуыэюя" for letter in before))


@pytest.mark.parametrize(
    ("word", "sound"),
    [
        ("з+уб", "u п"),  # devoiced at the end
        ("люб+овь", "o ф'"),
        ("п+оезд", "o й ɪ ст"),
        ("п+оздно", "o зн ə"),
        ("ч+естно", "e сн ə"),
        ("сме+ётся", "o ц ə"),
        ("м+ыться", "i ц ə"),
        ("л+одка", "o тк ə"),  # д before к
        ("пр+осьба", "o з'б ə"),  # с before б
        ("сч+астье", "a ст'й ɪ"),
        ("м+оре", "o р' ɪ"),
        ("с+инее", "i н' ɪ й ɪ"),
        ("в+анна", "a н ə"),
        ("мо+я", "a"),
    ],
)
def test_sounds(word: str, sound: str) -> None:
    assert " ".join("".join(part) for part in ending(word).parts if part) == sound


@pytest.mark.parametrize(
    ("word", "onset"), [("моег+о", ("в",)), ("мо+я", ("й",)), ("мн+ого", ("м", "н")), ("лун+а", ("н",))]
)
def test_supporting_consonants(word: str, onset: tuple[str, ...]) -> None:
    assert ending(word).onset == onset


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("звезд+а", "вод+а"),
        ("л+уг", "л+ук"),
        ("м+ёд", "п+от"),
        ("мор+оз", "сл+ёз"),
        ("кр+ай", "м+ай"),
        ("кр+ылья", "ус+илья"),
        ("стран+а", "весн+а"),
        ("моег+о", "тог+о"),
        ("ст+арый", "гит+ары"),  # й weighs little
        ("душ+и", "заш+ил"),  # a consonant more, supported by ш
    ],
)
def test_what_rhymes(left: str, right: str) -> None:
    assert likeness(ending(left), ending(right)) >= SURE
    assert likeness(ending(left), ending(right)) == likeness(ending(right), ending(left))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("звезд+а", "вин+а"),  # an open syllable without its consonant
        ("д+ом", "д+ым"),
        ("дор+ога", "голов+а"),
        ("ст+олик", "ст+ол"),
        ("др+уг", "з+уб"),
        ("окн+о", "тепл+о"),
        ("зам+ок", "з+амок"),
    ],
)
def test_what_does_not_rhyme(left: str, right: str) -> None:
    assert likeness(ending(left), ending(right)) < SURE


def test_likeness_falls_with_every_difference_and_with_chance() -> None:
    same = likeness(ending("кр+ай"), ending("м+ай"))
    assert same > likeness(ending("кр+ай"), ending("пор+а")) > likeness(ending("кр+ай"), ending("вод+а")) > 0.0
    assert likeness(ending("кр+ай"), ending("м+ай")._replace(chance=0.25)) == pytest.approx(same / 2)


def schemed(words: str) -> str:
    return scheme([[ending(word)] if word != "?" else [] for word in words.split()]).value


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("вод+а з+уб звезд+а л+уб", "ABAB"),
        ("вод+а з+уб л+уб звезд+а", "ABBA"),
        ("вод+а звезд+а з+уб л+уб", "AABB"),
        ("д+ым вод+а ст+ол звезд+а", "-A-A"),
        ("вод+а звезд+а бед+а ст+ол", "AAA-"),
        ("д+ым ст+ол кр+ай н+ет", "----"),
        ("вод+а ? звезд+а ?", "A-A-"),
        ("", ""),
    ],
)
def test_schemes(words: str, value: str) -> None:
    assert schemed(words) == value


def test_a_weak_rhyme_counts_where_another_supports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    weak = likeness(ending("ст+ены"), ending("вес+енний"))
    monkeypatch.setattr(rhyme, "SURE", weak + 0.01)
    monkeypatch.setattr(rhyme, "NEAR", weak - 0.01)
    assert schemed("вод+а ст+ены звезд+а вес+енний") == "ABAB"
    assert schemed("д+ым ст+ены н+очь вес+енний") == "----"
    monkeypatch.setattr(rhyme, "NEAR", weak + 0.005)
    assert schemed("вод+а ст+ены звезд+а вес+енний") == "A-A-"


def test_confidence_is_high_for_rhymes_and_nothing_for_unknown_ends() -> None:
    assert scheme([[ending("вод+а")], [ending("звезд+а")]]).confidence > 0.9
    assert scheme([[], []]).confidence == 0.0
    assert scheme([]).confidence == 0.0


def test_lines_that_rhyme_are_named() -> None:
    assert scheme([[ending("д+ым")], [ending("вод+а")], [ending("звезд+а")]]).rhymed == (1, 2)


def test_work_is_linear_in_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    real = rhyme.likeness

    def counted(left: Ending, right: Ending) -> float:
        nonlocal calls
        calls += 1
        return real(left, right)

    monkeypatch.setattr(rhyme, "likeness", counted)
    sounds = [
        f"{a}{b}{vowel}{c}" for a in "бвгджзклмнпрст" for b in "лрнм" for vowel in "аоуи" for c in "бвгджзклмнпрст"
    ]
    assert len(sounds) > 3000
    assert len(scheme([[russian_ending(word, 0)] for word in sounds]).value) == len(sounds)
    assert len(sounds) < calls <= WINDOW * len(sounds)


def test_more_rhymes_than_letters_begin_again_with_a() -> None:
    sounds = [f"{vowel}{consonant}{end}" for consonant in "нмлрт" for vowel in "аоуи" for end in ("а", "у")]
    ends = [[russian_ending(word, 0)] for word in sounds for _ in range(2)]
    names = scheme([end for end in ends if end]).value
    assert len(names) == 80
    assert set(names) <= set(NAMES)


@settings(deadline=None)
@given(st.text(alphabet="аеёиоуыэюябвгджзйклмнпрстфхцчшщъь", min_size=1, max_size=20), st.integers(0, 9))
def test_any_letters_have_an_ending(letters: str, place: int) -> None:
    if not any(letter in "аеёиоуыэюя" for letter in letters):
        letters += "а"
    found = russian_ending(letters, place)
    assert len(found.parts) % 2 == 0
    assert all(len(vowel) == 1 for vowel in found.parts[::2])
    assert likeness(found, found) > 0.9
