"""The slots scheduler alone: one mixture at a time, bounded waits, no slot lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenepipe.backends.grouping import MixtureSlots


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Bench:
    """Requests that hold their slot until told to go."""

    slots: MixtureSlots
    started: list[str] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    _ends: dict[str, asyncio.Event] = field(default_factory=dict)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def ask(self, *names: str) -> None:
        """Start requests; the first letter is the mixture."""
        for name in names:
            self._ends[name] = asyncio.Event()
            self._tasks[name] = asyncio.create_task(self._request(name))
            await settle()

    async def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
            await self._tasks[name]
            await settle()

    async def cancel(self, *names: str) -> None:
        """Cancel requests in one moment, running or waiting."""
        for name in names:
            self._tasks[name].cancel()
        await asyncio.wait([self._tasks[name] for name in names])
        await settle()

    @property
    def running(self) -> list[str]:
        return sorted(self.numbers)

    async def _request(self, name: str) -> None:
        async with self.slots.slot(name[0]) as number:
            assert number not in self.numbers.values()
            self.started.append(name)
            self.numbers[name] = number
            try:
                await self._ends[name].wait()
            finally:
                del self.numbers[name]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def bench(
    slots: int = 2, patience: int | None = None, wait_s: float = 100.0, clock: Callable[[], float] | None = None
) -> Bench:
    return Bench(MixtureSlots(slots, patience=patience, wait_s=wait_s, clock=clock or Clock()))


def test_one_mixture_fills_all_slots_and_no_more() -> None:
    async def scenario() -> None:
        b = bench(slots=2)
        await b.ask("a1", "a2", "a3")
        assert b.running == ["a1", "a2"]
        assert (b.slots.busy, b.slots.waiting) == (2, 1)
        await b.end("a1")
        assert b.running == ["a2", "a3"]
        assert sorted(b.numbers.values()) == [0, 1]

    asyncio.run(scenario())


def test_another_mixture_waits_although_a_slot_is_free() -> None:
    async def scenario() -> None:
        b = bench(slots=2)
        await b.ask("a1", "b1")
        assert b.running == ["a1"]
        await b.end("a1")
        assert b.running == ["b1"]

    asyncio.run(scenario())


def test_the_running_mixture_is_fed_until_patience_ends() -> None:
    async def scenario() -> None:
        b = bench(slots=1, patience=2)
        await b.ask("a0", "b1", "a1", "a2", "a3")
        for name in ("a0", "b1", "a1", "a2"):
            await b.end(name)
        # With one slot each end drains the engine, and the longest-waiting request is next.
        assert b.started == ["a0", "b1", "a1", "a2", "a3"]

        c = bench(slots=2, patience=2)
        await c.ask("a0", "a1", "b1", "a2", "a3", "a4")
        await c.end("a0", "a1")
        assert c.running == ["a2", "a3"]
        await c.end("a2")
        assert c.running == ["a3"]
        await c.end("a3")
        assert c.running == ["b1"]
        await c.end("b1")
        assert c.running == ["a4"]

    asyncio.run(scenario())


def test_the_running_mixture_is_fed_until_time_ends() -> None:
    async def scenario() -> None:
        clock = Clock()
        b = bench(slots=2, patience=1000, wait_s=2.0, clock=clock)
        await b.ask("a0", "a1", "b1", "a2", "a3", "a4")
        clock.now = 1.9
        await b.end("a0")
        assert b.running == ["a1", "a2"]
        clock.now = 2.0
        await b.end("a1")
        assert b.running == ["a2"]
        await b.end("a2")
        assert b.running == ["b1"]

    asyncio.run(scenario())


def test_a_turn_that_starts_late_still_fills_the_slots() -> None:
    async def scenario() -> None:
        clock = Clock()
        b = bench(slots=3, patience=1000, wait_s=2.0, clock=clock)
        await b.ask("a0", "b1", "b2", "b3", "c1", "c2")
        clock.now = 50.0
        await b.end("a0")
        assert b.running == ["b1", "b2", "b3"]

    asyncio.run(scenario())


def test_turns_go_to_the_longest_waiting() -> None:
    async def scenario() -> None:
        b = bench(slots=2)
        await b.ask("a1", "c1", "b1", "c2")
        await b.end("a1")
        assert b.running == ["c1", "c2"]
        await b.end("c1", "c2")
        assert b.running == ["b1"]

    asyncio.run(scenario())


def test_a_cancelled_waiter_leaves_and_lets_others_on() -> None:
    async def scenario() -> None:
        b = bench(slots=2, patience=0)
        await b.ask("a1", "b1", "a2")
        assert b.running == ["a1"]
        await b.cancel("b1")
        assert b.running == ["a1", "a2"]
        assert b.slots.waiting == 0

    asyncio.run(scenario())


def test_a_cancelled_holder_gives_its_slot_back() -> None:
    async def scenario() -> None:
        b = bench(slots=1)
        await b.ask("a1", "b1")
        await b.cancel("a1")
        assert b.running == ["b1"]

    asyncio.run(scenario())


def test_a_waiter_cancelled_in_the_moment_of_its_turn_gives_the_slot_back() -> None:
    async def scenario() -> None:
        slots = MixtureSlots(1, clock=Clock())
        async with slots.slot("a"):
            waiter = asyncio.create_task(_hold(slots, "b"))
            await settle()
        # The slot is granted, the task has not run since.
        assert slots.busy == 1
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        assert (slots.busy, slots.waiting) == (0, 0)

    asyncio.run(scenario())


def test_holders_and_waiters_cancelled_in_one_moment_leave_every_slot_free() -> None:
    async def scenario() -> None:
        slots = MixtureSlots(2, clock=Clock())
        tasks = [asyncio.create_task(_hold(slots, mixture)) for mixture in "aababb"]
        await settle()
        assert (slots.busy, slots.waiting) == (2, 4)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
        assert (slots.busy, slots.waiting) == (0, 0)

    asyncio.run(scenario())


async def _hold(slots: MixtureSlots, mixture: str) -> None:
    async with slots.slot(mixture):
        await asyncio.Event().wait()


@settings(max_examples=150, deadline=None)
@given(
    slots=st.integers(1, 4),
    patience=st.integers(0, 5),
    wait_s=st.floats(0.0, 5.0),
    mixtures=st.lists(st.sampled_from("abc"), min_size=1, max_size=40),
    seed=st.integers(0, 2**32),
)
def test_no_order_of_events_loses_a_slot_mixes_or_starves(
    slots: int, patience: int, wait_s: float, mixtures: list[str], seed: int
) -> None:
    asyncio.run(_storm(slots, patience, wait_s, mixtures, random.Random(seed)))


async def _storm(slots: int, patience: int, wait_s: float, mixtures: list[str], chance: random.Random) -> None:
    clock = Clock()
    b = bench(slots=slots, patience=patience, wait_s=wait_s, clock=clock)
    asked: list[str] = []
    gone: set[str] = set()
    for number, mixture in enumerate(mixtures):
        asked.append(f"{mixture}{number:03d}")
        await b.ask(asked[-1])
        clock.now += chance.random()
        waiting = [name for name in asked if name not in gone and name not in b.started]
        if b.running and chance.random() < 0.4:
            await b.end(chance.choice(b.running))
        elif b.running and waiting and chance.random() < 0.2:
            leaving = [chance.choice(b.running), *chance.sample(waiting, chance.randint(1, len(waiting)))]
            gone.update(leaving[1:])
            await b.cancel(*leaving)
        elif waiting and chance.random() < 0.3:
            leaving = chance.sample(waiting, chance.randint(1, len(waiting)))
            gone.update(leaving)
            await b.cancel(*leaving)
        assert len({name[0] for name in b.running}) <= 1
        assert b.slots.busy == len(b.running)
    while b.running:
        await b.end(chance.choice(b.running))
        assert len({name[0] for name in b.running}) <= 1
    assert (b.slots.busy, b.slots.waiting) == (0, 0)
    served = [name for name in asked if name not in gone]
    assert sorted(b.started) == sorted(served)
    for name in served:
        _check_overtaking(name, b.started, patience, slots)


def _check_overtaking(name: str, started: list[str], patience: int, slots: int) -> None:
    """Later requests of the same mixture never overtake; of others only what their turns allow."""
    before = started[: started.index(name)]
    later = [other for other in before if other[1:] > name[1:]]
    assert not [other for other in later if other[0] == name[0]]
    turns = len({other[0] for other in later})
    assert len(later) <= turns * max(patience, 1) + turns * slots


def test_the_waiting_are_counted_only_while_they_wait() -> None:
    async def scenario() -> None:
        b = bench(slots=1)
        await b.ask("a1", "a2", "b1")
        assert b.slots.waiting == 2
        await b.cancel("a2")
        await b.cancel("b1")
        assert b.slots.waiting == 0

    asyncio.run(scenario())
