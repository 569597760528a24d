"""How a line of verse may end: the sound of its last words, for rhyme."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from scenepipe.analysis.metre import METRES, Slot
from scenepipe.analysis.rhyme import Ending
from scenepipe.analysis.russian_sounds import VOWELS, russian_ending
from scenepipe.analysis.stress import STRESS_MARK, Stress
from scenepipe.analysis.stress_en import english_endings

if TYPE_CHECKING:
    from scenepipe.analysis.words import Word

LEAST_CHANCE = 0.01
"""Relative to the likeliest reading; what is rarer is not tried."""
UNSURE_YO = 0.8
LEANING = 0.3
"""Chance that a word of one syllable leans on the word before it (моя́ я) where its place does not say so."""
_LETTERS = frozenset("абвгдеёжзийклмнопрстуфхцчшщъыьэюя")
PARTICLES = frozenset({"бы", "б", "ли", "ль", "же", "ж", "то", "ка", "ведь", "мол"})


class Spoken(NamedTuple):
    """A word of a line: its letters (lower case, without marks), what is known of its stress, and how it is scanned."""

    word: Word
    letters: str
    stress: Stress
    slot: Slot


def line_endings(line: Sequence[Spoken], metre: str | None) -> list[Ending]:
    """Every way the line may end, the likeliest with chance 1. None where its last word's sound is unknown."""
    words = [spoken for spoken in line if spoken.slot.size]
    if not words:
        return []
    last = words[-1]
    if last.word.code == "en":
        return english_endings(last.stress)
    if last.word.code != "ru":
        return []
    leans = _leaning(words, metre) if len(words) > 1 and words[-2].word.code == "ru" else 0.0
    found = [ending._replace(chance=ending.chance * (1.0 - leans)) for ending in _readings(last, "")]
    if leans:
        found += [ending._replace(chance=ending.chance * leans) for ending in _readings(words[-2], last.letters)]
    most = max((ending.chance for ending in found), default=0.0)
    return [e._replace(chance=e.chance / most) for e in found if e.chance >= LEAST_CHANCE * most]


def _leaning(words: Sequence[Spoken], metre: str | None) -> float:
    """Chance that the last word has no stress of its own."""
    last = words[-1]
    if last.slot.size > 1:
        return 0.0
    if metre is not None:
        place = sum(spoken.slot.size for spoken in words) - 1
        if METRES[metre][place % len(METRES[metre])] == "+":
            return 0.02
        return 0.9
    return 0.6 if last.letters in PARTICLES else LEANING


def _readings(spoken: Spoken, tail: str) -> list[Ending]:
    letters = spoken.letters + tail
    places = [i for i, letter in enumerate(spoken.letters) if letter in VOWELS]
    chances = spoken.slot.chances or (1.0,)
    found = []
    for syllable, chance in enumerate(chances[: len(places)]):
        if chance < LEAST_CHANCE:
            continue
        place = places[syllable]
        yo = _yo(spoken, syllable) if letters[place] == "е" else False
        if yo is not True:
            found.append(russian_ending(letters, syllable, chance))
        if yo is not False:
            changed = letters[:place] + "ё" + letters[place + 1 :]
            found.append(russian_ending(changed, syllable, chance if yo else chance * UNSURE_YO))
    return found


def _yo(spoken: Spoken, syllable: int) -> bool | None:
    """Whether a stressed е is read ё. None where nothing says."""
    if "ё" in spoken.letters:
        return False
    return spoken.stress.yo if syllable == spoken.stress.syllable else None


def bare_letters(surface: str) -> str:
    """Lower-case Russian letters of a word, ё kept; marks, hyphens and soft hyphens dropped."""
    composed = unicodedata.normalize("NFC", surface.replace(STRESS_MARK, "")).lower()
    return "".join(letter for letter in composed if letter in _LETTERS)
