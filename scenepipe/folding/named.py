"""Hypertokens that a text calls by name: ``шагтишинажар``, or its links one by one, ``шаг·тишина·жар``.

A name is met in any case, with ё or е, with or without stress marks. Joined letters that a dictionary knows as a word
(``notice`` for ``not·ice``) are that word; links with dots between them are always the hypertoken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from scenepipe.analysis.reading import read_text
from scenepipe.analysis.symbols import OUTSIDE_LEXICON, PART_STRENGTH
from scenepipe.analysis.tokens import is_known
from scenepipe.analysis.words import LONGEST_WORD, Word, split_words
from scenepipe.recall import lemma_of
from scenepipe.scene import Analysis, Hypertoken, Linkage, Scene, Span, Symbol, fold

NAMED_VERSION = "hypertokens@1"
DOT = "·"
_JOINTS = (DOT, ":")


class Run(NamedTuple):
    """Words with nothing but dots and colons between them: what a name may be."""

    spelled: str
    words: tuple[Word, ...]

    @property
    def span(self) -> Span:
        return (self.words[0].start, self.words[-1].end)

    @property
    def joined(self) -> bool:
        """Whether it is a single word."""
        return len(self.words) == 1


def runs(text: str, words: Sequence[Word]) -> Iterator[Run]:
    """Every word of the text, in runs as long as can be."""
    start = 0
    for index, word in enumerate(words):
        last = index + 1 == len(words)
        if last or text[word.end : words[index + 1].start] not in _JOINTS:
            yield _run(text, words[start : index + 1])
            start = index + 1


def _run(text: str, words: Sequence[Word]) -> Run:
    between = [text[one.end : other.start] for one, other in pairwise(words)]
    forms = [_form(text, word) for word in words]
    return Run("".join(form + joint for form, joint in zip(forms, [*between, ""], strict=True)), tuple(words))


def _form(text: str, word: Word) -> str:
    return word.form if word.end - word.start <= LONGEST_WORD else fold(text[word.start : word.end])


@lru_cache(maxsize=65536)
def spellings(name: str, chain: tuple[str, ...]) -> tuple[str, ...]:
    """How a text may spell a hypertoken: by its name, and link by link."""
    return tuple(dict.fromkeys(_spelled(each) for each in (name, DOT.join(chain))))


def _spelled(name: str) -> str:
    return next((run.spelled for run in runs(name, split_words(name))), name)


def is_a_word(run: Run) -> bool:
    """Whether a dictionary knows the run as a single word."""
    return run.joined and is_known(run.words[0])


def named(scene: Scene) -> tuple[Hypertoken, ...]:
    """The scene's hypertokens that its text calls by name, in the order of the text."""
    found = []
    for token in scene.hypertokens or ():
        for start, end in token.evidence:
            said = runs(scene.text[start:end], split_words(scene.text[start:end]))
            if [run.spelled for run in said] in [[spelled] for spelled in spellings(token.name, token.chain)]:
                found.append((start, token))
                break
    return tuple(token for _, token in sorted(found, key=lambda pair: pair[0]))


def spoken_back(scene: Scene) -> Scene:
    """An analysed scene whose text calls hypertokens by name, with their chains for its linkage; any other as it is.

    So the name recalls the scenes that have the chain, a reply unfolds it, and joining it gives the name again. The
    analysis says so: with what was met later the same text may be read otherwise.
    """
    chain = tuple(dict.fromkeys(key for token in named(scene) for key in token.chain))
    if not chain:
        return scene
    linkage, analysis = scene.linkage or Linkage(), scene.analysis or Analysis()
    analysers = tuple(dict.fromkeys((*analysis.analysers, NAMED_VERSION)))
    return scene.with_(
        linkage=linkage.model_copy(update={"chain": chain}),
        analysis=analysis.model_copy(update={"analysers": analysers}),
    )


def unfolded(symbols: Iterable[Symbol], found: Iterable[tuple[Span, Hypertoken]]) -> tuple[Symbol, ...]:
    """Symbols with those of the chains in the place of the names, each with the name's span as its evidence."""
    names = dict(found)
    kept: list[Symbol] = []
    for symbol in symbols:
        rest = tuple(span for span in symbol.evidence if span not in names)
        if rest:
            kept.append(symbol.model_copy(update={"evidence": rest}))
    spans: dict[str, list[Span]] = {}
    for span, token in names.items():
        for key in token.chain:
            spans.setdefault(key, []).append(span)
    own = {symbol.key: symbol for symbol in kept}
    for key, places in spans.items():
        symbol = own.get(key) or _symbol(key)
        own[key] = symbol.model_copy(update={"evidence": tuple(sorted({*symbol.evidence, *places}))})
    return tuple(sorted(own.values(), key=lambda symbol: symbol.evidence[0]))


@lru_cache(maxsize=4096)
def _symbol(key: str) -> Symbol:
    """The symbol of a chain's link; what no dictionary knows is a noun, as names of things are."""
    lemma = lemma_of(key)
    words, reading = split_words(lemma), read_text(lemma)
    code = words[0].code if words else "und"
    if lemma != key:
        code = "ru" if key.startswith("не:") else "en"
    found = next((symbol for symbol in reading.symbols if symbol.lemma == lemma), None)
    known = found or Symbol(lemma=lemma, language=code, part="noun", score=PART_STRENGTH["noun"] * OUTSIDE_LEXICON)
    return known.model_copy(
        update={"language": code, "polarity": 1 if lemma == key else -1, "origin": "archive", "evidence": ()}
    )
