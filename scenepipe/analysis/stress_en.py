"""English stress: the CMU pronouncing dictionary as ``gruut-lang-en`` (MIT) packs it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from scenepipe.analysis.pronunciations import package_version, pronunciations
from scenepipe.analysis.rhyme import Ending
from scenepipe.analysis.stress import UNKNOWN_STRESS, Stress

if TYPE_CHECKING:
    from scenepipe.analysis.words import Word

PACKAGE = "gruut_lang_en"
KNOWN, HOMOGRAPH = 0.95, 0.7
SECOND_SENSE = 0.7
"""Chance that a word sounds as its second or a later sense."""
VOWELS = frozenset({"aɪ", "aʊ", "eɪ", "i", "oʊ", "u", "æ", "ɑ", "ɔ", "ɔɪ", "ə", "ɚ", "ɛ", "ɪ", "ʊ", "ʌ", "ɝ"})
PRIMARY, SECONDARY = "ˈ", "ˌ"


class EnglishDictionary:
    """Every word from its form alone; the first sense unless metre asks for another."""

    def __init__(self) -> None:
        self.name = f"gruut-lang-en@{package_version(PACKAGE, 'English stress from a dictionary')}"

    def open(self) -> None:
        """Load the dictionary."""
        _lexicon()

    def stress(self, text: str, words: Sequence[Word]) -> list[Stress]:
        """One answer per word; unknown for words that the dictionary does not hold."""
        return [stress_of(word.form) for word in words]


def stress_of(form: str) -> Stress:
    """Stress of a folded form; possessives are looked up without their ending where the whole is not listed."""
    senses = _lexicon().get(form) or _lexicon().get(form.removesuffix("'s").rstrip("'"))
    if not senses:
        return _joined(form) if "-" in form else UNKNOWN_STRESS
    read = [_sense(sense) for sense in senses]
    first = read[0]
    others = tuple(sorted({sense.syllable for sense in read if sense.syllable is not None} - {first.syllable}))
    endings = tuple(dict.fromkeys(ending for sense in read for ending in sense.endings))
    confidence = 1.0 if first.size == 1 else HOMOGRAPH if others else KNOWN
    return first._replace(confidence=confidence, others=others, endings=endings) if first.size else UNKNOWN_STRESS


def _joined(form: str) -> Stress:
    """Of a word with hyphens the first part is stressed, as compounds are: moon-lit; the last one rhymes."""
    parts = [stress_of(part) for part in form.split("-") if part]
    if not parts or any(part.size is None for part in parts):
        return UNKNOWN_STRESS
    size = sum(part.size or 0 for part in parts)
    return Stress(parts[0].syllable, HOMOGRAPH, size=size, endings=parts[-1].endings)


def _sense(phonemes: str) -> Stress:
    """Stress, syllables, and the sound from the stressed vowel on; a word of one syllable is stressed on it."""
    sounds = phonemes.split()
    vowels = [i for i, sound in enumerate(sounds) if _plain(sound) in VOWELS]
    stressed = [place for place, i in enumerate(vowels) if sounds[i].startswith(PRIMARY)]
    if not vowels or not (stressed or len(vowels) == 1):
        return UNKNOWN_STRESS
    place = stressed[0] if stressed else 0
    endings = [tuple(map(_plain, sounds[vowels[place] :]))]
    if len(vowels) - place > 2:  # eternity rhymes with sea
        endings.append(tuple(map(_plain, sounds[vowels[-1] :])))
    return Stress(place, KNOWN, size=len(vowels), endings=tuple(endings))


def _plain(sound: str) -> str:
    return sound.strip(PRIMARY + SECONDARY)


@cache
def _lexicon() -> dict[str, tuple[str, ...]]:
    """Form -> phonemes of its senses, in the dictionary's order."""
    lexicon: dict[str, tuple[str, ...]] = {}
    for form, phonemes in pronunciations(PACKAGE):
        lexicon[form] = (*lexicon.get(form, ()), phonemes)
    return lexicon


def english_endings(stress: Stress) -> list[Ending]:
    """How an English word may end in sound, the first sense with chance 1; none where the dictionary has no sound."""
    found: list[Ending] = []
    for sounds in stress.endings:
        parts: list[tuple[str, ...]] = []
        for sound in sounds:
            if sound in VOWELS:
                parts += [(sound,), ()]
            else:
                parts[-1] = (*parts[-1], sound)
        found.append(Ending((), tuple(parts), SECOND_SENSE if found else 1.0))
    return found
