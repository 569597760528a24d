"""Words of the card, Russian and English; one table, so that neither language lacks what the other has."""

from __future__ import annotations

import re
from collections.abc import Iterable

from scenepipe.scene import Scene

_WORDS: dict[str, tuple[str, str]] = {
    "text": ("текст", "text"),
    "language": ("язык", "language"),
    "symbols": ("символы", "symbols"),
    "hypertokens": ("гипертокены", "hypertokens"),
    "linkage": ("сцепка", "linkage"),
    "delta": ("Δ-код", "Δ-code"),
    "emotion": ("эмоция", "emotion"),
    "valence": ("валентность", "valence"),
    "arousal": ("возбуждение", "arousal"),
    "dominance": ("доминантность", "dominance"),
    "tension": ("напряжение", "tension"),
    "field": ("поле", "field"),
    "rhythm": ("ритм", "rhythm"),
    "registers": ("регистры", "registers"),
    "base": ("основа", "base"),
    "echoes": ("эхо", "echoes"),
    "resonance": ("резонанс", "resonance"),
    "reply": ("ответ", "reply"),
    "outputs": ("формы", "forms"),
    "receipt": ("квитанция", "receipt"),
    "none": ("нет", "none"),
    "unknown": ("неизвестно", "unknown"),
    "never_met": ("встречена впервые", "met for the first time"),
    "characters": ("знаков", "characters"),
    "symbol": ("символ", "symbol"),
    "emoji": ("эмодзи", "emoji"),
    "delta_answer": ("Δ-ответ", "Δ-answer"),
    "weight": ("вес", "weight"),
    "seconds": ("с", "s"),
    "seed": ("зерно", "seed"),
    "last_met": ("последний раз", "last"),
    "scene": ("сцена", "scene"),
    "read_in": ("прочитано в", "read in"),
    "plan": ("смесь", "mixture"),
    "mode": ("способ", "mode"),
    "reasons": ("почему", "why"),
    "prompt": ("запрос", "prompt"),
    "left_out": ("не выполнялось", "left out"),
    "would": ("что будет", "what would happen"),
}


def words(language: str) -> dict[str, str]:
    """Every label in Russian for ``ru``, in English otherwise."""
    place = 0 if language == "ru" else 1
    return {key: both[place] for key, both in _WORDS.items()}


def language_of(scene: Scene) -> str:
    """``ru`` or ``en``: the scene's own language, or its letters while that is not known."""
    if scene.language is not None and scene.language.code != "und":
        return scene.language.code
    head = scene.text[:1000]
    cyrillic = sum("\u0400" <= c <= "\u04ff" for c in head)
    return "ru" if cyrillic * 2 > sum(c.isalpha() for c in head) else "en"


def counted(number: int, language: str, one: str, few: str, many: str) -> str:
    """A number with its noun in the right form: 1 встреча, 2 встречи, 5 встреч; English uses one and many."""
    if language != "ru":
        return f"{number} {one if number == 1 else many}"
    if number % 10 == 1 and number % 100 != 11:
        return f"{number} {one}"
    return f"{number} {few if number % 10 in (2, 3, 4) and number % 100 not in (12, 13, 14) else many}"


def encounters(number: int, language: str) -> str:
    """``2 встречи``, ``1 encounter``."""
    forms = ("встреча", "встречи", "встреч") if language == "ru" else ("encounter", "", "encounters")
    return counted(number, language, *forms)


def tokens(number: int, language: str) -> str:
    """``23 токена``, ``1 token``."""
    forms = ("токен", "токена", "токенов") if language == "ru" else ("token", "", "tokens")
    return counted(number, language, *forms)


_PHRASES = (
    (r"same words", "те же слова"),
    (r"same text apart from spelling", "тот же текст, иначе написан"),
    (r"same linkage", "та же сцепка"),
    (r"opposite polarity: (.*)", r"обратная полярность: \1"),
    (r"shared symbols: (.*)", r"общие символы: \1"),
    (r"near in meaning: (.*)", r"близко по смыслу: \1"),
    (r"fixed in the pipeline", "задано в конвейере"),
    (r"given by the caller", "задано при вызове"),
    (r"near (.*) \(cosine (\S+)\), whose fit is (\S+)", r"рядом \1 (косинус \2), где голос подходит на \3"),
    (r"no vector to compare with", "вектора нет, сравнить не с чем"),
    (r"other examples", "остальные примеры"),
    (r"other features", "остальные признаки"),
    (r"usual fit", "обычная пригодность"),
    (r"fit", "пригодность"),
    (r"bodily field", "телесное поле"),
    (r"inner field", "внутреннее поле"),
    (r"sensory field", "чувственное поле"),
    (r"natural field", "природное поле"),
    (r"social field", "поле людей"),
    (r"temporal field", "поле времени"),
    (r"abstract field", "отвлечённое поле"),
    (r"spatial field", "поле пространства"),
    (r"valence", "валентность"),
    (r"dominance", "доминантность"),
    (r"tension", "напряжение"),
    (r"length", "длина"),
    (r"pauses", "паузы"),
    (r"syllables", "слоги"),
    (r"density", "плотность символов"),
    (r"nouns", "существительные"),
    (r"verbs", "глаголы"),
    (r"adjectives", "прилагательные"),
    (r"adverbs", "наречия"),
    (r"arousal", "возбуждение"),
    (r"negation", "отрицание"),
    (r"question", "вопрос"),
    (r"contrast", "противопоставление"),
    (r"exclamation", "восклицание"),
    (r"break", "обрыв"),
)
_COMPILED = tuple((re.compile(pattern, re.DOTALL), russian) for pattern, russian in _PHRASES)


def said(phrase: str, language: str) -> str:
    """A reason of the shipped stages in the scene's language; what is not known stays as it is."""
    if language == "ru":
        for pattern, russian in _COMPILED:
            if found := pattern.fullmatch(phrase):
                return visible(found.expand(russian))
    return visible(phrase)


_PICTURES = {code: 0x2400 + code for code in range(0x20)} | dict.fromkeys(range(0x7F, 0xA0), 0xFFFD)
_VISIBLE = _PICTURES | {0x0A: 0x0A, 0x09: 0x20, 0x0D: 0x20}
_VISIBLE |= dict.fromkeys([0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)


def visible(text: str) -> str:
    """The text with control and direction characters made visible, one for one: foreign text steers no terminal."""
    return text.translate(_VISIBLE)


def listed(parts: Iterable[str], none: str) -> str:
    """Parts joined by commas, or a word for nothing."""
    return ", ".join(parts) or none
