"""How many scenes have each chain: exact for every chain of two to eight symbols that two scenes share.

A chain is indexed only when its beginning came twice, as in a suffix tree that grows with its text, so what is met
once costs one entry per pair. The counts do not depend on the order of writing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

SHORTEST = 2
LONGEST = 8

_BREAK = "\0"
_LAST = 0x10FFFF


class ChainCounts:
    """Counts of what scenes share; each scene counts once. Not safe for threads.

    A chain is kept as a string of one character per symbol: slices, hashes and searches of strings are fast. After
    the first 1,114,111 symbols a further one breaks the chain that it stands in.
    """

    def __init__(self) -> None:
        self._symbols: list[str] = [""]
        self._characters: dict[str, str] = {}
        self._rows: dict[str, str] = {}
        self._owners: list[str] = []
        self._places: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._covers: dict[str, int] | None = None
        self._changed: set[str] = set()

    def __len__(self) -> int:
        """Scenes."""
        return len(self._rows)

    def __contains__(self, scene_id: object) -> bool:
        return scene_id in self._rows

    def put(self, scene_id: str, chains: Iterable[Sequence[str]]) -> None:
        """Count a scene's chains, in the place of those that it had."""
        row = _BREAK.join("".join(map(self._character, chain)) for chain in chains)
        if self._rows.get(scene_id) == row:
            return
        self._drop(scene_id)
        self._rows[scene_id] = row
        self._places[scene_id] = len(self._owners)
        self._owners.append(scene_id)
        self._enter(row, ~self._places[scene_id])

    def _drop(self, scene_id: str) -> None:
        """Take a scene out; an unknown one changes nothing."""
        row = self._rows.pop(scene_id, None)
        if row is not None:
            self._leave(row, ~self._places.pop(scene_id))

    def spelled(self, chain: str) -> tuple[str, ...]:
        """The symbols of a chain."""
        return tuple(self._symbols[ord(character)] for character in chain)

    def shared(self) -> dict[str, int]:
        """Scenes by chain, for every chain that two or more have."""
        return {chain: count for chain, count in self._counts.items() if count > 1}

    def changed(self) -> dict[str, int]:
        """What changed since the last call: chain -> scenes, 0 where a longer chain is as common or one scene has it."""
        changed = self._changed | {part for chain in self._changed if len(chain) > SHORTEST for part in _parts(chain)}
        if self._covers is None:
            self._covers = {}
            for chain, count in self.shared().items():
                _cover(self._covers, chain, count)
        self._changed = set()
        return {chain: self._maximal(chain, self._covers) for chain in changed}

    def _maximal(self, chain: str, covers: dict[str, int]) -> int:
        count = self._counts.get(chain, 0)
        return count if count > max(1, covers.get(chain, 0)) else 0

    def _character(self, symbol: str) -> str:
        found = self._characters.get(symbol)
        if found is None:
            if len(self._symbols) > _LAST:
                return _BREAK
            found = self._characters[symbol] = chr(len(self._symbols))
            self._symbols.append(symbol)
        return found

    # What one scene has is held as the complement of that scene's place; what came twice as a count, and then all that
    # goes on from it is held, too.

    def _enter(self, row: str, mine: int) -> None:
        counts, changed, covers = self._counts, self._changed, self._covers
        starts: Sequence[int] = range(len(row))
        for length in range(SHORTEST, LONGEST + 1):
            again: set[str] = set()
            for chain in _chains(row, starts, length):
                held = counts.setdefault(chain, mine)
                if held == mine:
                    continue
                if held < 0:
                    self._open(chain, held)
                    held = 1
                counts[chain] = held + 1
                changed.add(chain)
                again.add(chain)
                if covers is not None:
                    _cover(covers, chain, held + 1)
            starts = [at for at in starts if row[at : at + length] in again]
            if not starts:
                break

    def _open(self, chain: str, other: int) -> None:
        """A chain that only one other scene had comes again: from now on what follows it is held."""
        if len(chain) < LONGEST:
            row = self._rows[self._owners[~other]]
            self._counts.update(dict.fromkeys(_chains(row, _places(row, chain), len(chain) + 1), other))

    def _leave(self, row: str, mine: int) -> None:
        self._covers = None  # step by step it can only rise
        counts = self._counts
        starts: Sequence[int] = range(len(row))
        for length in range(SHORTEST, LONGEST + 1):
            shared: set[str] = set()
            for chain in _chains(row, starts, length):
                self._changed.add(chain)
                held = counts[chain]
                if held != mine:
                    shared.add(chain)
                if held in (mine, 1):
                    del counts[chain]
                else:
                    counts[chain] = held - 1
            starts = [at for at in starts if row[at : at + length] in shared]


def _chains(row: str, starts: Iterable[int], length: int) -> set[str]:
    """The whole chains of this length that begin at these places."""
    found = {row[at : at + length] for at in starts}
    return {chain for chain in found if len(chain) == length and _BREAK not in chain}


def _places(row: str, chain: str) -> Iterator[int]:
    at = row.find(chain)
    while at >= 0:
        yield at
        at = row.find(chain, at + 1)


def _parts(chain: str) -> tuple[str, str]:
    return chain[:-1], chain[1:]


def _cover(covers: dict[str, int], chain: str, count: int) -> None:
    """For each chain, how common its commonest continuation by one symbol is, to either side."""
    if len(chain) > SHORTEST:
        for part in _parts(chain):
            if covers.get(part, 0) < count:
                covers[part] = count
