"""What a drawn scene says, Russian and English: the card's words and those that only the picture needs."""

from __future__ import annotations

from scenepipe.cli.facts import signed
from scenepipe.cli.labels import counted, encounters, language_of, said, visible
from scenepipe.cli.labels import words as card_words

__all__ = [
    "axis_name",
    "count_of",
    "encounters",
    "grouped",
    "language_of",
    "metre_name",
    "said",
    "signed",
    "visible",
    "words",
]

_WORDS: dict[str, tuple[str, str]] = {
    "associated": ("ассоциации", "associations"),
    "origin_text": ("в тексте", "in the text"),
    "origin_lexicon": ("из словаря", "by the lexicon"),
    "origin_encoder": ("по смыслу", "by meaning"),
    "origin_emotion": ("по чувству", "by emotion"),
    "origin_archive": ("из архива", "from the archive"),
    "negated": ("с отрицанием", "negated"),
    "shown_of": ("показано {} из {} знаков", "{} of {} characters shown"),
    "more": ("ещё {}", "{} more"),
    "stressed": ("ударный", "stressed"),
    "unstressed": ("безударный", "unstressed"),
    "either": ("любой", "either"),
    "stress_unknown": ("ударение неизвестно", "stress unknown"),
    "pause": ("пауза", "pause"),
    "syllables": ("слоги", "syllables"),
    "level": ("уровень", "level"),
    "metre": ("метр", "metre"),
    "rhyme": ("рифма", "rhyme"),
    "margin": ("запас", "margin"),
    "alternative": ("рядом", "next best"),
    "in_brackets": ("в скобках уверенность", "confidence in brackets"),
}
_AXES: dict[str, tuple[str, str]] = {
    "bodily": ("телесное", "bodily"),
    "inner": ("внутреннее", "inner"),
    "sensory": ("чувственное", "sensory"),
    "natural": ("природное", "natural"),
    "social": ("социальное", "social"),
    "temporal": ("временное", "temporal"),
    "abstract": ("отвлечённое", "abstract"),
    "spatial": ("пространственное", "spatial"),
}
_METRES: dict[str, tuple[str, str]] = {
    "iamb": ("ямб", "iamb"),
    "trochee": ("хорей", "trochee"),
    "dactyl": ("дактиль", "dactyl"),
    "amphibrach": ("амфибрахий", "amphibrach"),
    "anapaest": ("анапест", "anapaest"),
}

_COUNTED: dict[str, tuple[tuple[str, str, str], tuple[str, str, str]]] = {
    "syllable": (("слог", "слога", "слогов"), ("syllable", "", "syllables")),
    "word": (("слово", "слова", "слов"), ("word", "", "words")),
    "line": (("строка", "строки", "строк"), ("line", "", "lines")),
    "pause": (("пауза", "паузы", "пауз"), ("pause", "", "pauses")),
}


def words(language: str) -> dict[str, str]:
    """Every label in Russian for ``ru``, in English otherwise."""
    place = 0 if language == "ru" else 1
    return card_words(language) | {key: both[place] for key, both in _WORDS.items()}


def axis_name(axis: str, language: str) -> str:
    """The axis in words; one of another version keeps its own name."""
    return _AXES[axis][language != "ru"] if axis in _AXES else visible(axis)


def metre_name(metre: str, language: str) -> str:
    """The metre in words; an unknown one keeps its own name."""
    return _METRES[metre][language != "ru"] if metre in _METRES else visible(metre)


def count_of(what: str, number: int, language: str) -> str:
    """``11 слогов``, ``1 line``."""
    return counted(number, language, *_COUNTED[what][language != "ru"])


def grouped(number: int, language: str) -> str:
    """A number with its thousands set apart."""
    return f"{number:,}".replace(",", "\u00a0") if language == "ru" else f"{number:,}"
