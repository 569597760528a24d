"""Are paraphrases recalled, and are opposites kept apart? With the shipped analysis, in the archive ``sqlite``.

Of two sets with 200 texts each. ``data/retold.jsonl``: the same thing said again a week later, in one's own words.
``data/paraphrase.jsonl``: said so that hardly a word is shared. The texts of a set are remembered among 2,000 others: their
opposites, and inputs of the registers and of the other benchmarks. Then each paraphrase is asked for as the stage ``recall``
asks. Asked: found in the first five at least 0.9. The share of exact search by the encoder's vector alone stands beside it.

Merged would be an opposite that is found for the same: as the same words, text or linkage. Of each text with its
opposite and of each pair of ``data/polarity.jsonl`` (by negation, and by order: who did what to whom), both ways. Asked:
none by negation.

    python benchmarks/archive_recall.py
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _archive_scenes import ROOT, analysed, met, query, vector_of

from scenepipe.contracts import Hit
from scenepipe.memory.sqlite import SqliteArchive
from scenepipe.recall import sameness
from scenepipe.scene import Scene

OTHERS, FIRST = 2_000, 5
ASKED = 0.9


def rows(name: str) -> list[dict[str, str]]:
    text = (ROOT / "benchmarks" / "data" / f"{name}.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


async def recall(stored: Sequence[Scene], asked: Sequence[Scene], folder: Path) -> list[tuple[Hit, ...]]:
    """What an archive of the stored scenes answers to each of the asked."""
    archive = SqliteArchive(path=str(folder / "a.db"))  # missing folders are made
    await archive.open()
    await archive.append(stored, [met(scene, number) for number, scene in enumerate(stored)])
    found = [tuple(await archive.find(query(scene))) for scene in asked]
    await archive.aclose()
    return found


def place(hits: Sequence[Hit], text: str) -> int:
    """Rank of a text, from 1; 0 when it is not among the hits."""
    return next((rank for rank, hit in enumerate(hits, start=1) if hit.scene.text == text), 0)


def by_vector(stored: Sequence[Scene], asked: Scene, text: str) -> bool:
    """Whether exact search by the vector alone has the text in the first five."""
    kept = np.stack([np.frombuffer(vector_of(scene).data, np.int8) for scene in stored]).astype(np.float32)
    kept /= np.linalg.norm(kept, axis=1, keepdims=True)
    near = np.argsort(-(kept @ np.frombuffer(vector_of(asked).data, np.int8)))[:FIRST]
    return text in {stored[number].text for number in near}


def paraphrases(name: str, scenes: dict[str, Scene], folder: Path) -> None:
    pairs = rows(name)
    texts, asked = [pair["text"] for pair in pairs], [scenes[pair["paraphrase"]] for pair in pairs]
    mine = {*texts, *(scene.text for scene in asked)}
    opposites = [pair["opposite"] for pair in pairs]
    others = [text for text in [*opposites, *(t for t in scenes if t not in {*opposites})] if text not in mine][:OTHERS]
    stored = [scenes[text] for text in [*texts, *others]]
    hits = asyncio.run(recall(stored, asked, folder))
    print(f"{name}: {len(pairs)} texts among {len(others)} others")
    for language in ("ru", "en"):
        numbers = [n for n, pair in enumerate(pairs) if pair["language"] == language]
        found = sum(0 < place(hits[n], texts[n]) <= FIRST for n in numbers)
        first = sum(place(hits[n], texts[n]) == 1 for n in numbers)
        alone = sum(by_vector(stored, asked[n], texts[n]) for n in numbers)
        size = len(numbers)
        print(
            f"  {language}: in the first {FIRST} {found / size:.3f}   first {first / size:.3f}   vector alone, in the "
            f"first {FIRST} {alone / size:.3f}"
        )
    found = sum(0 < place(hit, text) <= FIRST for hit, text in zip(hits, texts, strict=True))
    print(f"  all: in the first {FIRST} {found / len(pairs):.3f}   (asked: {ASKED})")


def opposites(scenes: dict[str, Scene], folder: Path) -> None:
    pairs = [("negation", pair["text"], pair["opposite"]) for name in ("retold", "paraphrase") for pair in rows(name)]
    pairs += [(pair["kind"], pair["a"], pair["b"]) for pair in rows("polarity")]
    stored = {scenes[text].id: scenes[text] for _, *both in pairs for text in both}
    for kind in sorted({kind for kind, *_ in pairs}):
        mine = [(scenes[one], scenes[other]) for each, *two in pairs if each == kind for one, other in (two, two[::-1])]
        hits = asyncio.run(recall(list(stored.values()), [one for one, _ in mine], folder / kind))
        merged = [one.text for one, other in mine if sameness(query(one), other) is not None]
        found = [
            next((h for h in each if h.scene.id == other.id), None) for each, (_, other) in zip(hits, mine, strict=True)
        ]
        named = sum(hit is not None and any("opposite polarity" in reason for reason in hit.reasons) for hit in found)
        print(
            f"{len(mine)} opposites by {kind}: {len(merged)} merged   {named / len(mine):.3f} found and said to be opposite"
        )
        for text in merged if kind == "negation" else ():
            print(f"    merged: {text}")


def main() -> None:
    """Print every figure."""
    scenes = {scene.text: scene for scene in analysed()}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("retold", "paraphrase"):
            paraphrases(name, scenes, Path(folder) / name)
        opposites(scenes, Path(folder))


if __name__ == "__main__":
    main()
