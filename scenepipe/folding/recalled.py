"""What a hypertoken stands for: the stored scenes that have its chain, each exactly as it was written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scenepipe.analysis.words import split_words
from scenepipe.contracts import Archive, Query
from scenepipe.errors import ArchiveError, did_you_mean
from scenepipe.folding.grammar import Chain, chains_of
from scenepipe.folding.named import runs, spellings
from scenepipe.scene import Hypertoken, Scene

MOST = 1000
_NEAR = 20


async def unfold_symbol(
    archive: Archive, name: str, *, namespace: str = "default", limit: int = 10
) -> tuple[Scene, ...]:
    """The scenes that a hypertoken stands for, best first: text, field, linkage, registers and Δ-code as they were stored.

    The store checks each record's digest in the transaction that reads it. Scenes that only call the name are left out.

    Args:
        name: as it is joined, or link by link (``шаг·тишина·жар``).

    Raises:
        ArchiveError: there is no such hypertoken, or one of its scenes is damaged.
    """
    token = find_hypertoken(name, await archive.hypertokens(namespace))
    query = Query(namespace=namespace, linkage=token.chain, symbols=token.chain, limit=MOST)
    found = [hit.scene.id for hit in await archive.find(query) if distance(hit.scene, [token]) == 0]
    whole = await archive.get(found[:limit])
    return tuple(whole)


def find_hypertoken(name: str, tokens: Sequence[Hypertoken]) -> Hypertoken:
    """The hypertoken of a name, in any spelling of it.

    Raises:
        ArchiveError: none has this name; says which are near.
    """
    found = called(name, tokens)
    if not found:
        known = did_you_mean(name, [token.name for token in tokens[:_NEAR]])
        raise ArchiveError(f"no hypertoken is called '{name}'; {known}")
    return found[0]


def called(text: str, tokens: Sequence[Hypertoken]) -> list[Hypertoken]:
    """Those that a text calls by name, in their own order."""
    if not tokens:
        return []
    said = {run.spelled for run in runs(text, split_words(text))}
    return [token for token in tokens if not said.isdisjoint(spellings(token.name, token.chain))]


def distance(scene: Scene, tokens: Sequence[Hypertoken]) -> int:
    """How far a scene is from what these hypertokens stand for: 0 has a chain of them, 1 does not, 2 only calls a name."""
    if called(scene.text, tokens):
        return 2
    return int(not any(has_chain(scene, token.chain) for token in tokens))


def has_chain(scene: Scene, chain: Chain) -> bool:
    """Whether a scene has a chain in its linkage or in its text."""
    return any(_within(chain, whole) for whole in chains_of(scene))


def _within(part: Chain, whole: Chain) -> bool:
    return any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))


def name_of(chain: Chain, tokens: Iterable[Hypertoken]) -> str | None:
    """The name that a chain goes by; None for one that is no hypertoken."""
    return next((token.name for token in tokens if token.chain == chain), None)
