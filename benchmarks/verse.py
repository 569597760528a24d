"""Russian stress, metre and rhyme schemes of verse against RIFMA (Koziev, MIT; arXiv 2502.20931), with baselines.

    python benchmarks/verse.py [rifma.json] [--poems 300]

The file is a list of ``{poem_text, accentuation_markup, rhyme_scheme}``. Every poem is read as a user would type it:
without the marks U+0300 and U+0301, with ё where the poem has it. Gold stress is aligned character by character,
because the markup without its marks is the text itself. Stress counts words of two or more syllables that the markup
stresses; "alone" is the dictionary's own reading, "in verse" what `Rhythm.stress` says, where unknown counts as
wrong. Schemes are counted on poems of four lines; the thresholds of `scenepipe.analysis.rhyme` were tuned on one half
of the development file, chosen by hash, so both halves stand apart. RIFMA has no metres: the gold metre is the same
Bayes rule on gold stresses, so its figure says only how much unmarked stress costs.

Intervals are 95 % bootstrap intervals over poems.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scenepipe.analysis.marks import find_marks
from scenepipe.analysis.metre import scan, slot
from scenepipe.analysis.rhythm import read_rhythm, syllables
from scenepipe.analysis.stress import RUSSIAN_VOWELS, STRESS_MARK, Stress, Stresser, open_stresser
from scenepipe.analysis.words import Word, split_words
from scenepipe.scene import Rhythm

GRAVE = "\u0300"
ROUNDS = 1000
Pairs = list[tuple[int, int]]
"""Right and counted, poem by poem."""


class Poem(NamedTuple):
    """A poem without marks, its words, the stressed syllables of each, its scheme, and the half it fell into."""

    text: str
    words: list[Word]
    stressed: list[tuple[int, ...]]
    scheme: str
    tuned_on: bool

    @property
    def lines(self) -> int:
        return sum(1 for line in self.text.splitlines() if line.strip())


def load(path: Path, poems: int | None = None) -> list[Poem]:
    """The poems, or so many of them in the order of their hashes."""
    rows = json.loads(path.read_text("utf-8"))
    rows.sort(key=lambda row: hashlib.sha256(row["poem_text"].encode()).digest())
    return [_poem(row) for row in rows[:poems]]


def _poem(row: dict[str, str]) -> Poem:
    letters: list[str] = []
    marked: set[int] = set()
    for letter in row["accentuation_markup"]:
        if letter == STRESS_MARK:
            marked.add(len(letters) - 1)
        elif letter != GRAVE:
            letters.append(letter)
    text = "".join(letters)
    if text != row["poem_text"].replace(GRAVE, "").replace(STRESS_MARK, ""):
        raise ValueError(f"markup and text differ: {row['poem_text'][:60]!r}")
    words = split_words(text)
    tuned_on = hashlib.sha256(b"tune" + row["poem_text"].encode()).digest()[0] % 2 == 0
    return Poem(text, words, [_gold(text, word, marked) for word in words], row["rhyme_scheme"], tuned_on)


def _gold(text: str, word: Word, marked: set[int]) -> tuple[int, ...]:
    vowels = [i for i in range(word.start, word.end) if text[i].lower() in RUSSIAN_VOWELS]
    return tuple(n for n, i in enumerate(vowels) if i in marked)


def counted(poem: Poem) -> list[int]:
    """Numbers of the words whose stress is scored."""
    return [i for i, gold in enumerate(poem.stressed) if gold and syllables(poem.words[i]) > 1]


def stress_of(poem: Poem, said: Sequence[int | None]) -> tuple[int, int]:
    rows = counted(poem)
    return sum(said[i] in poem.stressed[i] for i in rows), len(rows)


def majority(poems: Sequence[Poem]) -> Callable[[Poem], list[int | None]]:
    """The commonest place for a word of so many syllables, counted on these very poems."""
    seen: dict[int, Counter[int]] = {}
    for poem in poems:
        for i in counted(poem):
            seen.setdefault(syllables(poem.words[i]), Counter()).update(poem.stressed[i])
    best = {size: places.most_common(1)[0][0] for size, places in seen.items()}
    return lambda poem: [best.get(syllables(word)) for word in poem.words]


def from_pattern(poem: Poem, rhythm: Rhythm) -> list[int | None]:
    """Stressed syllable of each word as `Rhythm.stress` writes it."""
    pattern, place = (rhythm.stress.value or "").replace("|", ""), 0
    said: list[int | None] = []
    for word in poem.words:
        marks = pattern[place : place + syllables(word)]
        said.append(marks.index("+") if "+" in marks else None)
        place += len(marks)
    return said


def gold_metre(poem: Poem) -> str | None:
    """The metre that the gold stresses make likeliest."""
    lines: dict[int, list[int]] = {}
    for i, word in enumerate(poem.words):
        lines.setdefault(poem.text.count("\n", 0, word.start), []).append(i)
    slots = [[slot(_marked(poem, i), syllables(poem.words[i])) for i in line] for line in lines.values()]
    return scan(slots).metre


def _marked(poem: Poem, i: int) -> Stress:
    gold = poem.stressed[i]
    return Stress(gold[-1], 1.0) if gold else Stress()


def interval(pairs: Pairs) -> tuple[float, float]:
    """95 % interval of the share, poems drawn with replacement."""
    right, whole = (np.asarray(column, dtype=np.float64) for column in zip(*pairs, strict=True))
    draw = np.random.default_rng(0).integers(0, len(pairs), (ROUNDS, len(pairs)))
    shares = right[draw].sum(axis=1) / np.maximum(whole[draw].sum(axis=1), 1.0)
    low, high = np.quantile(shares, (0.025, 0.975))
    return float(low), float(high)


def show(name: str, pairs: Iterable[tuple[int, int]], note: str = "") -> float:
    """One line of the table; the share."""
    rows = list(pairs)
    right, whole = sum(r for r, _ in rows), sum(n for _, n in rows)
    if not whole:
        print(f"  {name:<44} -  n=0")
        return 0.0
    low, high = interval(rows)
    print(f"  {name:<44} {right / whole:.4f}  [{low:.4f}, {high:.4f}]  n={whole}  {note}")
    return right / whole


def show_baselines(poems: Sequence[Poem]) -> None:
    unmarked = sum(not p.stressed[i] for p in poems for i, w in enumerate(p.words) if syllables(w) > 1)
    print(f"stress, words of two or more syllables (left out, for the markup does not stress them: {unmarked})")
    show("first syllable", [stress_of(poem, [0] * len(poem.words)) for poem in poems])
    place = majority(poems)
    show("majority place by length", [stress_of(poem, place(poem)) for poem in poems])
    print("rhyme scheme, poems of four lines")
    common = Counter(poem.scheme for poem in poems if poem.lines == 4).most_common(1)[0][0]
    show(f"always {common}", [(poem.scheme == common, 1) for poem in poems if poem.lines == 4])


def show_stresser(poems: Sequence[Poem], kind: str, stresser: Stresser) -> None:
    stresser.stress("слово", split_words("слово"))  # what is loaded once is not timed
    began = time.perf_counter()
    alone = [[stress.syllable for stress in stresser.stress(poem.text, poem.words)] for poem in poems]
    seconds = time.perf_counter() - began
    rhythms = [read_rhythm(poem.text, poem.words, find_marks(poem.text), stresser) for poem in poems]
    rate = f"{sum(len(poem.words) for poem in poems) / seconds:.0f} words/s"
    print(f"{kind}: {stresser.name}")
    show("stress alone", [stress_of(poem, said) for poem, said in zip(poems, alone, strict=True)], rate)
    read = list(zip(poems, rhythms, strict=True))
    show("stress in verse", [stress_of(poem, from_pattern(poem, rhythm)) for poem, rhythm in read])
    metres = [(gold_metre(poem), rhythm.metre.value) for poem, rhythm in read]
    show("metre as from gold stresses", [(gold == said, 1) for gold, said in metres if gold is not None])
    for half, name in ((True, "tuned on"), (False, "other half")):
        four = [
            (poem.scheme == rhythm.rhyme.value, 1) for poem, rhythm in read if poem.lines == 4 and poem.tuned_on == half
        ]
        show(f"rhyme scheme of four lines, {name}", four)
    show("rhyme scheme of four lines", [(p.scheme == r.rhyme.value, 1) for p, r in read if p.lines == 4])
    show("rhyme scheme of other lengths", [(p.scheme == r.rhyme.value, 1) for p, r in read if p.lines != 4])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rifma", type=Path, nargs="?", help="without it nothing is measured")
    parser.add_argument("--poems", type=int, default=None, help="read only so many")
    given = parser.parse_args()
    if given.rifma is None:
        print("not measured: no data given")
        return
    poems = load(given.rifma, given.poems)
    print(f"{len(poems)} poems")
    show_baselines(poems)
    for kind in ("dictionary",):
        stresser = open_stresser(kind)
        assert stresser is not None
        show_stresser(poems, kind, stresser)


if __name__ == "__main__":
    main()
