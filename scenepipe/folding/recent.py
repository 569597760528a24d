"""What is kept in memory by namespace, of the namespaces used last."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")
NAMESPACES = 64
"""Namespaces kept: a server has one for each of its users."""


class Recent(Generic[T]):
    """Values by namespace. One is taken out to be worked on and put back whole, or lost when the work fails."""

    def __init__(self, most: int = NAMESPACES) -> None:
        self._most = most
        self._values: OrderedDict[str, T] = OrderedDict()

    def get(self, namespace: str) -> T | None:
        """Look at a value without using it."""
        return self._values.get(namespace)

    def take(self, namespace: str) -> T | None:
        return self._values.pop(namespace, None)

    def put(self, namespace: str, value: T) -> None:
        """Keep a value as the one used last; the one used longest ago gives way."""
        self._values[namespace] = value
        self._values.move_to_end(namespace)
        if len(self._values) > self._most:
            self._values.popitem(last=False)

    def clear(self) -> None:
        self._values.clear()
