"""Run as a process by the kill -9 tests: forks a victim per round, so that the imports are paid once.

    python victim.py MODULE CLASS PATH

Each line of standard input is a round, the step to die at (0: when the parent kills it; ``kill_at_step.c`` has to be
preloaded for another) and whether in the middle of it. A victim opens the archive and appends to it for ever; it prints its process id, then
the id of each encounter that was acknowledged. After it the signal that ended it is printed.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import os
import sys

from scenepipe.contracts import Archive
from scenepipe.testing.archive_suite import encounter_of, scene_of


async def write_for_ever(archive: Archive, number: str) -> None:
    await archive.open()
    shared = scene_of("общая сцена", ["шаг"])

    async def one(n: int) -> None:
        scene = scene_of(f"раунд {number}, текст {n}", ["шаг"], vector=[1, 2 + n % 7])
        name = f"{number}-{n}"
        await archive.append([scene, shared], [encounter_of(scene, name), encounter_of(shared, "shared")])
        os.write(1, f"{name}\n".encode())

    for start in range(0, 100_000, 4):
        await asyncio.gather(*(one(n) for n in range(start, start + 4)))


def main(module: str, name: str, path: str) -> None:
    store = getattr(importlib.import_module(module), name)
    for line in sys.stdin:
        number, step, half = line.split()
        victim = os.fork()
        if victim == 0:
            os.write(1, f"pid {os.getpid()}\n".encode())
            if int(step):
                ctypes.CDLL(None).kill_at(ctypes.c_long(int(step)), int(half))
            asyncio.run(write_for_ever(store(path=path), number))
        _, status = os.waitpid(victim, 0)
        os.write(1, f"killed {os.waitstatus_to_exitcode(status)}\n".encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
