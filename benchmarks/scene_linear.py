"""Milliseconds per kB through language, symbols and `rule-scene` at 1, 10 and 100 kB, for plain and for spoiled text.

    OMP_NUM_THREADS=1 python benchmarks/scene_linear.py [--kind zalgo]

A kB is 1000 bytes of UTF-8. Rows are kinds of text, without the encoder and with it (which reads the first 256 words, so
a long text costs it no more); stress, metre and rhyme are read as well. Every figure is the least of several rounds, in
CPU time of this process, Python's collector off as in `timeit`: its full collections begin at some 50 kB and take up to
0.7 of a round, and no more at 1 MB. Work that is linear keeps its time per kB, work that grows with the square takes
ten times as much: asked is at most twice as much at 100 kB as at 10 kB, and in the texts named by their number of lines
and words as at 100 kB; what no longer fits the cache takes up to 1.4. Exits with 1 where one is above it.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
import unicodedata
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

ROOT = Path(__file__).parents[1]
SIZES = (1_000, 10_000, 100_000)
SHORTEST_ROUNDS, LONGEST_ROUNDS = 3, 30
ENOUGH = 0.3
"""CPU seconds of rounds for one figure, within the numbers of rounds above."""
MOST_RATIO = 2.0
MARKS = [mark for mark in map(chr, (*range(0x300, 0x36F), *range(0x483, 0x488))) if unicodedata.combining(mark)]
"""What zalgo is made of, of several combining classes: putting them in their canonical order is work."""
LINES, WORDS = 10_000, 100_000
POEM = "Ночь легла на тёмный сад,\nзвёзды в озере дрожат,\nтихо листья шелестят\nи огни вдали горят.\n\n"
Make = Callable[[int], str]


def prose(code: str) -> list[str]:
    """Inputs of the registers in one language, each once."""
    found: set[str] = set()
    for path in sorted((ROOT / "registers").glob("*/examples.jsonl")):
        rows = map(json.loads, path.read_text("utf-8").splitlines())
        found |= {row["text"] for row in rows if row["language"] == code}
    return sorted(found)


def filled(parts: list[str], size: int, between: str = " ") -> str:
    """The parts again and again, up to ``size`` bytes."""
    text, held = [], 0
    for part in cycle(parts):
        text.append(part)
        held += len((part + between).encode())
        if held >= size:
            return between.join(text).encode()[:size].decode(errors="ignore")
    return ""


def zalgo(text: str, *, depth: int) -> str:
    """Every letter under ``depth`` combining marks, no two letters under the same."""
    marks = cycle(MARKS)
    return "".join(c + "".join(next(marks) for _ in range(depth)) if c.isalpha() else c for c in text)


def marked(text: str) -> str:
    """A soft hyphen after each third letter of a word and a stress mark on its first vowel."""
    words = []
    for word in text.split(" "):
        vowel = next((i for i, c in enumerate(word) if c.lower() in "аеиоуыэюяaeiouy"), None)
        letters = [c + ("\u0301" if i == vowel else "") + ("\u00ad" if i % 3 == 2 else "") for i, c in enumerate(word)]
        words.append("".join(letters))
    return " ".join(words)


def kinds() -> dict[str, Make]:
    """What is measured, by name: a number of bytes to a text of about as many."""
    russian, english = prose("ru"), prose("en")
    both = [text for pair in zip(russian, english, strict=False) for text in pair]
    under = "".join(sorted(MARKS, key=unicodedata.combining, reverse=True))
    return {
        "Russian prose": lambda size: filled(russian, size),
        "English prose": lambda size: filled(english, size),
        "verse": lambda size: filled([POEM.strip()], size, "\n\n"),
        "verse, one stanza": lambda size: filled(POEM.strip().split("\n"), size, "\n"),
        "one word repeated": lambda size: filled(["шаг"], size),
        "one word denied": lambda size: filled(["не шаг"], size),
        "no letters": lambda size: filled(["123", "—", "🙂", "...", "4,5", "?!"], size),
        "zalgo": lambda size: filled([zalgo(text, depth=8) for text in both[:50]], size),
        "one letter under marks": lambda size: filled(["а" + under * (size // len(under.encode()) + 1)], size),
        "right to left": lambda size: filled(["שלום עולם,", "مرحبا بالعالم.", "\u202eобратно\u202c"], size),
        "soft hyphens and stress": lambda size: filled([marked(text) for text in both], size),
        "one long word": lambda size: filled(["щ" * size], size),
        "hyphens in one word": lambda size: filled(["а-" * size], size),
        "languages in turn": lambda size: filled(["шаг", "step", "שלום"], size),
        "punctuation alone": lambda size: filled(["?!.,;:—\n"], size, ""),
    }


def named() -> dict[str, tuple[str, str]]:
    """The texts that are asked for by number, and the kind each is of."""
    lines = (POEM.strip().split("\n") * LINES)[:LINES]
    return {
        f"verse of {LINES:,} lines": ("verse, one stanza", "\n".join(lines)),
        f"one word {WORDS:,} times": ("one word repeated", " ".join(["шаг"] * WORDS)),
    }


def reader(encoder: Any) -> Callable[[str], Any]:
    """Text to scene, everything opened."""
    from scenepipe.analysis.reading import read_text
    from scenepipe.context import Context, Resources
    from scenepipe.modules.rule_scene import RuleScene
    from scenepipe.scene import new_scene

    resources, stage = Resources(encoder=encoder), RuleScene(stress="dictionary")
    stage.open(resources)
    context = Context(resources, run="benchmark", pipeline="benchmark", emit=lambda event: None)
    return lambda text: stage.run_batch([new_scene(text).with_(**read_text(text)._asdict())], context)


def per_kb(read: Callable[[str], Any], text: str) -> float:
    """Least CPU milliseconds per kB over several rounds, after one that fills the caches of words."""
    read(text)
    rounds: list[float] = []
    gc.collect()
    gc.disable()
    try:
        while len(rounds) < SHORTEST_ROUNDS or (sum(rounds) < ENOUGH and len(rounds) < LONGEST_ROUNDS):
            start = time.process_time()
            read(text)
            rounds.append(time.process_time() - start)
    finally:
        gc.enable()
    return 1000.0 * min(rounds) / (len(text.encode()) / 1000.0)


def report(read: Callable[[str], Any], only: str | None) -> list[str]:
    """Print a table; the names of what is above the ratio."""
    print(f"{'':26}{'1 kB':>8}{'10 kB':>8}{'100 kB':>8}{'10/1':>8}{'100/10':>8}")
    above, last = [], {}
    for name, make in kinds().items():
        if only not in (None, name):
            continue
        one, ten, hundred = (per_kb(read, make(size)) for size in SIZES)
        last[name] = hundred
        ratio = hundred / ten
        above += [name] if ratio > MOST_RATIO else []
        print(f"{name:26}{one:8.2f}{ten:8.2f}{hundred:8.2f}{ten / one:8.2f}{ratio:8.2f}", flush=True)
    for name, (kind, text) in named().items():
        if kind not in last:
            continue
        whole = per_kb(read, text)
        ratio = whole / last[kind]
        above += [name] if ratio > MOST_RATIO else []
        print(f"{name:26}{len(text.encode()) / 1000:14,.0f} kB:{whole:6.2f} a kB, {ratio:.2f} of 100 kB", flush=True)
    return above


def main() -> None:
    """Both tables."""
    from scenepipe.encoders.usem3 import Usem3Encoder

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=sorted(kinds()), help="this one alone")
    only = parser.parse_args().kind
    above = []
    for title, encoder in (("without the encoder, ms per kB", None), ("with the encoder, ms per kB", Usem3Encoder())):
        print(title)
        above += report(reader(encoder), only)
        print()
    if above:
        sys.exit(f"more than linear: {', '.join(above)}")
    print(f"every ratio is at most {MOST_RATIO}")


if __name__ == "__main__":
    main()
