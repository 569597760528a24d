"""Slots of an engine that cannot batch different mixtures: given to one mixture at a time, and nobody starves.

llama.cpp puts requests into one batch only when their LoRA scales are equal; with two mixtures in its slots the lower
slot decodes and the other stands still. So requests are grouped: while a mixture runs, its own requests go on being
admitted as slots fall free, until a request of another mixture has waited its bound. Then nothing more is admitted,
the running ones finish, and the turn goes to the mixture whose first request has waited longest.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class _Waiter:
    """One waiting request: its place in the order of arrival, when it came, and how it is told its slot."""

    ticket: int
    since: float
    slot: asyncio.Future[int]


class MixtureSlots:
    """Numbered slots, held by requests of one mixture at a time.

    A turn of one mixture ends when ``patience`` of its requests have overtaken an older request of another mixture, or
    when it has lasted ``wait_s`` while another mixture waited. The next turn is the longest-waiting request's, so a
    request waits for at most one turn of each mixture that was there before it.

    Args:
        slots: how many requests run at once.
        patience: requests of the running mixture that may overtake a waiting other; None is twice ``slots``.
        wait_s: seconds for which the running mixture is fed while another waits.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        slots: int,
        *,
        patience: int | None = None,
        wait_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.slots = slots
        self.patience = 2 * slots if patience is None else patience
        self.wait_s = wait_s
        self.running: Hashable = None
        self._clock = clock
        self._free = deque(range(slots))
        self._waiting: dict[Hashable, deque[_Waiter]] = {}
        self._tickets = 0
        self._overtaken = 0
        self._turn_began = 0.0

    @property
    def busy(self) -> int:
        """Slots in use."""
        return self.slots - len(self._free)

    @property
    def waiting(self) -> int:
        """Requests that have no slot yet."""
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def slot(self, mixture: Hashable) -> AsyncIterator[int]:
        """Hold one slot, numbered from 0, for a request of this mixture."""
        number = await self._acquire(mixture)
        try:
            yield number
        finally:
            self._release(number)

    async def _acquire(self, mixture: Hashable) -> int:
        waiter = _Waiter(self._tickets, self._clock(), asyncio.get_running_loop().create_future())
        self._tickets += 1
        self._waiting.setdefault(mixture, deque()).append(waiter)
        self._admit()
        try:
            return await waiter.slot
        except asyncio.CancelledError:
            self._give_up(mixture, waiter)
            raise

    def _give_up(self, mixture: Hashable, waiter: _Waiter) -> None:
        """A cancelled waiter leaves the queue, or hands back the slot it was given in the same moment."""
        if waiter.slot.done() and not waiter.slot.cancelled():
            self._release(waiter.slot.result())
            return
        group = self._waiting.get(mixture)
        if group is not None and waiter in group:
            group.remove(waiter)
            if not group:
                del self._waiting[mixture]
        self._admit()

    def _release(self, number: int) -> None:
        self._free.append(number)
        self._admit()

    def _admit(self) -> None:
        while self._free and self._waiting:
            if self.busy and (self.running not in self._waiting or self._turn_is_over()):
                return
            self._start(self.running if self.busy else self._longest_waiting())

    def _longest_waiting(self) -> Hashable:
        return min(self._waiting, key=lambda mixture: self._waiting[mixture][0].ticket)

    def _turn_is_over(self) -> bool:
        since = [group[0].since for mixture, group in self._waiting.items() if mixture != self.running]
        if not since:
            return False
        return self._overtaken >= self.patience or self._clock() - max(min(since), self._turn_began) >= self.wait_s

    def _start(self, mixture: Hashable) -> None:
        group = self._waiting[mixture]
        waiter = group.popleft()
        if not group:
            del self._waiting[mixture]
        if waiter.slot.cancelled():  # its task is cancelled and has not run since
            return
        if not self.busy:
            self.running, self._overtaken, self._turn_began = mixture, 0, self._clock()
        if any(others[0].ticket < waiter.ticket for other, others in self._waiting.items() if other != mixture):
            self._overtaken += 1
        waiter.slot.set_result(self._free.popleft())
