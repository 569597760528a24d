"""One queue before one engine: bounded, and fair between chats.

So many requests run; the others wait, each in the lane of its chat. Whenever a place falls free the next lane in turn
gives its oldest request, so a chat that sends a hundred at once waits for the others after each of them. Which of the
running requests shares a batch is the engine's business (`scenepipe.backends.grouping` where mixtures cannot share one):
more are let in than it runs at once, so that it has equal mixtures to put together.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from scenepipe.server.problem import ApiError

AHEAD = 4
"""Requests let in for each that the engine runs at once."""
_Lane = tuple[str, str]
_Turn = asyncio.Future[ApiError | None]
"""What somebody waits for: None is a place."""


class Admission:
    """Places for running requests, and the queue for them.

    Args:
        places: requests that run at once.
        waiting: requests that may wait.
        wait_s: seconds that one may wait.
        per_key: requests of one key, waiting or running.
        rejected: told the reason of each refusal: ``queue_full``, ``queue_timeout``, ``key``, ``draining``.
        waited: told how many seconds each request waited that was let in.
    """

    def __init__(
        self,
        places: int,
        *,
        waiting: int,
        wait_s: float,
        per_key: int,
        rejected: Callable[[str], None] = lambda reason: None,
        waited: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self.places = places
        self.draining = False
        self._most_waiting = waiting
        self._wait_s = wait_s
        self._per_key = per_key
        self._rejected = rejected
        self._waited = waited
        self._running = 0
        self._lanes: OrderedDict[_Lane, deque[_Turn]] = OrderedDict()
        self._idle = asyncio.Event()
        self._idle.set()
        self._of_key: Counter[str] = Counter()
        self._took = 1.0

    @property
    def running(self) -> int:
        """Requests that have their place."""
        return self._running

    @property
    def waiting(self) -> int:
        """Requests that wait for one."""
        return sum(map(len, self._lanes.values()))

    @property
    def full(self) -> bool:
        """Whether one more would be refused."""
        return self._running >= self.places and self.waiting >= self._most_waiting

    async def idle(self) -> None:
        """Until nobody waits or runs."""
        await self._idle.wait()

    def turn_away(self) -> None:
        """Refuse whoever still waits, because the server stops."""
        lanes, self._lanes = self._lanes, OrderedDict()
        for turn in (turn for turns in lanes.values() for turn in turns if not turn.done()):
            turn.set_result(self._draining())

    @asynccontextmanager
    async def place(self, key: str, chat: str) -> AsyncIterator[None]:
        """Hold a place for a request of this key and chat; it is given back however the request ends.

        Raises:
            ApiError: 429 where the key has too many, 503 where the queue is full, the wait was too long or the server
                is about to stop.
        """
        self._refuse_early(key)
        self._of_key[key] += 1
        self._idle.clear()
        try:
            began = time.monotonic()
            await self._acquire((key, chat))
            started = time.monotonic()
            self._waited(started - began)
            try:
                yield
            finally:
                self._took += 0.1 * (time.monotonic() - started - self._took)
                self._running -= 1
                self._admit()
        finally:
            self._of_key[key] -= 1
            if not self._of_key[key]:
                del self._of_key[key]
            if not self._of_key:
                self._idle.set()

    def _refuse_early(self, key: str) -> None:
        if self.draining:
            raise self._draining()
        if self._of_key.get(key, 0) >= self._per_key:
            raise self._refused(429, "key", f"this key has {self._per_key} requests here already; wait for one of them")
        if self.full:
            raise self._refused(503, "queue_full", f"{self.waiting} requests wait already; try again later")

    def _draining(self) -> ApiError:
        return self._refused(503, "draining", "the server is about to stop; try another one")

    def _refused(self, status: int, reason: str, message: str) -> ApiError:
        self._rejected(reason)
        code = {"key": "too_many_requests"}.get(reason, reason)
        return ApiError(status, message, code=code, retry_after=self._patience())

    def _patience(self) -> float:
        """Seconds after which a place is likely: what is before it in the queue, at the pace of late."""
        return min(60.0, max(1.0, self._took * (1 + self.waiting) / self.places))

    async def _acquire(self, lane: _Lane) -> None:
        if self._running < self.places and not self._lanes:
            self._running += 1
            return
        turn: _Turn = asyncio.get_running_loop().create_future()
        self._lanes.setdefault(lane, deque()).append(turn)
        try:
            async with asyncio.timeout(self._wait_s):
                refusal = await turn
        except TimeoutError:
            self._give_up(lane, turn)
            message = f"no place fell free within {self._wait_s:g} s; try again later"
            raise self._refused(503, "queue_timeout", message) from None
        except asyncio.CancelledError:
            self._give_up(lane, turn)
            raise
        if refusal is not None:
            raise refusal

    def _give_up(self, lane: _Lane, turn: _Turn) -> None:
        """Leave the queue, or hand back the place that was given in the same moment."""
        if turn.done() and not turn.cancelled():
            self._running -= turn.result() is None
        elif lane in self._lanes and turn in self._lanes[lane]:
            self._lanes[lane].remove(turn)
            if not self._lanes[lane]:
                del self._lanes[lane]
        self._admit()

    def _admit(self) -> None:
        while self._running < self.places and self._lanes:
            lane, turns = self._lanes.popitem(last=False)
            turn = turns.popleft()
            if turns:
                self._lanes[lane] = turns  # behind all others
            if not turn.done():
                self._running += 1
                turn.set_result(None)
