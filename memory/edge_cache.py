"""What the only writer of a Qdrant Edge archive knows of its scenes without asking the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from scenepipe.memory.point_engine import FOUND, Payload, Point
from scenepipe.memory.points import tags

MOST_COUNTS = 200_000
MOST_ROWS = 250_000

Rows = dict[str, Payload]
"""What a search tells of each scene point, by its id; about a kilobyte each."""


class EdgeCache:
    """Counts of scenes by tag and, up to 250,000 scenes, what a search tells of each.

    At 100,000 scenes the rows take a search from 28 to 8 ms, and the first one 5 s.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._rows: Rows | None = None

    def count(self, tag: str, anew: Callable[[], int]) -> int:
        """Scenes that have a tag; asked for once."""
        if tag not in self._counts:
            if len(self._counts) >= MOST_COUNTS:
                self._counts.clear()
            self._counts[tag] = anew()
        return self._counts[tag]

    def rows(self, scenes: int, anew: Callable[[], Rows]) -> Rows | None:
        """Rows of all ``scenes``; None where these are too many to be kept."""
        if scenes > MOST_ROWS:
            self._rows = None
        elif self._rows is None:
            self._rows = anew()
        return self._rows

    def wrote(self, scenes: Sequence[Point]) -> None:
        """These are stored now, and were not before."""
        for tag in (tag for point in scenes for tag in tags("scenes", point.payload) if tag in self._counts):
            self._counts[tag] += 1
        if self._rows is not None and len(self._rows) + len(scenes) > MOST_ROWS:
            self._rows = None
        if self._rows is not None:
            self._rows |= {point.id: {name: point.payload[name] for name in FOUND} for point in scenes}

    def forget(self) -> None:
        """Something else was written, or nobody knows what."""
        self._counts.clear()
        self._rows = None
