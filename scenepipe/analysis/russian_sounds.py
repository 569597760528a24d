"""How the end of a Russian word sounds, from its letters and its stress.

What rhyme needs and no more: stressed vowels by class (а/я, о/ё, э/е, у/ю, и/ы), unstressed ones reduced, consonants hard
or soft (a soft one is written with an apostrophe), assimilated in voice, devoiced at the end, groups simplified,
-ого and -его with в, -тся and -ться with ц (Avanesov's rules of standard pronunciation).
"""

from __future__ import annotations

from functools import lru_cache

from scenepipe.analysis.rhyme import Ending

VOWELS = frozenset("аеёиоуыэюя")
DEVOICED = {"б": "п", "в": "ф", "г": "к", "д": "т", "ж": "ш", "з": "с"}
VOICED = {voiceless: voiced for voiced, voiceless in DEVOICED.items()}

_STRESSED = {"а": "a", "я": "a", "о": "o", "ё": "o", "э": "e", "е": "e", "у": "u", "ю": "u", "и": "i", "ы": "i"}
_REDUCED = {"а": "ə", "о": "ə", "я": "ə", "э": "ɪ", "е": "ɪ", "и": "ɪ", "ы": "ɪ", "у": "u", "ю": "u", "ё": "o"}
_SOFTENING, _IOTATED, _SIGNS = frozenset("еёиюяь"), frozenset("еёюя"), frozenset("ьъ")
_ALWAYS_HARD, _ALWAYS_SOFT, _VOICELESS = frozenset("жшц"), frozenset("чщй"), frozenset("хцчщ")
_GROUPS = (
    ("тьс", "ц"), ("тс", "ц"), ("дс", "ц"), ("стн", "сн"), ("здн", "зн"), ("лнц", "нц"), ("стл", "сл"), ("рдц", "рц"),
    ("вств", "ств"), ("сч", "щ"), ("зч", "щ"), ("сш", "ш"), ("зш", "ш"), ("зж", "ж"), ("тч", "ч"), ("дч", "ч"),
)  # fmt: skip
_PLAIN_GO = frozenset(
    {"много", "немного", "строго", "дорого", "убого", "полого", "отлого", "лего", "эго", "альтер-эго"}
)


@lru_cache(maxsize=16384)
def russian_ending(letters: str, syllable: int, chance: float = 1.0) -> Ending:
    """The sound from a stressed syllable on.

    Args:
        letters: lower-case Russian letters with at least one vowel; ё where it is known.
        syllable: the stressed one, from 0.
        chance: probability of this reading.
    """
    heard = _simplified(letters)
    places = [i for i, letter in enumerate(heard) if letter in VOWELS]
    syllable = min(syllable, len(places) - 1)
    onset = _consonants(heard, places[syllable - 1] + 1 if syllable else 0, places[syllable])
    parts: list[tuple[str, ...]] = [(_STRESSED[heard[places[syllable]]],)]
    for place, following in zip(places[syllable:], [*places[syllable + 1 :], len(heard)], strict=True):
        parts.append(_consonants(heard, place + 1, following))
        if following < len(heard):
            parts.append((_REDUCED[heard[following]],))
    return Ending(onset, tuple(parts), chance)


def _simplified(letters: str) -> str:
    if letters.endswith(("ого", "его")) and letters not in _PLAIN_GO:
        letters = letters[:-2] + "во"
    for written, heard in _GROUPS:
        letters = letters.replace(written, heard)
    return letters


def _consonants(letters: str, start: int, end: int) -> tuple[str, ...]:
    """Sounds between two vowels, or from the last vowel to the end."""
    sounds: list[str] = []
    for i in range(start, end):
        letter = letters[i]
        if letter in _SIGNS:
            continue
        soft = letters[i + 1 : i + 2] in _SOFTENING if i + 1 < len(letters) else False
        hard = letter in _ALWAYS_HARD or letter in _ALWAYS_SOFT
        sounds.append(letter + "'" if soft and not hard else letter)
    if end < len(letters) and letters[end] in _IOTATED and (start == end or letters[end - 1] in _SIGNS):
        sounds.append("й")
    return _single(_assimilated(sounds, final=end == len(letters)))


def _assimilated(sounds: list[str], *, final: bool) -> list[str]:
    """Voice runs from right to left; в takes it and does not give it."""
    heard: list[str] = []
    voice: bool | None = False if final else None
    for sound in reversed(sounds):
        letter = sound[0]
        if letter in DEVOICED and voice is False:
            letter = DEVOICED[letter]
        elif letter in VOICED and voice is True:
            letter = VOICED[letter]
        heard.append(letter + sound[1:])
        if letter in DEVOICED:
            voice = voice if letter == "в" else True
        else:
            voice = False if letter in VOICED or letter in _VOICELESS else None
    return heard[::-1]


def _single(sounds: list[str]) -> tuple[str, ...]:
    """A doubled consonant sounds once."""
    return tuple(sound for i, sound in enumerate(sounds) if not i or sound[0] != sounds[i - 1][0])
