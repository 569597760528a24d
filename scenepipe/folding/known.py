"""Hypertokens found in new text: by name, and by their chain among the text's symbols."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from scenepipe.analysis.linkage import own_links
from scenepipe.analysis.reading import read_text
from scenepipe.analysis.words import Word, split_words
from scenepipe.context import Context
from scenepipe.contracts import Archive
from scenepipe.folding.chain_counts import LONGEST, SHORTEST
from scenepipe.folding.grammar import Chain
from scenepipe.folding.named import Run, is_a_word, runs, spellings, unfolded
from scenepipe.scene import Hypertoken, Piece, Scene, Span, Symbol

NAMESPACES = 64
"""Namespaces whose hypertokens are kept ready to be found; those asked for longest ago give way."""

Found = list[tuple[Span, Hypertoken]]


class Reading(NamedTuple):
    """A text's symbols, with names unfolded, and its hypertokens with the spans where they stand."""

    symbols: tuple[Symbol, ...]
    hypertokens: tuple[Hypertoken, ...]


class Index:
    """Hypertokens by spelling and by chain; brought up to date at the cost of what is new."""

    def __init__(self) -> None:
        self._said: Sequence[Hypertoken] = ()
        self._tokens: dict[int, Hypertoken] = {}
        self._chains: dict[Chain, Hypertoken] = {}
        self._spellings: dict[str, set[Chain]] = {}

    def update(self, tokens: Sequence[Hypertoken]) -> None:
        """Know these hypertokens and no others. What an archive says again is the same objects."""
        if tokens is self._said:
            return
        now = dict(zip(map(id, tokens), tokens, strict=True))
        for gone in self._tokens.keys() - now.keys():
            self._remove(self._tokens[gone])
        for new in now.keys() - self._tokens.keys():
            self._add(now[new])
        self._said, self._tokens = tokens, now

    def _add(self, token: Hypertoken) -> None:
        self._chains[token.chain] = token
        for spelled in spellings(token.name, token.chain):
            self._spellings.setdefault(spelled, set()).add(token.chain)

    def _remove(self, token: Hypertoken) -> None:
        self._chains.pop(token.chain, None)
        for spelled in spellings(token.name, token.chain):
            chains = self._spellings.get(spelled, set())
            chains.discard(token.chain)
            if not chains:
                self._spellings.pop(spelled, None)

    def read(self, text: str, symbols: tuple[Symbol, ...]) -> Reading:
        """Find hypertokens in a text. A name is read before a chain, a longer chain before a shorter one."""
        if not self._chains:
            return Reading(symbols, ())
        words = split_words(text)
        names = list(self._named(text, words))
        unfolding = [(run.span, token) for run, token in names if run.joined]
        symbols = unfolded(symbols, unfolding) if unfolding else symbols
        by_name = [(run.span, token) for run, token in names]
        return Reading(symbols, _gathered([*by_name, *self._chained(_outside(own_links(symbols, words), by_name))]))

    def _named(self, text: str, words: Sequence[Word]) -> Iterator[tuple[Run, Hypertoken]]:
        for run in runs(text, words):
            chains = self._spellings.get(run.spelled)
            if chains and not is_a_word(run):
                yield run, self._chains[min(chains)]

    def _chained(self, links: Sequence[tuple[str, Span]]) -> Iterator[tuple[Span, Hypertoken]]:
        """The longest chain at each place, from left to right, none inside another."""
        keys = tuple(key for key, _ in links)
        at = 0
        while at < len(keys):
            ahead = keys[at : at + LONGEST]
            lengths = range(len(ahead), SHORTEST - 1, -1)
            token = next((self._chains[ahead[:n]] for n in lengths if ahead[:n] in self._chains), None)
            if token is not None:
                yield (links[at][1][0], links[at + len(token.chain) - 1][1][1]), token
            at += len(token.chain) if token is not None else 1


class Known:
    """The hypertokens of a pipeline's archive, asked for once per batch and namespace."""

    def __init__(self) -> None:
        self._indexes: OrderedDict[str, Index] = OrderedDict()

    def fill(self, scenes: Sequence[Scene], pieces: Callable[[str], tuple[Piece, ...]], ctx: Context) -> list[Scene]:
        """Each scene with its language, its pieces, its symbols and its hypertokens. Call it in a worker thread.

        Raises:
            ArchiveError: the archive cannot be read.
        """
        texts = [read_text(scene.text) for scene in scenes]
        found = self.read(scenes, [text.symbols for text in texts], ctx)
        return [
            scene.with_(language=text.language, pieces=pieces(scene.text), **own._asdict())
            for scene, text, own in zip(scenes, texts, found, strict=True)
        ]

    def read(self, scenes: Sequence[Scene], symbols: Sequence[tuple[Symbol, ...]], ctx: Context) -> list[Reading]:
        """What each scene's text has of them; nothing in a pipeline without an archive. Call it in a worker thread.

        Args:
            symbols: those of each text.

        Raises:
            ArchiveError: the archive cannot be read.
        """
        archive = ctx.resources.archive
        if archive is None:
            return [Reading(own, ()) for own in symbols]
        spaces = list(dict.fromkeys(scene.origin.namespace for scene in scenes))
        said = ctx.wait(_said(archive, spaces))
        indexes = {space: self._index(space, tokens) for space, tokens in zip(spaces, said, strict=True)}
        pairs = zip(scenes, symbols, strict=True)
        return [indexes[scene.origin.namespace].read(scene.text, own) for scene, own in pairs]

    def _index(self, namespace: str, tokens: Sequence[Hypertoken]) -> Index:
        index = self._indexes.setdefault(namespace, Index())
        self._indexes.move_to_end(namespace)
        if len(self._indexes) > NAMESPACES:
            self._indexes.popitem(last=False)
        index.update(tokens)
        return index


async def _said(archive: Archive, namespaces: Sequence[str]) -> list[Sequence[Hypertoken]]:
    return [await archive.hypertokens(namespace) for namespace in namespaces]


def _outside(links: Iterable[tuple[str, Span]], names: Found) -> list[tuple[str, Span]]:
    """The links, those inside of a name without their key: a name ends a chain."""
    starts = {at for (start, end), _ in names for at in range(start, end)}
    return [("" if span[0] in starts else key, span) for key, span in links]


def _gathered(found: Found) -> tuple[Hypertoken, ...]:
    """Each hypertoken once, with all of its spans, in the order of the text."""
    spans: dict[str, list[Span]] = {}
    for span, token in found:
        spans.setdefault(token.name, []).append(span)
    tokens = {token.name: token for _, token in found}
    whole = [tokens[name].model_copy(update={"evidence": tuple(sorted(places))}) for name, places in spans.items()]
    return tuple(sorted(whole, key=lambda token: token.evidence))
