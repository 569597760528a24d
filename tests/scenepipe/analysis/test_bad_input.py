"""Text that is no ordinary text: every span is a slice that says what it stands for, and what is not known is unknown.

That time is linear is shown by benchmarks/scene_linear.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import cycle

import pytest

from scenepipe.analysis.builder import SceneBuilder, SceneReading, SceneText
from scenepipe.analysis.lexicon import shipped_lexicon
from scenepipe.analysis.reading import TextReading, read_text
from scenepipe.analysis.stress import open_stresser
from scenepipe.analysis.tokens import lemma_of
from scenepipe.analysis.words import split_words
from scenepipe.scene import Reading, Span, Symbol, fold

Read = Callable[..., list[SceneReading]]

STANZA = "Ночь легла на тёмный сад,\nзвёзды в озере дрожат,\nтихо листья шелестят\nи огни вдали горят."
LINES, WORDS = 10_000, 100_000
MARKS = "\u0336\u0317\u030d\u035c"
"""None of them makes one letter of two: an a with a dot below it is another letter."""


@pytest.fixture(scope="module")
def stressed() -> Callable[[str], SceneReading]:
    """Text to its reading from words alone, with stress, metre and rhyme."""
    builder = SceneBuilder(shipped_lexicon(), stresser=open_stresser("dictionary"))
    return lambda text: builder.read([SceneText(text, *read_text(text))])[0]


def zalgo(text: str, depth: int) -> str:
    marks = cycle(MARKS)
    return "".join(c + "".join(next(marks) for _ in range(depth)) if c.isalpha() else c for c in text)


def marked(text: str) -> str:
    """A soft hyphen in every word of four letters and more, a stress mark on the last vowel of each."""
    hyphened = re.sub(r"(\w\w)(\w\w)", "\\1\u00ad\\2", text)
    return re.sub(r"([аеиоуыэюяaeiouy])(?=[^аеиоуыэюяaeiouy\s]*(?:\s|$))", "\\1\u0301", hyphened)


def assert_symbols_are_exact(text: str, symbols: Iterable[Symbol]) -> None:
    """Each span is one whole word of the text, and the word's lemma, or its concept's word, is the symbol's."""
    for symbol in symbols:
        assert symbol.evidence
        for span in set(symbol.evidence[:50] + symbol.evidence[-50:]):
            (word,) = split_words(text[slice(*span)])
            assert word.span == (0, span[1] - span[0]), "the whole word with its marks"
            said = {word.form, fold(lemma_of(word).lemma)}
            assert fold(symbol.lemma) in said


def spans(reading: SceneReading) -> Iterator[Span]:
    """Every span of a reading."""
    rhythm, emotion = reading.rhythm, reading.emotion
    found: list[Reading[int] | Reading[str] | Reading[float]] = [
        rhythm.syllables, rhythm.stress, rhythm.metre, rhythm.rhyme,
        emotion.valence, emotion.arousal, emotion.dominance, reading.tension.level,
    ]  # fmt: skip
    yield from (span for item in found for span in item.evidence)
    yield from (span for cause in reading.tension.causes for span in cause.evidence)
    yield from (span for symbol in reading.hyperscene for span in symbol.evidence)
    yield from (span for at in reading.field.evidence.values() for span in at)
    yield from rhythm.pauses


def assert_exact(text: str, found: TextReading, reading: SceneReading) -> None:
    assert_symbols_are_exact(text, found.symbols)
    assert_symbols_are_exact(text, [symbol for symbol in reading.hyperscene if symbol.origin == "text"])
    assert all(0 <= start < end <= len(text) for start, end in spans(reading))
    assert all(text[slice(*run.span)].strip() == text[slice(*run.span)] for run in found.language.spans)
    assert not any(character.isalnum() for span in reading.rhythm.pauses for character in text[slice(*span)])


def unknown(*readings: Reading[int] | Reading[str] | Reading[float]) -> bool:
    return all(item.value is None and item.confidence == 0.0 and item.evidence == () for item in readings)


def no_meaning_is_known(reading: SceneReading) -> bool:
    """Neither symbols nor feeling nor field nor code."""
    emotion, field = reading.emotion, reading.field
    bare = (reading.hyperscene, reading.linkage.chain, reading.linkage.text, field.weights, field.evidence)
    felt = unknown(emotion.valence, emotion.arousal, emotion.dominance)
    return felt and not any(bare) and field.vector is None and reading.delta is None


def test_verse_of_ten_thousand_lines(stressed: Callable[[str], SceneReading]) -> None:
    text = "\n\n".join([STANZA] * (LINES // 4))
    found, reading = read_text(text), stressed(text)
    assert_exact(text, found, reading)
    rhythm = reading.rhythm
    assert rhythm.lines == LINES
    assert rhythm.syllables_per_line == (7,) * LINES
    assert rhythm.metre.value == "trochee"
    assert rhythm.rhyme.value == " ".join(["AAAA"] * (LINES // 4))
    assert [text[slice(*span)] for span in rhythm.rhyme.evidence] == ["сад", "дрожат", "шелестят", "горят"] * (
        LINES // 4
    )
    (garden,) = [symbol for symbol in found.symbols if symbol.lemma == "сад"]
    assert garden.evidence == tuple(match.span() for match in re.finditer("сад", text))


def test_one_word_a_hundred_thousand_times(stressed: Callable[[str], SceneReading]) -> None:
    text = " ".join(["шаг"] * WORDS)
    found, reading = read_text(text), stressed(text)
    assert_exact(text, found, reading)
    (symbol,) = found.symbols
    assert symbol.evidence == tuple((4 * i, 4 * i + 3) for i in range(WORDS))
    assert (symbol.polarity, 0.99 < symbol.score <= 1.0) == (1, True)
    assert reading.rhythm.syllables.value == WORDS
    assert unknown(reading.rhythm.metre, reading.rhythm.rhyme)


@pytest.mark.parametrize(
    "text", ["123 — 🙂 ... 4,5\n?!", "\0\0\n", "½ ² ٣", "🙂" * 500, "\u0301\u0336 \u00ad", "?!…" * 300]
)
def test_text_without_letters(text: str, read: Read, stressed: Callable[[str], SceneReading]) -> None:
    found = read_text(text)
    assert (found.language.code, found.language.confidence, found.language.spans, found.symbols) == ("und", 0.0, (), ())
    for reading in (read(text)[0], stressed(text)):
        assert_exact(text, found, reading)
        rhythm = reading.rhythm
        assert no_meaning_is_known(reading)
        assert unknown(rhythm.syllables, rhythm.stress, rhythm.metre, rhythm.rhyme, reading.tension.level)
        assert (rhythm.words, rhythm.syllables_per_line, reading.tension.causes) == (0, (), ())


@pytest.mark.parametrize("depth", [1, 3, 7])
def test_zalgo_has_the_symbols_of_its_letters(depth: int, read: Read, stressed: Callable[[str], SceneReading]) -> None:
    """A word is read under its marks, and its span holds them all."""
    plain = "ночь и тишина, fear and silence"
    text = zalgo(plain, depth)
    found = read_text(text)
    assert [s.key for s in found.symbols] == ["ночь", "тишина", "fear", "silence"]
    surfaces = [text[slice(*s.evidence[0])] for s in found.symbols]
    assert [re.sub(f"[{MARKS}]", "", surface) for surface in surfaces] == ["ночь", "тишина", "fear", "silence"]
    assert [len(surface) for surface in surfaces] == [length * (depth + 1) for length in (4, 6, 4, 7)]
    for reading in (read(text)[0], stressed(text)):
        assert_exact(text, found, reading)


def test_letters_that_marks_make_others_of_are_not_guessed() -> None:
    assert read_text("f\u0323e\u0323a\u0323r\u0323").symbols == ()


@pytest.mark.parametrize("text", [zalgo("ночь и тишина", 20), "а" + MARKS * 5000, zalgo("שלום עולם", 5)], ids=range(3))
def test_a_word_longer_than_any_word_is_unknown(text: str, read: Read, stressed: Callable[[str], SceneReading]) -> None:
    found = read_text(text)
    assert (found.language.code, found.symbols) == ("und", ())
    assert [(run.span[0], run.span[1]) for run in found.language.spans] == [(0, len(text))]
    for reading in (read(text)[0], stressed(text)):
        assert_exact(text, found, reading)
        assert no_meaning_is_known(reading)
        assert unknown(reading.rhythm.stress, reading.rhythm.metre, reading.rhythm.rhyme)


@pytest.mark.parametrize("text", ["שלום עולם, מה?", "\u202eשלום\u202c\nעולם", "\u2067עולם\u2069"])
def test_right_to_left_text_of_no_known_language(
    text: str, read: Read, stressed: Callable[[str], SceneReading]
) -> None:
    found = read_text(text)
    assert (found.language.code, found.symbols) == ("und", ())
    for reading in (read(text)[0], stressed(text)):
        assert_exact(text, found, reading)
        rhythm = reading.rhythm
        assert no_meaning_is_known(reading)
        assert unknown(rhythm.syllables, rhythm.stress, rhythm.metre, rhythm.rhyme)


@pytest.mark.parametrize("text", ["\u202eтишина\u202c и \u2067страх\u2069", "שלום, тишина и страх\u200f — עולם"])
def test_spans_count_characters_and_not_places_on_the_screen(text: str, read: Read) -> None:
    found = read_text(text)
    assert [(s.key, [text[slice(*span)] for span in s.evidence]) for s in found.symbols] == [
        ("тишина", ["тишина"]),
        ("страх", ["страх"]),
    ]
    assert_exact(text, found, read(text)[0])


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        ("тишина и даль не страх", ["тишина", "даль", "страх"]),
        ("silence and a garden without fear", ["silence", "garden", "fear"]),
    ],
)
def test_soft_hyphens_and_stress_marks_inside_words(plain: str, words: Sequence[str], read: Read) -> None:
    text = marked(plain)
    assert text.count("\u00ad") >= 2
    assert text.count("\u0301") >= 3
    found, without = read_text(text), read_text(plain)
    assert [(s.key, s.score) for s in found.symbols] == [(s.key, s.score) for s in without.symbols]
    assert found.language.code == without.language.code
    assert [text[slice(*s.evidence[0])] for s in found.symbols] == [marked(word) for word in words]
    reading, other = read(text)[0], read(plain)[0]
    assert_exact(text, found, reading)
    assert (reading.delta, reading.linkage, reading.field.weights) == (other.delta, other.linkage, other.field.weights)
    assert reading.rhythm.syllables == other.rhythm.syllables


def test_a_stress_mark_is_read_through_a_soft_hyphen(stressed: Callable[[str], SceneReading]) -> None:
    text = "за\u00ad\u0301мок"
    reading = stressed(text)
    assert reading.rhythm.stress.value == "+-"
    assert reading.rhythm.stress.evidence == ((0, len(text)),)
