"""One request in a batch: what it asked, what it has said, and where that goes. Importing this module imports torch."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch

from scenepipe.backends.drawn_tokens import DrawnTokens
from scenepipe.backends.json_grammar import Grammar
from scenepipe.backends.passes import Cached
from scenepipe.backends.row_text import RowText
from scenepipe.contracts import Chunk, DrawnToken
from scenepipe.sampling import Sampling
from scenepipe.scene import TokenScore, Usage

Event = Chunk | Exception


@dataclass(frozen=True)
class Outlet:
    """Where a row's events go: a queue of an event loop, from any thread."""

    loop: asyncio.AbstractEventLoop
    queue: asyncio.Queue[Event]


@dataclass(eq=False, kw_only=True)
class Row(Cached):
    """A reply in the making.

    Args:
        random: the row's own random numbers.
        max_tokens: of the reply.
        ends: token ids that end it.
        logprobs: how many alternatives of each token are told; None tells nothing.
        started: when it left the queue, by `time.perf_counter`.
        dropped: set by whoever no longer listens.
    """

    sampling: Sampling
    random: torch.Generator
    max_tokens: int
    ends: frozenset[int]
    text: RowText
    outlet: Outlet
    grammar: Grammar | None = None
    logprobs: int | None = None
    started: float = 0.0
    dropped: bool = False
    finished: bool = False
    _forbidden: torch.Tensor | None = field(default=None, init=False)
    _raw: torch.Tensor | None = field(default=None, init=False)
    _drawn: DrawnTokens = field(default_factory=DrawnTokens, init=False)

    def recent(self, count: int) -> Sequence[int]:
        """The last tokens of prompt and reply."""
        return [*self.prompt[-count:], *self.reply][-count:]

    def look(self, logits: torch.Tensor) -> None:
        """See what the model says, [vocabulary], before any setting, and ask the grammar what may follow.

        Raises:
            BackendError: the grammar engine gave up.
        """
        if self.logprobs is not None:
            self._raw = logits.float().log_softmax(-1)
        if self.grammar is not None:
            self._forbidden = torch.from_numpy(self.grammar.forbidden())

    def forbidden(self) -> torch.Tensor | None:
        """What may not follow, as `look` saw it; None without a grammar."""
        return self._forbidden

    def take(self, token: int) -> Chunk | None:
        """Add the token that was drawn; returns what is to be said, if anything."""
        self.reply.append(token)
        ended = token in self.ends
        if self.grammar is not None:
            self.grammar.add(token)
            ended |= self.grammar.finished
        said = "" if token in self.ends else self._say(token)
        if self.text.stopped or ended:
            return self._last(said + ("" if self.text.stopped else self.text.rest()), "stop")
        if len(self.reply) >= self.max_tokens:
            return self._last(said + self.text.rest(), "length")
        return Chunk(text=said, logprobs=self._drawn.said(said)) if said else None

    def _say(self, token: int) -> str:
        if self._raw is None:
            return self.text.add(token)
        likely = self._raw.topk(min(self.logprobs or 0, len(self._raw)))
        pairs = zip(likely.indices.tolist(), likely.values.tolist(), strict=True)
        top = tuple(TokenScore(token=self.text.would_be(other), logprob=value) for other, value in pairs)
        said = self.text.add(token)
        self._drawn.add(DrawnToken(token=self.text.piece, logprob=float(self._raw[token]), top=top))
        return said

    def _last(self, said: str, reason: str) -> Chunk:
        self.finished = True
        seconds = time.perf_counter() - self.started
        usage = Usage(prompt_tokens=len(self.prompt), reply_tokens=len(self.reply), seconds=seconds)
        logprobs = self._drawn.said(said)
        return Chunk(text=said, logprobs=logprobs, finish_reason="stop" if reason == "stop" else "length", usage=usage)


class Post:
    """Events of one step, brought to their event loops together: one wake-up a loop, not one a row."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Row, Event]] = []

    def add(self, row: Row, event: Event | None) -> None:
        if event is not None:
            self._waiting.append((row, event))

    def send(self) -> None:
        waiting, self._waiting = self._waiting, []
        loops: dict[asyncio.AbstractEventLoop, list[tuple[Row, Event]]] = defaultdict(list)
        for row, event in waiting:
            loops[row.outlet.loop].append((row, event))
        for loop, events in loops.items():
            try:
                loop.call_soon_threadsafe(_deliver, events)
            except RuntimeError:  # that loop is closed: nobody listens any more
                for row, _ in events:
                    row.dropped = True


def _deliver(events: Iterable[tuple[Row, Event]]) -> None:
    for row, event in events:
        row.outlet.queue.put_nowait(event)
