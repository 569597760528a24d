"""Stop strings watched on this side: by engines that make the text here, and for servers that say or drop some."""

from __future__ import annotations

from collections.abc import Sequence


class StopText:
    """Text in, text out. What could still become a stop string is held back until it is decided.

    ``stopped`` is true once a stop string was met; nothing after it counts.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = tuple(text for text in stop if text)
        self._held = ""
        self.stopped = False

    def add(self, text: str) -> str:
        """What may be said now."""
        if self.stopped:
            return ""
        self._held += text
        at = min((place for each in self._stop if (place := self._held.find(each)) >= 0), default=None)
        if at is not None:
            self.stopped = True
            said, self._held = self._held[:at], ""
            return said
        keep = self._undecided()
        said, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return said

    def rest(self) -> str:
        """What was held back and did not become a stop string."""
        rest, self._held = self._held, ""
        return rest

    def _undecided(self) -> int:
        """Length of the longest end of the held text that begins a stop string."""
        longest = min(len(self._held), max((len(each) - 1 for each in self._stop), default=0))
        for size in range(longest, 0, -1):
            if any(each.startswith(self._held[-size:]) for each in self._stop):
                return size
        return 0
