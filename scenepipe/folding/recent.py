"""What is kept in memory by namespace, or by a part of one, of those used last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
NAMESPACES = 64
"""Namespaces kept: a server has one for each of its users."""


class Recent(Generic[K, T]):
    """Values by namespace, or by a key that begins with one.

    One is taken out to be worked on and put back whole, or lost when the work fails.
    """

    def __init__(self, most: int = NAMESPACES) -> None:
        self._most = most
        self._values: OrderedDict[K, T] = OrderedDict()

    def get(self, key: K) -> T | None:
        """Look at a value without using it."""
        return self._values.get(key)

    def take(self, key: K) -> T | None:
        return self._values.pop(key, None)

    def put(self, key: K, value: T) -> None:
        """Keep a value as the one used last; the one used longest ago gives way."""
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._most:
            self._values.popitem(last=False)

    def clear(self) -> None:
        self._values.clear()
