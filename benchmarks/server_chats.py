"""Two hundred chats on one model: is every turn answered, is every chat served alike, what does one cost in memory?

    OMP_NUM_THREADS=2 python benchmarks/server_chats.py [--chats 200] [--turns 5] [--seconds 240] [--backend transformers]

Turns arrive when they are due, not when the server is ready for them (an open loop): chats begin evenly over the first
turn's share of the time and speak on at equal distances, a turn that is due before the one before it was answered right after
that answer. 503 is retried after its ``Retry-After``. Every reply has at most 16 tokens, every chat a mixture of its own,
and its texts a number that no other has.

Printed: turns answered of all, retries, time to the answer, Jain's fairness index over the chats' mean times
((sum x)^2 / (n sum x^2), x being one over the mean; Jain, Chiu and Hawe 1984), resident bytes gained for each chat, and what the
archive says: chats that hold just their own turns, in order. Asked: all, at least 0.95, under 2 MB, all.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from _served import PIPELINE, Served, served

import scenepipe
from scenepipe import chats
from scenepipe.register import examples

BACKENDS = {
    "transformers": "{use: transformers, context: 2048, parallel: 32}",
    "llama-cpp": "{use: llama-cpp, context: 2048, parallel: 16}",
    "fake": "{use: fake, parallel: 32}",
}
REPLY_TOKENS = 16
GIVE_UP_SECONDS = 900


@dataclass
class Tally:
    """What came of one chat: seconds to each answer, and how often it was asked to come again."""

    seconds: list[float] = field(default_factory=list)
    retries: int = 0


def text_of(chat: int, turn: int, rows: list[str]) -> str:
    return f"{rows[(chat * 7 + turn) % len(rows)]} ({chat}-{turn})"


async def speak(http: httpx.AsyncClient, chat: int, due: list[float], rows: list[str]) -> Tally:
    """One chat: its turns when they are due."""
    tally = Tally()
    model = f"poet@{round(0.2 + chat % 50 / 100, 2)}+logician@{round(0.1 + chat % 5 / 25, 2)}"
    for turn, when in enumerate(due):
        await asyncio.sleep(max(0.0, when - time.monotonic()))
        began = time.monotonic()
        body = {"model": model, "max_tokens": REPLY_TOKENS, "seed": chat}
        body["messages"] = [{"role": "user", "content": text_of(chat, turn, rows)}]
        name = {"X-Scenepipe-Chat": f"chat {chat}", "Idempotency-Key": f"{chat}-{turn}"}
        while time.monotonic() < began + GIVE_UP_SECONDS:
            found = await http.post("/v1/chat/completions", json=body, headers=name)
            if found.status_code == 200:
                tally.seconds.append(time.monotonic() - began)
                break
            if found.status_code != 503:
                raise SystemExit(f"{found.status_code}: {found.text}")
            tally.retries += 1
            await asyncio.sleep(float(found.headers["Retry-After"]))
    return tally


async def run(server: Served, names: range, turns: int, seconds: float, rows: list[str]) -> list[Tally]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=server.url, timeout=GIVE_UP_SECONDS, limits=limits) as http:
        start, gap = time.monotonic(), seconds / turns
        due = [[start + gap * (place / len(names) + turn) for turn in range(turns)] for place in range(len(names))]
        return await asyncio.gather(*(speak(http, chat, when, rows) for chat, when in zip(names, due, strict=True)))


async def own(path: Path, count: int, turns: int, rows: list[str]) -> int:
    """Chats of which the archive holds just the turns that were said, answered once each, in order."""
    whole = 0
    async with scenepipe.load(path) as pipe:
        await pipe.ready()
        archive = pipe.resources.archive
        assert archive is not None
        for chat in range(count):
            name = f"chat {chat}"
            steps = chats.Chat(name, await archive.chat(name)).steps()
            said = [turn.text for turn in await chats.texts(archive, steps)]
            alone = all(step.spoken and step.replies == step.versions == 1 for step in steps)
            whole += alone and said == [text_of(chat, turn, rows) for turn in range(turns)]
    return whole


def jain(values: list[float]) -> float:
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--chats", type=int, default=200)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--backend", choices=list(BACKENDS), default="transformers")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["SCENEPIPE_HOME"] = home
        path = Path(home, "bench.yaml")
        path.write_text(PIPELINE.format(backend=BACKENDS[given.backend], home=home, mixture="exact"), encoding="utf-8")
        rows = [row.text for row in examples(scenepipe.load(path).resources.registers["poet"])]
        with served(path, "--waiting", "64", "--per-key", "8192") as server:
            asyncio.run(run(server, range(given.chats, given.chats + 8), 1, 1, rows))  # warms up
            before, began = server.resident(), time.monotonic()
            tallies = asyncio.run(run(server, range(given.chats), given.turns, given.seconds, rows))
            took, grown = time.monotonic() - began, server.resident() - before
        times = [one for tally in tallies for one in tally.seconds]
        whole = asyncio.run(own(path, given.chats, given.turns, rows))
    print(
        f"answered {len(times)} of {given.chats * given.turns} turns in {took:.0f} s, {sum(t.retries for t in tallies)} retries"
    )
    print(f"time to the answer: median {statistics.median(times):.2f} s, greatest {max(times):.2f} s")
    print(f"fairness {jain([1 / statistics.fmean(tally.seconds) for tally in tallies]):.3f} (asked: 0.95)")
    print(f"memory {grown / given.chats / 1e6:.2f} MB a chat (asked: under 2)")
    print(f"chats that hold just their own turns: {whole} of {given.chats}")


if __name__ == "__main__":
    main()
