"""The text's own marks, the dictionaries, and which stresser opens."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenepipe.analysis.pronunciations import package_version, pronunciations
from scenepipe.analysis.stress import Stress, Stresser, WordStresser, open_stresser, own_stress
from scenepipe.analysis.words import Word, split_words
from scenepipe.errors import ConfigError, MissingExtraError, ModelError


class Fixed:
    """Every word alike."""

    def __init__(self, name: str, answer: Stress) -> None:
        self.name = name
        self.answer = answer

    def stress(self, text: str, words: Sequence[Word]) -> list[Stress]:
        return [self.answer] * len(words)


@pytest.fixture(scope="session")
def dictionary() -> Stresser:
    stresser = open_stresser("dictionary")
    assert stresser is not None
    return stresser


def syllable(stresser: Stresser, word: str) -> int | None:
    (found,) = stresser.stress(word, split_words(word))
    return found.syllable


@pytest.mark.parametrize(
    ("surface", "place"),
    [
        ("за\u0301мок", 0),
        ("замо\u0301к", 1),
        ("ЗАМО\u0301К", 1),
        ("за\u00ad\u0301мок", 0),
        ("весёлый", 1),
        ("весе\u0308лый", 1),
        ("трёхэта\u0301жный", 2),
        ("ёлка", 0),
        ("какой-\u0301то", None),
        ("трёхлетний", None),
        ("замок", None),
        ("за\u0301мо\u0301к", None),
        ("", None),
    ],
)
def test_own_marks(surface: str, place: int | None) -> None:
    found = own_stress(surface)
    assert (found.syllable if found else None) == place


def test_the_texts_mark_wins_over_every_stresser() -> None:
    stresser = WordStresser(Fixed("a", Stress(0, 0.9)), Fixed("b", Stress(0, 0.9)))
    text = "замо\u0301к замок ещё word שלום"
    found = stresser.stress(text, split_words(text))
    assert [stress.syllable for stress in found] == [1, 0, 1, 0, None]
    assert found[0].confidence > found[1].confidence


def test_the_name_says_with_which_data(dictionary: Stresser) -> None:
    russian = package_version("gruut_lang_ru", "stress")
    assert f"gruut-lang-ru@{russian}" in dictionary.name
    assert WordStresser(Fixed("a@1", Stress()), Fixed("b", Stress())).name != (
        WordStresser(Fixed("a@2", Stress()), Fixed("b", Stress())).name
    )


@pytest.mark.parametrize(
    ("word", "place"),
    [
        ("тишина", 2),
        ("дорогами", 1),
        ("дорога", 1),
        ("колокол", 0),
        ("елка", 0),  # ё written as е
        ("душою", 1),  # as душой
        ("очарованье", 3),  # as очарование
        ("кто-нибудь", 0),
        ("серо-голубой", 4),
        ("переубаюкивание", 4),  # in no dictionary: as the words that end so
        ("дом", 0),
        ("в", None),
        ("ъьъ", None),
    ],
)
def test_russian_dictionary(dictionary: Stresser, word: str, place: int | None) -> None:
    assert syllable(dictionary, word) == place


@pytest.mark.parametrize(
    ("word", "place"),
    [("silence", 0), ("alone", 1), ("remember", 1), ("mirror's", 0), ("moon-lit", 0), ("qzxv", None), ("stone", 0)],
)
def test_english_dictionary(dictionary: Stresser, word: str, place: int | None) -> None:
    assert syllable(dictionary, word) == place


def test_a_homograph_is_less_sure_and_names_its_other_senses(dictionary: Stresser) -> None:
    for text, plain in (("замок", "тишина"), ("record", "silence")):
        (found,) = dictionary.stress(text, split_words(text))
        (sure,) = dictionary.stress(plain, split_words(plain))
        assert {found.syllable, *found.others} == {0, 1}
        assert found.confidence < sure.confidence
        assert sure.others == ()


def test_a_guess_is_less_sure_than_a_word_of_the_dictionary(dictionary: Stresser) -> None:
    (guess,) = dictionary.stress("шурымбурение", split_words("шурымбурение"))
    assert guess.confidence < 0.65


def test_restored_yo_is_told(dictionary: Stresser) -> None:
    found = dictionary.stress("елка дерево мёд", split_words("елка дерево мёд"))
    assert [stress.yo for stress in found] == [True, False, True]


def test_english_sound_and_syllables(dictionary: Stresser) -> None:
    (found,) = dictionary.stress("evaluation", split_words("evaluation"))
    assert found.size == 5
    assert found.endings[0][0] == "eɪ"


def test_off_is_no_stresser() -> None:
    assert open_stresser("off") is None


def test_an_unknown_kind_is_refused_with_what_is_possible() -> None:
    with pytest.raises(ConfigError, match=r"'dictionry'.*did you mean 'dictionary'"):
        open_stresser("dictionry")


@pytest.mark.parametrize(("kind", "module"), [("dictionary", "gruut_lang_ru")])
def test_a_missing_package_names_its_extra(kind: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == module else real(name, *a))
    with pytest.raises(MissingExtraError, match=rf"{module}.*scenepipe\[stress\]"):
        open_stresser(kind)


def test_a_damaged_table_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "broken_words"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "lexicon.db").write_text("no table")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModelError, match=r"lexicon\.db cannot be read"):
        list(pronunciations("broken_words"))
    sys.modules.pop("broken_words", None)


@settings(deadline=None)
@given(st.text(alphabet="аеёиоуыэюябвгджзйклмнпрстфхцчшщъь-", min_size=1, max_size=40))
def test_any_russian_letters_have_a_syllable_that_exists_or_none(dictionary: Stresser, text: str) -> None:
    words = split_words(text)
    for word, found in zip(words, dictionary.stress(text, words), strict=True):
        vowels = sum(letter in "аеиоуыэюя" for letter in word.form)
        assert found.syllable is None or 0 <= found.syllable < vowels
        assert all(0 <= other < vowels and other != found.syllable for other in found.others)
        assert 0.0 <= found.confidence <= 1.0
