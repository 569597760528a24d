"""Re-Pair over numbers: the commonest pair becomes a rule, again and again; in n log n time for n numbers.

Larsson & Moffat 1999, "Offline dictionary-based compression". Places of a pair are kept as they were found and checked
when the pair's turn comes, since most of them still hold; among equally common pairs the one found first is taken, so that a
long repeat is halved and not eaten from one end.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

MAX_DEPTH = 32
"""Rules inside rules: 32 levels of pairs reach four thousand million symbols."""
RULE_COST = 1

Rules = list[list[int]]
Pair = tuple[int, int]
_GONE = -1


def saves(count: int, length: int) -> int:
    """Symbols that a rule of ``length`` saves when it stands in ``count`` places: what it spares less its own cost."""
    return (count - 1) * (length - 1) - RULE_COST


def repair(numbers: Sequence[int]) -> tuple[list[int], Rules]:
    """Sequence and rules of numbers ``0 .. k-1``; number ``k + i`` is rule ``i``, whose right side names smaller numbers."""
    first = max(numbers, default=-1) + 1
    row = _Row(numbers, first)
    while row.heap:
        row.replace_commonest()
    return _kept([number for number in row.numbers[:-1] if number != _GONE], row.pairs, first)


class _Row:
    """The numbers as a doubly linked list, with the places of every pair that came twice."""

    def __init__(self, numbers: Sequence[int], first: int) -> None:
        size = len(numbers)
        self.numbers = [*numbers, _GONE]
        self.after = list(range(1, size + 2))
        self.before = list(range(-1, size))
        self.pairs: list[Pair] = []
        self.depths = [0] * first
        self.places: dict[Pair, list[int]] = {}
        self.heap: list[tuple[int, int, Pair]] = []
        self._found = 0
        places: dict[Pair, list[int]] = {}
        for at in range(size - 1):
            places.setdefault((numbers[at], numbers[at + 1]), []).append(at)
        self._note(places)

    def _note(self, places: dict[Pair, list[int]]) -> None:
        """Queue the pairs that came twice. A pair never gets new places later: those are pairs of a new number."""
        for pair, found in places.items():
            if len(found) > 1:
                self.places[pair] = found
                self._push(len(found), self._found, pair)
                self._found += 1

    def _push(self, count: int, order: int, pair: Pair) -> None:
        heapq.heappush(self.heap, (-count, order, pair))

    def replace_commonest(self) -> None:
        """Make a rule of the commonest pair, or put it back where it belongs when places of it are gone."""
        claimed, order, pair = heapq.heappop(self.heap)
        places = self._standing(pair)
        if len(places) < 2:
            return
        if len(places) < -claimed:
            self.places[pair] = places
            self._push(len(places), order, pair)
            return
        depth = 1 + max(self.depths[pair[0]], self.depths[pair[1]])
        if depth <= MAX_DEPTH:
            self.pairs.append(pair)
            self.depths.append(depth)
            self._replace(places, len(self.depths) - 1)

    def _standing(self, pair: Pair) -> list[int]:
        """Places where the pair still stands, without overlaps (the three of ``aaaa`` are two)."""
        left, right = pair
        numbers, after = self.numbers, self.after
        standing: list[int] = []
        taken = -1
        for at in sorted(self.places.pop(pair)):
            if at != taken and numbers[at] == left and numbers[after[at]] == right:
                standing.append(at)
                taken = after[at]
        return standing

    def _replace(self, places: Sequence[int], number: int) -> None:
        numbers, after, before = self.numbers, self.after, self.before
        fresh: dict[Pair, list[int]] = {}
        for at in places:
            gone = after[at]
            right, left = after[gone], before[at]
            numbers[at], numbers[gone] = number, _GONE
            after[at], before[right] = right, at
            if left >= 0:
                fresh.setdefault((numbers[left], number), []).append(left)
            if numbers[right] != _GONE:
                fresh.setdefault((number, numbers[right]), []).append(at)
        self._note(fresh)


def _kept(sequence: list[int], pairs: Sequence[Pair], first: int) -> tuple[list[int], Rules]:
    """Sequence and rules without the rules that do not save, smaller rules decided before those that use them."""
    uses = [0] * (first + len(pairs))
    for number in sequence:
        uses[number] += 1
    for pair in pairs:
        for number in pair:
            uses[number] += 1
    right_sides: dict[int, list[int]] = {}
    names: dict[int, int] = {}
    rules: Rules = []
    for number, pair in enumerate(pairs, start=first):
        side = _written(pair, right_sides, names)
        if saves(uses[number], len(side)) > 0:
            names[number] = first + len(rules)
            rules.append(side)
        else:
            right_sides[number] = side
    return _written(sequence, right_sides, names), rules


def _written(numbers: Sequence[int], right_sides: dict[int, list[int]], names: dict[int, int]) -> list[int]:
    """Numbers with dropped rules written out and kept rules under their new numbers."""
    out: list[int] = []
    for number in numbers:
        if number in right_sides:
            out.extend(right_sides[number])
        else:
            out.append(names.get(number, number))
    return out
