"""Hypertokens of an archive: chains that its scenes have again and again, kept as rules where a rule saves.

A chain is counted once per scene, wherever it stands in the scene's linkage or in the text's own chain. It becomes a
rule when the rule saves (`scenepipe.folding.repair.saves`, as in Sequitur and Re-Pair) and no longer chain is as common.
Of a repeat longer than eight symbols it names the beginning.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence

from scenepipe.folding.chain_counts import LONGEST, ChainCounts
from scenepipe.folding.repair import saves
from scenepipe.scene import Hypertoken, Linkage, Scene

Chain = tuple[str, ...]
BARE_DENIALS = ("не", "not")
"""Links of a text's own chain that are no symbols: a denial in a clause that denies no symbol."""
_MANY = 16
"""Sorting anew is cheaper than moving more than one in so many."""


def chains_of(scene: Scene) -> tuple[Chain, ...]:
    """What a grammar reads of a scene: its linkage and the text's own chain, cut where a denial stands bare."""
    if scene.linkage is None:
        return ()
    return (scene.linkage.chain, *_without_bare(scene.linkage.text))


def _without_bare(chain: Chain) -> Iterator[Chain]:
    start = 0
    for at, key in enumerate((*chain, BARE_DENIALS[0])):
        if key in BARE_DENIALS:
            if at > start + 1:
                yield chain[start:at]
            start = at + 1


class Grammar:
    """The hypertokens of one namespace, brought up to date at the cost of what is new. Not safe for threads.

    What it says depends on the scenes alone, never on the order in which they came.
    """

    def __init__(self) -> None:
        self._counts = ChainCounts()
        self._saved: dict[Chain, int] = {}
        self._full: dict[Chain, int] = {}
        self._windows: set[Chain] = set()
        self._list = _Listing()
        self._said: tuple[Hypertoken, ...] | None = ()

    def __len__(self) -> int:
        """Scenes."""
        return len(self._counts)

    def __contains__(self, scene_id: object) -> bool:
        return scene_id in self._counts

    def put(self, scene_id: str, chains: Iterable[Sequence[str]]) -> None:
        """Count a scene's chains, in the place of those that it had."""
        self._counts.put(scene_id, chains)

    def hypertokens(self) -> tuple[Hypertoken, ...]:
        """Those that save most first; the same tuple until one of them changes."""
        if touched := self._weigh():
            self._list.show({c: self._saved.get(c, 0) if c not in self._windows else 0 for c in touched})
            self._said = None
        if self._said is None:
            self._said = self._list.tokens()
        return self._said

    def _weigh(self) -> set[Chain]:
        """Bring the savings up to date; the chains whose place in the list may be another."""
        touched: set[Chain] = set()
        for packed, count in self._counts.changed().items():
            chain, saved = self._counts.spelled(packed), saves(count, len(packed)) if count else 0
            if max(0, saved) != self._saved.get(chain, 0):
                touched.add(chain)
                _keep(self._saved, chain, saved)
                if len(chain) == LONGEST:
                    _keep(self._full, chain, saved)
        if any(len(chain) == LONGEST for chain in touched):
            before, self._windows = self._windows, _windows(self._full)
            touched |= before ^ self._windows
        return touched


def _keep(savings: dict[Chain, int], chain: Chain, saved: int) -> None:
    if saved > 0:
        savings[chain] = saved
    else:
        savings.pop(chain, None)


class _Listing:
    """Hypertokens in order, each under a name of its own."""

    def __init__(self) -> None:
        self._places: list[tuple[int, Chain]] = []
        self._tokens: list[Hypertoken] = []
        self._shown: dict[Chain, int] = {}
        self._alike: dict[str, set[Chain]] = {}
        self._stale: set[str] = set()

    def show(self, changes: Mapping[Chain, int]) -> None:
        """Place chains by what they save; 0 takes one out."""
        in_place = len(changes) * _MANY < len(self._shown)
        for chain, saved in changes.items():
            before = self._shown.pop(chain, 0)
            if saved:
                self._shown[chain] = saved
            if in_place:
                self._move(chain, before, saved)
            if bool(saved) != bool(before):
                self._rename(Linkage.model_construct(chain=chain).joined, chain)
        if not in_place:
            self._sort()

    def _move(self, chain: Chain, before: int, saved: int) -> None:
        token = None
        if before:
            at = bisect_left(self._places, (-before, chain))
            del self._places[at]
            token = self._tokens.pop(at)
        if saved:
            at = bisect_left(self._places, (-saved, chain))
            self._places.insert(at, (-saved, chain))
            self._tokens.insert(at, token or _unnamed(chain))

    def _sort(self) -> None:
        known = {token.chain: token for token in self._tokens}
        self._places = sorted((-saved, chain) for chain, saved in self._shown.items())
        self._tokens = [known.get(chain) or _unnamed(chain) for _, chain in self._places]

    def _rename(self, name: str, chain: Chain) -> None:
        self._stale.add(name)
        alike = self._alike.setdefault(name, set())
        if chain in self._shown:
            alike.add(chain)
        else:
            alike.discard(chain)

    def tokens(self) -> tuple[Hypertoken, ...]:
        """All of them. The name is the joined chain; where two chains join to the same letters, their links one by one."""
        for name in self._stale:
            alike = self._alike[name]
            for chain in alike:
                at = bisect_left(self._places, (-self._shown[chain], chain))
                said = name if len(alike) == 1 else "·".join(chain)
                if self._tokens[at].name != said:
                    self._tokens[at] = Hypertoken(name=said, chain=chain)
            if not alike:
                del self._alike[name]
        self._stale.clear()
        return tuple(self._tokens)


def _unnamed(chain: Chain) -> Hypertoken:
    return Hypertoken.model_construct(name="", chain=chain)


def _windows(full: Mapping[Chain, int]) -> set[Chain]:
    """Of the windows that a longer repeat is cut into, all but the first; they are equally common and overlap by seven."""
    following: dict[tuple[Chain, int], list[Chain]] = {}
    for chain in sorted(full):
        following.setdefault((chain[:-1], full[chain]), []).append(chain)
    after = {chain: following.get((chain[1:], full[chain]), []) for chain in sorted(full)}
    led = {chain for chains in after.values() for chain in chains}
    seen: set[Chain] = set()
    left_out: set[Chain] = set()
    for head in (*(chain for chain in after if chain not in led), *after):  # what is left is a circle: one of it leads
        if head not in seen:
            seen.add(head)
            waiting = [head]
            while waiting:
                fresh = [chain for chain in after[waiting.pop()] if chain not in seen]
                seen.update(fresh)
                left_out.update(fresh)
                waiting += fresh
    return left_out
