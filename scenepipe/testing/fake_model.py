"""What the fake backend says: a sentence from hashes, and a small distribution at each of its words to draw from."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from scenepipe.contracts import DrawnToken
from scenepipe.prompt import LINKAGE_JOINER
from scenepipe.sampling import COMMON, Sampling
from scenepipe.scene import TokenScore

SAMPLING = (*COMMON, "presence_penalty", "frequency_penalty", "logit_bias")
TOKEN_IDS = 2**20
_LINKAGE_LINE = re.compile(r"^(?:Сцепка|Linkage): (.+)$", re.MULTILINE)
_SCENE_LINE = re.compile(r"^(?:Сцена|Scene): (.+)$", re.MULTILINE)
PIECE = re.compile(r"\s*\S+|\s+$")
_WORD = re.compile(r"\w+")
_CYRILLIC = re.compile("[а-яё]", re.IGNORECASE)
VERBS = {
    "ru": _WORD.findall(
        "помнит ждёт слышит держит зовёт молчит дышит светит ищет хранит стынет растёт тает поёт спит видит"
    ),
    "en": _WORD.findall(
        "remembers waits hears holds calls rests breathes glows seeks keeps cools grows melts sings sleeps"
    ),
}
PLACES = {
    "ru": _WORD.findall(
        "здесь внутри рядом вдали снова тихо утром ночью молча всегда едва насквозь вглубь наверху внизу"
    ),
    "en": _WORD.findall(
        "here inside nearby afar again softly daily nightly mutely always barely deeper inward above below"
    ),
}
_OTHERS = {"ru": ("нечто", "некто"), "en": ("something", "somebody")}
_PUNCTUATION = ",."
_UNLIKELY = -20.0
_LEAST_SHARE = 0.01
_LEAST = Sampling()
_MOST_CANDIDATES = max(len(words) for table in (VERBS, PLACES) for words in table.values())


def token_id(piece: str) -> int:
    """The id by which `Sampling.logit_bias` names a word, with the space before it and the mark behind it."""
    return int.from_bytes(hashlib.sha256(piece.encode()).digest()[:4], "big") % TOKEN_IDS


def sentence(prompt: str, mixture: str, seed: int | str | None) -> str:
    """Words of the prompt, each with a verb and a place that prompt, mixture and seed choose."""
    chance = hashlib.sha256(f"{seed}\n{mixture}\n{prompt}".encode()).digest()
    verbs, places = VERBS[_language(prompt)], PLACES[_language(prompt)]
    clauses = [
        f"{word} {verbs[chance[2 * i % 32] % len(verbs)]} {places[chance[(2 * i + 1) % 32] % len(places)]}"
        for i, word in enumerate(_words(prompt))
    ]
    whole = ", ".join(clauses)
    return f" {whole[:1].upper()}{whole[1:]}."


def _language(prompt: str) -> str:
    return "ru" if _CYRILLIC.search(prompt.rpartition("\n")[2]) else "en"


def _words(prompt: str) -> list[str]:
    """The linkage's words, or the first of the scene's, or of the prompt's."""
    if line := _LINKAGE_LINE.search(prompt):
        return line[1].split(LINKAGE_JOINER)
    scene = _SCENE_LINE.search(prompt)
    return _WORD.findall(scene[1] if scene else prompt)[:3] or ["…"]


class FakeModel:
    """A distribution for each place of the sentence: over all verbs, over all places, or over a word and two others.

    The greedy sentence has the likeliest of each; the rest are nearly equal, so that the settings by default cut none.
    """

    def __init__(self, prompt: str, mixture: str) -> None:
        self._language = _language(prompt)
        self._chance = hashlib.sha256(f"{mixture}\n{prompt}".encode()).digest()
        self._greedy = PIECE.findall(sentence(prompt, mixture, "greedy"))
        self.prompt_words = frozenset(word.lower() for word in _WORD.findall(prompt))

    def logits(self, number: int) -> dict[str, float]:
        """By piece, for the piece of this number; empty behind the sentence."""
        if number >= len(self._greedy):
            return {}
        likeliest = self._greedy[number]
        word = likeliest.strip().rstrip(_PUNCTUATION)
        before, _, behind = likeliest.partition(word)
        for table in (VERBS[self._language], PLACES[self._language]):
            if word in table:
                told = {f"{before}{each}{behind}": 1.0 + self._little(number, i) for i, each in enumerate(table)}
                return {**told, likeliest: 1.0 + math.log(1.2)}
        other, third = (f"{before}{each}{behind}" for each in _OTHERS[self._language])
        return {likeliest: 2.0 + 10 * self._little(number, 0), other: 1.0, third: 0.6 + 4 * self._little(number, 1)}

    def logprobs(self, number: int) -> dict[str, float]:
        """By piece, likeliest first."""
        logits = self.logits(number)
        norm = math.log(sum(math.exp(value) for value in logits.values())) if logits else 0.0
        return {piece: value - norm for piece, value in sorted(logits.items(), key=lambda pair: -pair[1])}

    def lexicon(self, pieces: Sequence[str]) -> list[str]:
        """Every piece that a bias can name: the tables' words, and those of a sentence."""
        return [*(f" {word}" for word in (*VERBS[self._language], *PLACES[self._language])), *pieces]

    def _little(self, number: int, which: int) -> float:
        """Of two bytes: of one, every 256th mixture would have another's distribution."""
        at = 7 * number + which
        return math.log1p((self._chance[at % 32] + self._chance[(at + 1) % 32] / 256) / 2560)


def narrows(sampling: Sampling) -> bool:
    """Whether these settings could say something else than the sentence that the seed chose."""
    return bool(
        sampling.top_p < _LEAST.top_p
        or 0 < sampling.top_k <= _MOST_CANDIDATES
        or sampling.min_p > _LEAST.min_p
        or sampling.repeat_penalty != 1.0
        or sampling.presence_penalty
        or sampling.frequency_penalty
        or sampling.logit_bias
    )


def draw(model: FakeModel, planned: Sequence[str], sampling: Sampling, alternatives: int) -> list[DrawnToken]:
    """The planned pieces, or others where the settings leave a planned one out."""
    said: Counter[str] = Counter()
    drawn = []
    for number, piece in enumerate(planned):
        raw = model.logprobs(number)
        chosen = _choose(_adjusted(model, model.logits(number), planned, said, sampling), piece, sampling)
        said[chosen] += 1
        top = tuple(TokenScore(token=each, logprob=value) for each, value in list(raw.items())[:alternatives])
        drawn.append(DrawnToken(token=chosen, logprob=raw.get(chosen, _UNLIKELY), top=top))
    return drawn


def _adjusted(
    model: FakeModel, logits: Mapping[str, float], planned: Sequence[str], said: Mapping[str, int], sampling: Sampling
) -> dict[str, float]:
    """Logits with bias and penalties."""
    adjusted = dict(logits)
    if bias := sampling.logit_bias:
        for piece in model.lexicon(planned):
            if token_id(piece) in bias:
                adjusted.setdefault(piece, _UNLIKELY)
        adjusted = {piece: value + bias.get(token_id(piece), 0.0) for piece, value in adjusted.items()}
    for piece, value in adjusted.items():
        known = said.get(piece) or piece.strip(" " + _PUNCTUATION).lower() in model.prompt_words
        factor = sampling.repeat_penalty if known else 1.0
        times = said.get(piece, 0)
        penalty = times * sampling.frequency_penalty + bool(times) * sampling.presence_penalty
        adjusted[piece] = (value / factor if value > 0 else value * factor) - penalty
    return adjusted


def _choose(adjusted: Mapping[str, float], planned: str, sampling: Sampling) -> str:
    """The likeliest at temperature 0; else the planned piece, if top-k, top-p and min-p keep it and it has a share."""
    order = sorted(adjusted, key=lambda piece: -adjusted[piece])
    if sampling.temperature == 0:
        return order[0]
    order = order[: sampling.top_k or None]
    weights = [math.exp(adjusted[piece] - adjusted[order[0]]) for piece in order]
    mass = 0.0
    for piece, weight in zip(order, weights, strict=True):
        share = weight / sum(weights)
        if piece == planned and mass < sampling.top_p and weight >= sampling.min_p and share > _LEAST_SHARE:
            return planned
        mass += share
    return order[0]
