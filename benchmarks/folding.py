"""Folding and hypertokens: 10,000 odd texts and chains of 100,000 symbols back byte by byte; what they cost.

    python benchmarks/folding.py [--texts 10000] [--scenes 100000]

Seconds are of one core. The grammar's chains are drawn from 20,000 words by Zipf's law: a linkage of three and a text of
two to ten symbols per scene.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from itertools import accumulate

from scenepipe.folding.fold import SPLIT, Folded, fold, fold_chain, unfold, unfold_chain
from scenepipe.folding.grammar import Grammar

ODD = (
    "🙂",
    "👩‍👩‍👧‍👦",
    "\r\n",
    "\n",
    "\0",
    "и\u0306",
    "e\u0301\u0323",
    "\u00ad",
    "\ufeff",
    "\u202e",
    "\t",
    "\U0010fffd",
)
WORDS = ("шаг", "тишина", "дрожь", "вход", "не", "страшно", "step", "silence", "the", "door", ".", "?", "—", "«", "»")
VOCABULARY = 20_000


def texts(count: int, draw: random.Random) -> Iterator[str]:
    """Texts of words and odd pieces, most with a refrain."""
    for _ in range(count):
        refrain = " ".join(draw.choices(WORDS, k=draw.randint(2, 6)))
        parts = [draw.choice((refrain, draw.choice(WORDS), draw.choice(ODD))) for _ in range(draw.randint(1, 40))]
        yield draw.choice(("", " ")).join(parts)


def chains(draw: random.Random) -> dict[str, Sequence[str]]:
    """Chains of 100,000 symbols."""
    numbers = [str(n) for n in range(100_000)]
    words, weights = _zipf()
    return {
        "one symbol": ["а"] * 100_000,
        "words by Zipf's law": draw.choices(words, cum_weights=weights, k=100_000),
        "50,000 symbols twice": numbers[:50_000] * 2,
        "no symbol twice": numbers,
    }


def _zipf() -> tuple[list[str], list[float]]:
    return [f"слово{n}" for n in range(VOCABULARY)], list(accumulate(1 / rank for rank in range(1, VOCABULARY + 1)))


def fold_texts(count: int) -> None:
    """Fold, write, read and unfold every text; fail on the first byte that differs."""
    folding = unfolding = 0.0
    given = left = 0
    for text in texts(count, random.Random(6)):
        began = time.process_time()
        folded = fold(text)
        between = time.process_time()
        back = unfold(Folded.from_json(folded.to_json()))
        unfolding += time.process_time() - between
        folding += between - began
        if back.encode() != text.encode():
            raise SystemExit(f"NOT EQUAL: {text!r} came back as {back!r}")
        given += fold_length(text)
        left += folded.length
    print(
        f"{count} texts: all byte-equal (asked: all); fold {1e6 * folding / count:.0f} µs, to JSON and back "
        f"{1e6 * unfolding / count:.0f} µs a text; {left / given:.2f} of the words are left"
    )


def fold_length(text: str) -> int:
    """Words of a text, with what stands between them, before folding."""
    return len(SPLIT.findall(text))


def fold_chains() -> None:
    """The same for long chains."""
    for name, chain in chains(random.Random(1)).items():
        began = time.process_time()
        folded = fold_chain(chain)
        between = time.process_time()
        if unfold_chain(folded) != tuple(chain):
            raise SystemExit(f"NOT EQUAL: {name}")
        now = time.process_time()
        digest = hashlib.sha256("".join(chain).encode()).hexdigest()[:8]
        print(
            f"100,000 symbols, {name} ({digest}): equal; fold {between - began:.2f} s, unfold {now - between:.2f} s, "
            f"{folded.length} references in {len(folded.rules)} rules and a sequence"
        )


def grow(scenes: int) -> None:
    """What hypertokens cost as an archive grows: to read it all, and after each new scene."""
    draw, (words, weights) = random.Random(3), _zipf()

    def scene() -> list[list[str]]:
        return [draw.choices(words, cum_weights=weights, k=k) for k in (3, draw.randint(2, 10))]

    grammar = Grammar()
    rows = [(f"{n:036}", scene()) for n in range(scenes)]
    began = time.process_time()
    for name, found in rows:
        grammar.put(name, found)
    tokens = grammar.hypertokens()
    whole = time.process_time() - began
    fresh = []
    for n in range(50):
        found = scene()
        began = time.process_time()
        grammar.put(f"new {n}", found)
        grammar.hypertokens()
        fresh.append(time.process_time() - began)
    began = time.process_time()
    grammar.hypertokens()
    same = time.process_time() - began
    print(
        f"{scenes} scenes, {len(tokens)} hypertokens: read at first {whole:.2f} s; with each new scene "
        f"{1e3 * statistics.median(fresh):.2f} ms; with nothing new {1e6 * same:.0f} µs"
    )


def main() -> None:
    """Print every figure; end with an error where a byte differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--scenes", type=int, default=100_000)
    options = parser.parse_args()
    fold_texts(options.texts)
    fold_chains()
    for scenes in (options.scenes // 100, options.scenes // 10, options.scenes):
        grow(scenes)


if __name__ == "__main__":
    main()
