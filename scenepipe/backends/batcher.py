"""The generation loop of the `transformers` backend: one thread, all rows in flight in one batch.

At every step boundary rows whose request was abandoned leave, waiting ones join, and each of the rest gets one token.
A newcomer's prompt is read in passes of a bounded number of tokens, one between two steps, so nobody stands still for
longer than one such pass. Importing this module imports torch.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import torch

from scenepipe.backends.passes import Passes, named
from scenepipe.backends.rows import Post, Row
from scenepipe.backends.sampler import draw
from scenepipe.errors import BackendError

T = TypeVar("T")
V = TypeVar("V")

_CLOSED = "this backend was closed during the request; open it again"


class Batcher:
    """Rows in, tokens out.

    Args:
        parallel: rows in flight.
        max_batch_tokens: prompt tokens, padding included, that one pass reads.
        threads: CPU threads of the loop; None leaves torch's number.
    """

    def __init__(self, passes: Passes, *, parallel: int, max_batch_tokens: int, threads: int | None = None) -> None:
        self._passes = passes
        self._parallel = parallel
        self._max_batch_tokens = max_batch_tokens
        self._threads = threads
        self._rows: list[Row] = []  # slot i of the cache is row i's; the row that is being read has the next slot
        self._reading: Row | None = None
        self._waiting: deque[Row] = deque()
        self._jobs: deque[tuple[Generator[None, None, Any], Future[Any]]] = deque()
        self._post = Post()
        self._awake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="scenepipe-transformers", daemon=True)
        self._thread.start()

    def submit(self, row: Row) -> None:
        """Queue a row; it joins at a step boundary with a free slot. Set ``row.dropped`` to take it out.

        Raises:
            BackendError: the batcher was closed.
        """
        with self._awake:
            if self._closing:
                raise BackendError(_CLOSED)
            self._waiting.append(row)
            self._awake.notify()

    def call(self, job: Generator[None, None, T]) -> Future[T]:
        """Run something in the loop's thread: between two steps as far as its next ``yield``.

        Raises:
            BackendError: the batcher was closed.
        """
        future: Future[T] = Future()
        with self._awake:
            if self._closing:
                raise BackendError(_CLOSED)
            self._jobs.append((job, future))
            self._awake.notify()
        return future

    def close(self) -> None:
        """End the loop after the pass it is in; rows in flight fail. Closing again does nothing."""
        with self._awake:
            self._closing = True
            self._awake.notify()
        if threading.current_thread() is not self._thread:  # where a finalizer runs is not ours to choose
            self._thread.join()

    # --- the loop ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        if self._threads is not None:
            torch.set_num_threads(self._threads)
        why: Exception = BackendError(_CLOSED)
        with torch.inference_mode():
            try:
                while self._wait():
                    self._turn()
            except Exception as error:  # not one row's fault: nobody may wait for a loop that has ended
                why = named(error, "the generation loop, which has ended; open the backend again")
            self._end(why)

    def _turn(self) -> None:
        """One step boundary, one step, one piece of a job."""
        self._leave()
        self._join()
        self._leave()
        self._step()
        self._post.send()
        self._work()

    def _wait(self) -> bool:
        """Sleep until there is work; False once the loop is to end."""
        with self._awake:
            while not (self._closing or self._rows or self._reading or self._waiting or self._jobs):
                self._awake.wait()
            return not self._closing

    def _end(self, why: Exception) -> None:
        with self._awake:
            self._closing = True
            waiting, jobs = [*self._waiting], [*self._jobs]
        reading = [self._reading] if self._reading else []
        self._fail([*self._rows, *reading, *waiting], why)
        self._post.send()
        for _, future in jobs:
            if future.set_running_or_notify_cancel():
                future.set_exception(why)
        self._passes.clear()

    def _fail(self, rows: Sequence[Row], error: Exception) -> None:
        for row in rows:
            row.dropped = True
            self._post.add(row, error)

    def _leave(self) -> None:
        """Take out rows that are finished or abandoned; the row of the last slot moves into the gap."""
        if self._reading is not None and self._reading.dropped:
            self._reading = None
        for slot in range(len(self._rows) - 1, -1, -1):
            if not (self._rows[slot].dropped or self._rows[slot].finished):
                continue
            last = self._rows.pop()
            if slot < len(self._rows):
                self._passes.move(len(self._rows), slot, last.cached)
                self._rows[slot] = last
            if self._reading is not None:
                self._passes.move(len(self._rows) + 1, len(self._rows), self._reading.cached)

    def _join(self) -> None:
        """Read prompts for one pass; a row whose prompt is read joins with its first token."""
        joining = [self._reading] if self._reading is not None else self._next()
        if not joining:
            return
        try:
            logits = self._passes.read(joining, len(self._rows), self._max_batch_tokens)
        except Exception as error:
            self._reading = None
            self._fail(joining, named(error, f"{len(joining)} prompts of up to {_longest(joining)} tokens to read"))
            return
        self._reading = joining[0] if joining[0].cached < len(joining[0].prompt) else None
        if self._reading is None:
            self._rows += joining
            self._take(joining, logits)

    def _next(self) -> list[Row]:
        """The first waiting rows that fit into free slots and one pass; a prompt longer than a pass goes alone."""
        chosen: list[Row] = []
        with self._awake:
            while self._waiting and len(self._rows) + len(chosen) < self._parallel:
                wanted = [*chosen, self._waiting[0]]
                if chosen and _longest(wanted) * len(wanted) > self._max_batch_tokens:
                    break
                row = self._waiting.popleft()
                if not row.dropped:
                    row.started = time.perf_counter()
                    chosen = wanted
        return chosen

    def _step(self) -> None:
        """One token for every row. A pass that fails has failed for all of them; the loop goes on."""
        if not self._rows:
            return
        try:
            logits = self._passes.step(self._rows)
        except Exception as error:
            self._fail(self._rows, named(error, f"{len(self._rows)} rows in flight"))
            self._rows = []
            self._passes.clear()
            self._unread()
            return
        self._take(self._rows, logits)

    def _unread(self) -> None:
        """The row that is being read goes back to the queue's head: what was read of it is lost with the cache."""
        row, self._reading = self._reading, None
        if row is not None:
            row.cached = 0
            with self._awake:
                self._waiting.appendleft(row)

    def _take(self, rows: Sequence[Row], logits: torch.Tensor) -> None:
        """Draw each row's next token and post what it says. What goes wrong for one row fails that row alone."""
        self._each(rows, lambda row, values: row.look(values), logits)
        try:
            tokens = draw(logits, rows)
        except Exception as error:
            self._fail(rows, named(error, f"{len(rows)} tokens to draw"))
        else:
            self._each(rows, lambda row, token: self._post.add(row, row.take(token)), tokens)

    def _each(self, rows: Sequence[Row], act: Callable[[Row, V], None], values: Iterable[V]) -> None:
        for row, value in zip(rows, values, strict=True):
            try:
                if not row.dropped:
                    act(row, value)
            except Exception as error:
                self._fail([row], named(error, "a reply"))

    def _work(self) -> None:
        """One piece of the first job, such as a pass of a score. One that nobody waits for any more goes no further."""
        if not self._jobs:
            return
        (job, future), told, failed = self._jobs[0], None, None
        try:
            if not future.cancelled():
                next(job)
                return
        except StopIteration as end:
            told = end.value
        except Exception as error:
            failed = named(error, "a score or a proof")
        with self._awake:
            self._jobs.popleft()
        if future.set_running_or_notify_cancel():
            future.set_result(told) if failed is None else future.set_exception(failed)


def _longest(rows: Sequence[Row]) -> int:
    return max(len(row.prompt) for row in rows)
