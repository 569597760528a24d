"""Words, lines, syllables, pauses, marked stress; with a stresser stress of every word, metre and rhyme."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenepipe.analysis.marks import find_marks
from scenepipe.analysis.rhythm import RHYTHM_VERSION, read_rhythm, rhythm_version
from scenepipe.analysis.stress import Stresser, open_stresser
from scenepipe.analysis.words import split_words
from scenepipe.scene import Rhythm


def rhythm(text: str) -> Rhythm:
    return read_rhythm(text, split_words(text), find_marks(text))


@pytest.mark.parametrize(
    ("text", "count"),
    [("тишина", 3), ("в дом", 1), ("Почему я не чувствую шаг в себе", 11), ("ёж", 1), ("strange", 1), ("table", 2), ("walked", 1), ("wanted", 2), ("the", 1)],
)  # fmt: skip
def test_syllables(text: str, count: int) -> None:
    assert rhythm(text).syllables.value == count


def test_russian_is_exact_and_english_is_not() -> None:
    assert rhythm("тишина").syllables.confidence == 1.0
    assert rhythm("silence").syllables.confidence == 0.7


def test_lines_and_pauses() -> None:
    text = "тихо, темно\n\nи дом…"
    found = rhythm(text)
    assert (found.words, found.lines, found.syllables_per_line) == (4, 2, (4, 2))
    assert [text[a:b] for a, b in found.pauses] == [",", "\n\n", "…"]


def test_other_languages_have_unknown_syllables() -> None:
    found = rhythm("שלום עולם")
    assert found.words == 2
    assert found.syllables.value is None
    assert found.syllables_per_line == ()


def test_stress_is_unknown_without_marks() -> None:
    assert rhythm("мороз и солнце, день чудесный").stress.value is None


def test_stress_marks_give_pattern_and_metre() -> None:
    found = rhythm("Моро́з и со́лнце, де́нь чуде́сный\nЕщё ты дре́млешь, дру́г преле́стный")
    assert found.stress.value == "-+x+-+-+-|-+x+-+-+-"
    assert found.metre.value == "iamb"


@pytest.mark.parametrize(
    ("text", "metre"),
    [
        ("Бу́ря мгло́ю не́бо кро́ет", "trochee"),
        ("Ту́чки небе́сные, ве́чные стра́нники", "dactyl"),
        ("Одна́жды, в студёную зи́мнюю по́ру", "amphibrach"),
    ],
)
def test_metres(text: str, metre: str) -> None:
    assert rhythm(text).metre.value == metre


def test_a_word_without_its_mark_leaves_the_metre_unknown() -> None:
    found = rhythm("Моро́з и солнце, де́нь чуде́сный")
    assert found.stress.value is not None
    assert "?" in found.stress.value
    assert found.stress.confidence < 1.0
    assert found.metre.value is None


@given(st.text(max_size=80))
def test_lines_add_up_to_the_whole(text: str) -> None:
    found = rhythm(text)
    if found.syllables.value is not None:
        assert sum(found.syllables_per_line) == found.syllables.value
    assert all(0 <= a < b <= len(text) for a, b in found.pauses)


# ------------------------------------------------------------------ with a stresser


@pytest.fixture(scope="session")
def dictionary() -> Stresser:
    stresser = open_stresser("dictionary")
    assert stresser is not None
    return stresser


def verse(text: str, stresser: Stresser) -> Rhythm:
    return read_rhythm(text, split_words(text), find_marks(text), stresser)


TROCHEES = "Тихо падает звезда,\nСпит за мельницей вода,\nВ комнатах уже темно,\nВетка трогает окно."
POEMS = [
    ("iamb", "ABAB", "Река темнеет у порога,\nСтоит на страже старый клён,\nИ в тишину ведёт дорога,\nИ дальний колокол влюблён."),
    ("trochee", "AABB", TROCHEES),
    ("dactyl", "ABAB", "Ветер за окнами плачет и мечется,\nСнег засыпает забытый причал,\nГрусть никогда и ничем не излечится,\nКто-то за стенкою песню молчал."),
    ("amphibrach", "ABBA", "Над старой дорогой качается лето,\nИ пахнет полынью сухая земля,\nИ тихо за речкой темнеют поля,\nИ просит прощенья у тени планета."),
    ("anapaest", "ABAB", "За рекой догорает закатное пламя,\nИ молчит над водой опустевший причал,\nТолько ветер один говорит ещё с нами,\nКак когда-то один до рассвета молчал."),
    ("iamb", "-A-A", "Корова вышла на дорогу\nИ смотрит медленно в туман,\nПодходит к ней усталый почтальон\nИ достаёт пустой стакан."),
    ("iamb", "ABAB AABB", "The river holds its breath beneath the stone,\nThe lantern leans above the silent stair,\nI carry home a mountain made of bone,\nAnd find another winter waiting there.\n\nThe meadow and the marble moon agree,\nA silver river wanders to the sea,\nAbove the barn an owl begins to call,\nAnd evening shadows gather on the wall."),
    ("trochee", "AABB", "Silver morning, open water,\nTell the miller's younger daughter\nHow the mountain found a feather,\nHow the rivers run together."),
]  # fmt: skip


@pytest.mark.parametrize(("metre", "scheme", "text"), POEMS)
def test_metre_and_rhyme_of_small_poems(metre: str, scheme: str, text: str, dictionary: Stresser) -> None:
    found = verse(text, dictionary)
    assert (found.metre.value, found.rhyme.value) == (metre, scheme)
    assert found.metre.confidence > 0.9
    assert found.rhyme.confidence > 0.8


def test_the_pattern_of_a_line(dictionary: Stresser) -> None:
    found = verse("Сухая земля и дом", dictionary)
    assert found.stress.value == "-+--+xx"
    assert found.stress.evidence == ((0, 5), (6, 11))
    assert found.metre.value is None
    assert found.rhyme.value is None, "one line has no scheme"


@pytest.mark.parametrize(("word", "pattern"), [("серо-голубой", "xx--+"), ("кто-нибудь", "+xx")])
def test_other_parts_of_a_word_with_a_hyphen_are_open(word: str, pattern: str, dictionary: Stresser) -> None:
    assert verse(word, dictionary).stress.value == pattern


def test_a_mark_of_the_text_wins(dictionary: Stresser) -> None:
    assert verse("за\u0301мок", dictionary).stress.value == "+-"
    assert verse("замо\u0301к", dictionary).stress.value == "-+"


def test_the_metre_chooses_a_homograph(dictionary: Stresser) -> None:
    around = "\nСпит за мельницей вода,\nВ комнатах уже темно,\nВетка трогает окно."
    assert (verse("Замок трогает звезда," + around, dictionary).stress.value or "").startswith("+-+---+|")
    around = "\nСтоит на страже старый клён,\nИ в тишину ведёт дорога,\nИ дальний колокол влюблён."
    assert (verse("Замок темнеет у порога," + around, dictionary).stress.value or "").startswith("-+-+-x-+-|")


def test_rhyme_is_unknown_without_a_stresser_and_where_no_end_is_known(dictionary: Stresser) -> None:
    poem = TROCHEES
    assert rhythm(poem).rhyme.value is None
    assert verse("qzxv qzxw\nwvxz zzxq", dictionary).rhyme.value is None
    assert verse("שלום עולם\nשלום עולם", dictionary).rhyme.value is None


def test_rhyming_words_are_the_evidence(dictionary: Stresser) -> None:
    text = "Стоит пустой стакан\nЛежит густой туман\nПриходит почтальон"
    found = verse(text, dictionary)
    assert found.rhyme.value == "AA-"
    assert [text[a:b] for a, b in found.rhyme.evidence] == ["стакан", "туман"]


def test_listed_english_words_have_surer_syllables(dictionary: Stresser) -> None:
    text = "evaluation of silence"
    assert rhythm(text).syllables.value != verse(text, dictionary).syllables.value == 8
    assert verse(text, dictionary).syllables.confidence > rhythm(text).syllables.confidence


def test_a_word_of_another_language_leaves_stress_unknown_and_rhyme_known(dictionary: Stresser) -> None:
    found = verse("Стоит пустой стакан\nЛежит густой туман ї", dictionary)
    assert found.stress.value is None
    assert verse("Стоит ї стакан\nЛежит густой туман", dictionary).rhyme.value == "AA"


def test_versions_tell_dictionaries_apart(dictionary: Stresser) -> None:
    assert rhythm_version() == RHYTHM_VERSION
    assert dictionary.name in rhythm_version(dictionary)


SPOILED = (
    "ти\u00adши\u00adна\u0301 и да\u00adль\n" * 300,
    "".join(letter + "\u0336\u0489\u030d" * 5 for letter in "тишина стоит\n") * 50,
    "שלום עולם\n" * 300,
    "...!!! 123\n" * 300,
    "слово " * 5000,
    "слово\n" * 2000,
    "а" * 5000,
    "а-" * 3000 + "б",
    "\u0301\u0301\u0301а\u0301",
    "и\u0306е\u0308 и\u0306од",
)


@pytest.mark.parametrize("text", SPOILED, ids=range(len(SPOILED)))
def test_spoiled_text_is_read_or_unknown(text: str, dictionary: Stresser) -> None:
    sound(text, verse(text, dictionary))


@settings(deadline=None)
@given(st.text(alphabet="аеёиоуыэюбвдклнрстшьйжABcdeo \n-'.,!\u0301\u00ad\u0308ї", max_size=120))
def test_any_text_is_read_or_unknown(dictionary: Stresser, text: str) -> None:
    sound(text, verse(text, dictionary))


def sound(text: str, found: Rhythm) -> None:
    for reading in (found.stress, found.metre, found.rhyme):
        assert (reading.value is None) <= (reading.confidence == 0.0 and not reading.evidence)
        assert all(0 <= a < b <= len(text) for a, b in reading.evidence)
    if found.stress.value is not None:
        assert set(found.stress.value) <= set("+-x?|")
        assert tuple(map(len, found.stress.value.split("|"))) == found.syllables_per_line
    if found.rhyme.value is not None:
        assert set(found.rhyme.value) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ- ")
