"""Russian stress without a model: the lexicon of ``gruut-lang-ru``, then the forms that verse makes of its words,
then analogy with the words that end the same.

A form is looked up with е for ё, because most texts are written so. Measured on RIFMA: benchmarks/verse.py.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from scenepipe.analysis.pronunciations import package_version, pronunciations
from scenepipe.analysis.senses import usual_place
from scenepipe.analysis.stress import RUSSIAN_VOWELS, UNKNOWN_STRESS, Stress, russian_syllables

if TYPE_CHECKING:
    from scenepipe.analysis.words import Word

PACKAGE = "gruut_lang_ru"
KNOWN, DERIVED, HOMOGRAPH, GUESSED = 0.97, 0.88, 0.7, 0.64
"""Confidence by where an answer comes from: about its share of right answers on RIFMA's development half (0.98, 0.89,
0.70, 0.75 there; a guess is kept below what counts as a known word, because an invented word has no right answer)."""
LEAST_ENDING = 3
"""Letters that a word must share with the words it is stressed like."""
NEIGHBOURS = 12
"""Words looked at on each side of a reversed form's place."""
PLACE, YO = 0x7F, 0x80

_PARTICLES = frozenset({"то", "ка", "либо", "нибудь", "таки", "де", "с", "ли", "же", "бы"})
_ENDINGS = (
    ("ою", "ой"), ("ею", "ей"), ("ье", "ие"), ("ья", "ия"), ("ью", "ию"), ("ьи", "ии"), ("ьем", "ием"), ("ьям", "иям"),
    ("ьях", "иях"), ("ьями", "иями"), ("ся", ""), ("сь", ""), ("вши", "в"), ("ши", ""), ("те", ""), ("ти", "ть"), ("ей", "ее"),
)  # fmt: skip
"""What verse and grammar do to a form, and the form that keeps its stress: душою is stressed as душой."""
_VERBAL_NOUNS = tuple((f"нь{ending}", f"ни{ending}") for ending in ("ями", "ях", "ям", "ем", "е", "я", "ю"))
_BEGINNINGS = (
    "не", "по", "наи", "пере", "полу", "сверх", "анти", "само", "меж", "без", "бес", "раз", "рас", "про", "за", "при", "вы",
)  # fmt: skip


class RussianDictionary:
    """The lexicon with its analogies; 2.5 CPU seconds and 150 MB once in a process (530 000 forms)."""

    def __init__(self) -> None:
        self.name = f"gruut-lang-ru@{package_version(PACKAGE, 'Russian stress from a dictionary')}"

    def open(self) -> None:
        """Load the lexicon and its order by endings."""
        _lexicon()
        _reversed()

    def stress(self, text: str, words: Sequence[Word]) -> list[Stress]:
        """One answer per word, from its form alone."""
        return [stress_of(word.form) for word in words]


@lru_cache(maxsize=65536)
def stress_of(form: str) -> Stress:
    """Stress of a folded form (е for ё)."""
    count = russian_syllables(form)
    if count <= 1:
        return Stress(0, 1.0, size=1) if count else UNKNOWN_STRESS
    if "-" in form and form.rpartition("-")[2] in _PARTICLES:
        return _joined(form) or UNKNOWN_STRESS
    return (
        _verbal_noun(form)
        or _known(form, form, 0, KNOWN)
        or (_joined(form) if "-" in form else _derived(form))
        or _like_neighbours(form, count)
    )


def _known(form: str, listed: str, shift: int, confidence: float) -> Stress | None:
    """Stress of a form as of a listed one whose syllables begin ``shift`` later."""
    senses = _lexicon().get(listed)
    if senses is None or max(sense & PLACE for sense in senses) + shift >= russian_syllables(form):
        return None
    places = {sense & PLACE for sense in senses}
    yo = bool(senses[0] & YO) if len(senses) == 1 else None
    if len(places) == 1:
        return Stress(places.pop() + shift, confidence, yo=yo)
    usual = usual_place(listed, places, _only_place)
    others = tuple(place + shift for place in sorted(places - {usual}))
    return Stress(usual + shift, min(confidence, HOMOGRAPH), others, yo=yo)


def _only_place(listed: str) -> int | None:
    """Where a form is stressed that has one reading alone."""
    places = {sense & PLACE for sense in _lexicon().get(listed, b"")}
    return places.pop() if len(places) == 1 else None


def _verbal_noun(form: str) -> Stress | None:
    """очарованье as очарование: the lexicon's own entries in -нье are guessed and often wrong."""
    for ending, plain in _VERBAL_NOUNS:
        if form.endswith(ending):
            return _known(form, form[: -len(ending)] + plain, 0, KNOWN)
    return None


def _joined(form: str) -> Stress | None:
    """Of a word with hyphens its last part is stressed that is no particle: кто-нибудь, серо-голубой."""
    parts = form.split("-")
    last = max((i for i, part in enumerate(parts) if part not in _PARTICLES and russian_syllables(part)), default=0)
    before = sum(map(russian_syllables, parts[:last]))
    found = stress_of(parts[last])
    if found.syllable is None:
        return None
    return found._replace(syllable=before + found.syllable, others=tuple(before + i for i in found.others), size=None)


def _derived(form: str) -> Stress | None:
    for ending, plain in _ENDINGS:
        found = _known(form, form[: -len(ending)] + plain, 0, DERIVED) if form.endswith(ending) else None
        if found:
            return found
    for beginning in _BEGINNINGS:
        rest = form[len(beginning) :]
        if form.startswith(beginning) and len(rest) > LEAST_ENDING and _known(rest, rest, 0, DERIVED):
            return _known(form, rest, russian_syllables(beginning), DERIVED)
    return None


def _like_neighbours(form: str, count: int) -> Stress:
    """The place, counted from the end, where the words are stressed that share the longest ending with this one."""
    votes: Counter[int] = Counter()
    for other, shared in _neighbours(form):
        from_end = russian_syllables(other) - (_lexicon()[other][0] & PLACE)
        if from_end <= count:
            votes[count - from_end] += 4**shared
    if not votes:
        return UNKNOWN_STRESS
    (best, weight), *rest = votes.most_common()
    share = weight / votes.total()
    return Stress(best, round(min(GUESSED, 0.8 * share), 4), tuple(place for place, _ in rest))


def _neighbours(form: str) -> list[tuple[str, int]]:
    """Words of the lexicon beside this one in the order of reversed forms, with the letters they share."""
    reversed_forms, backwards = _reversed(), form[::-1]
    place = bisect_left(reversed_forms, backwards)
    near = reversed_forms[max(0, place - NEIGHBOURS) : place + NEIGHBOURS]
    shared = [(other, _common(other, backwards)) for other in near]
    return [(other[::-1], letters) for other, letters in shared if letters >= LEAST_ENDING]


def _common(left: str, right: str) -> int:
    return next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))


@cache
def _lexicon() -> dict[str, bytes]:
    """Folded form -> its senses (their order says nothing), one byte each: stressed syllable, and `YO` where it is ё."""
    lexicon: dict[str, bytes] = {}
    for form, phonemes in pronunciations(PACKAGE):
        folded = form.replace("ё", "е")
        sense = _sense(folded, phonemes)
        if sense is None:
            continue
        senses = lexicon.get(folded, b"")
        if sense not in senses:
            lexicon[folded] = senses + sense
    return lexicon


def _sense(folded: str, phonemes: str) -> bytes | None:
    """The last stressed syllable; None without stress, or where sounds and letters disagree about the syllables."""
    sounds = [phoneme for phoneme in phonemes.split() if phoneme[0] in "aeiouɨ"]
    letters = [letter for letter in folded if letter in RUSSIAN_VOWELS]
    stressed = [i for i, sound in enumerate(sounds) if sound.endswith("ː")]
    if not stressed or len(sounds) != len(letters) or stressed[-1] >= PLACE:
        return None
    place = stressed[-1]
    return bytes((place | (YO if letters[place] == "е" and sounds[place] == "oː" else 0),))


@cache
def _reversed() -> list[str]:
    return sorted(form[::-1] for form in _lexicon())
