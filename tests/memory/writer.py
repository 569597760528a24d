"""Run as a process by the tests of two writers: appends its share of operations and says how many were new.

    python writer.py MODULE CLASS OPTIONS FIRST LAST SEED

OPTIONS are the constructor's, as JSON. Operation n is one scene with one encounter, the same whoever writes it; those
from FIRST up to LAST are written in an order drawn from SEED, up to twenty at a time, each of them twice now and then.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import random
import sys

from scenepipe.contracts import Archive
from scenepipe.testing.archive_suite import encounter_of, scene_of


async def write(archive: Archive, first: int, last: int, chance: random.Random) -> int:
    numbers = list(range(first, last))
    chance.shuffle(numbers)

    async def one(number: int) -> int:
        scene = scene_of(f"действие {number}", ["шаг", f"слово{number % 50}"], vector=[1, number % 100])
        return (await archive.append([scene], [encounter_of(scene, f"op-{number}")])).encounters

    await archive.open()
    new = 0
    while numbers:
        some = [numbers.pop() for _ in range(min(len(numbers), chance.randrange(1, 21)))]
        again = some[:1] if chance.random() < 0.2 else []
        new += sum(await asyncio.gather(*(one(number) for number in [*some, *again])))
    await archive.aclose()
    return new


def main(module: str, name: str, options: str, first: str, last: str, seed: str) -> None:
    archive = getattr(importlib.import_module(module), name)(**json.loads(options))
    print(asyncio.run(write(archive, int(first), int(last), random.Random(int(seed)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
