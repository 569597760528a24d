"""How good the SceneBuilder's readings are: each beside chance, a published baseline and the published neural figure.

    python benchmarks/scene_quality.py [--emobank emobank_dev.csv] [--rifma rifma_dev.json] [--skip-verse]

* affect: Pearson r with EmoBank's readers (Buechel & Hahn 2017; CC BY-SA, never trained on), beside VADER (Hutto & Gilbert
  2014) in the same process, with a paired bootstrap on valence
* associations: recall of acceptable associations in the first ten symbols, on 100 texts written down before tuning
* Δ-code: same code after a dropped word, punctuation, case and marks, translation; nearest neighbours against random pairs
* negation and order: share of 200 pairs whose linkage differs
* stress and rhyme: benchmarks/verse.py

Figures carry n and a 95 % bootstrap interval over texts.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scenepipe.analysis.builder import SceneBuilder, SceneReading, SceneText
from scenepipe.analysis.codebook import shipped_codebook
from scenepipe.analysis.lexicon import Lexicon, shipped_lexicon
from scenepipe.analysis.reading import read_text
from scenepipe.analysis.signed_bytes import cosines, encode_bytes
from scenepipe.analysis.vectors import LexiconVectors, load_vectors
from scenepipe.encoders.usem3 import Usem3Encoder

DATA = Path(__file__).parent / "data"
DRAWS = 1000
Values = np.ndarray[Any, np.dtype[np.float64]]


class Reader:
    """A builder with its parts, reading in batches of 64."""

    def __init__(self, associations: int = 10) -> None:
        self.encoder, self.lexicon = Usem3Encoder(), shipped_lexicon()
        self.vectors: LexiconVectors = load_vectors(self.encoder, self.lexicon)
        self.builder = SceneBuilder(
            self.lexicon,
            encoder=self.encoder,
            vectors=self.vectors,
            codebook=shipped_codebook(),
            associations=associations,
        )

    def read(self, texts: Sequence[str]) -> list[SceneReading]:
        items = [SceneText(text, *read_text(text)) for text in texts]
        return [r for start in range(0, len(items), 64) for r in self.builder.read(items[start : start + 64])]

    def codes(self, texts: Sequence[str]) -> Values:
        found = [reading.delta for reading in self.read(texts)]
        return np.array([delta.code if delta is not None else -1 for delta in found], dtype=np.float64)


def interval(values: Sequence[float] | Values, of: Callable[[Values], float] = lambda v: float(v.mean())) -> str:
    """``0.512 [0.480, 0.541] n=1000`` of a statistic of rows."""
    rows = np.asarray(values, dtype=np.float64)
    draw = np.random.default_rng(7)
    drawn = [of(rows[draw.integers(0, len(rows), len(rows))]) for _ in range(DRAWS)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{of(rows):.3f} [{low:.3f}, {high:.3f}] n={len(rows)}"


def pearson(rows: Values) -> float:
    """Correlation of two columns; 0 where one of them is constant."""
    if rows[:, 0].std() == 0 or rows[:, 1].std() == 0:
        return 0.0
    return float(np.corrcoef(rows[:, 0], rows[:, 1])[0, 1])


def affect(reader: Reader, path: Path) -> None:
    """Valence, arousal and dominance against EmoBank."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    gold = np.array([[float(row[name]) for name in "VAD"] for row in rows])
    texts = [row["text"] for row in rows]
    emotions = [reading.emotion for reading in reader.read(texts)]
    ours = np.array([[e.valence.value or 0.0, e.arousal.value or 0.0, e.dominance.value or 0.0] for e in emotions])
    neural = {"valence": 0.84, "arousal": 0.57, "dominance": 0.54}
    for i, name in enumerate(("valence", "arousal", "dominance")):
        print(f"{name:10s} ours {interval(np.stack([ours[:, i], gold[:, i]], axis=1), pearson)}; chance 0")
        print(
            f"           RoBERTa-large fine-tuned on EmoBank (Park et al. 2021): {neural[name]}, as recalled, not verified"
        )
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError:
        print("valence    VADER: pip install vaderSentiment to print it beside")
        return
    vader = np.array([SentimentIntensityAnalyzer().polarity_scores(text)["compound"] for text in texts])
    print(f"valence    VADER {interval(np.stack([vader, gold[:, 0]], axis=1), pearson)}")
    both = np.stack([ours[:, 0], vader, gold[:, 0]], axis=1)
    print(
        f"valence    ours less VADER, paired: {interval(both, lambda v: pearson(v[:, [0, 2]]) - pearson(v[:, [1, 2]]))}"
    )


def associations(reader: Reader) -> None:
    """Recall in the first ten of what a person wrote down, among what the lexicon can say at all."""
    rows = _rows("association.jsonl")
    readings = reader.read([row["text"] for row in rows])
    nearest = _nearest(reader, rows)
    sizes = [[len(words) for words in _written(row, reader.lexicon)] for row in rows]
    print("associations: {:.1f} written for a text, of which the lexicon knows {:.1f}".format(*np.mean(sizes, axis=0)))
    draw = random.Random(3)
    for name in ("ours", "nearest vector alone", "random symbols", "another writer's ten"):
        hits = []
        for i, (row, reading) in enumerate(zip(rows, readings, strict=True)):
            found = {
                "ours": [s.lemma for s in reading.hyperscene if s.origin != "text"],
                "nearest vector alone": nearest[i],
                "another writer's ten": row["second"],
                "random symbols": [e.word(row["language"]) for e in draw.sample(reader.lexicon.symbols, 10)],
            }[name][:10]
            hits.append(_recall(row, found, reader.lexicon))
        known = [h for h in hits if h is not None]
        print(
            f"associations, {name}: recall in ten {interval(known)}; any in {np.mean(np.array(known) > 0):.2f} of texts"
        )


def _recall(row: dict[str, Any], found: Sequence[str], lexicon: Lexicon) -> float | None:
    """Acceptable symbols among the first ten, over as many of them as ten places and the lexicon allow."""
    good = _written(row, lexicon)[1]
    return len(good & {word.replace("ё", "е") for word in found}) / min(10, len(good)) if good else None


def _written(row: dict[str, Any], lexicon: Lexicon) -> tuple[set[str], set[str]]:
    """What a person wrote down, and what of it the lexicon can say."""
    written = {word.replace("ё", "е") for word in row["associations"]}
    return written, written & {e.word(row["language"]).replace("ё", "е") for e in lexicon.symbols}


def _nearest(reader: Reader, rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    codes = [row["language"] for row in rows]
    centred = reader.vectors.centre(encode_bytes(reader.encoder, [row["text"] for row in rows]), codes)
    order = np.argsort(-cosines(centred, reader.vectors.symbols), axis=1, kind="stable")[:, :10]
    return [[reader.lexicon.symbols[j].word(code) for j in line] for line, code in zip(order, codes, strict=True)]


def delta(reader: Reader, texts: Sequence[str]) -> None:
    """Stability, neighbours and translation of codes, on public texts and on the pairs written for it."""
    inputs = [row["text"] for row in _rows("router.jsonl")]
    for name, group in (("public texts", texts), ("router inputs", inputs)):
        if not group:
            continue
        codes = reader.codes(group)
        for how, change in CHANGES.items():
            kept = [i for i, text in enumerate(group) if how != "one word dropped" or len(text.split()) >= 4]
            changed = reader.codes([change(group[i]) for i in kept])
            print(f"Δ {name}, {how}: same code {interval((codes[kept] == changed).astype(float))}")
        _neighbours(reader, name, group, codes)
    pairs = _rows("translation.jsonl")
    same = reader.codes([p["ru"] for p in pairs]) == reader.codes([p["en"] for p in pairs])
    print(f"Δ Russian sentence and English translation: same code {interval(same.astype(float))}")


def _neighbours(reader: Reader, name: str, texts: Sequence[str], codes: Values) -> None:
    drafts = reader.builder.draft([SceneText(text, *read_text(text)) for text in texts])
    book = shipped_codebook()
    assert book is not None
    from scenepipe.analysis.delta import features

    kept = [i for i, draft in enumerate(drafts) if draft.sense is not None]
    sense = np.stack([draft.sense for draft in drafts if draft.sense is not None])
    raw = np.stack([draft.vector for draft in drafts if draft.vector is not None])
    spaces = {
        "scene features": features(sense, [drafts[i].view for i in kept], book.projection),
        "the encoder's vectors": reader.vectors.centre(raw, [drafts[i].item.language.code for i in kept]),
    }
    own = codes[kept]
    _, counts = np.unique(own, return_counts=True)
    chance = float((counts * (counts - 1)).sum() / (len(own) * (len(own) - 1)))
    for space, rows in spaces.items():
        scores = cosines(rows, rows)
        np.fill_diagonal(scores, -np.inf)
        same = (own == own[scores.argmax(axis=1)]).astype(float)
        print(f"Δ {name}, nearest by {space}: same code {interval(same)}; random pairs {chance:.4f}: "
              f"{same.mean() / chance:.1f} times")  # fmt: skip


def _dropped(text: str) -> str:
    words = text.split(" ")
    place = random.Random(text).randrange(len(words))
    return " ".join(words[:place] + words[place + 1 :])


CHANGES: dict[str, Callable[[str], str]] = {
    "one word dropped": _dropped,
    "case, ё, quotes, stress marks": lambda t: t.upper().replace("Ё", "Е").replace("«", '"').replace("А", "А\u0301"),
    "punctuation": lambda t: re.sub(r"\s+[—–-]\s+", ", ", re.sub(r"[,;:.…]", "", t)),
}


def polarity(reader: Reader) -> None:
    """Pairs that differ by negation or by order alone."""
    rows = _rows("polarity.jsonl")
    left, right = (reader.read([row[side] for row in rows]) for side in ("a", "b"))
    for kind in ("negation", "order"):
        differ = [
            float(a.linkage != b.linkage) for row, a, b in zip(rows, left, right, strict=True) if row["kind"] == kind
        ]
        print(f"{kind}: linkage differs {interval(differ)}")


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--emobank", type=Path, default=None)
    parser.add_argument("--rifma", type=Path, default=None)
    parser.add_argument("--skip-verse", action="store_true", help="leave out stress and rhyme, which take minutes")
    given = parser.parse_args()
    reader, public = Reader(), list[str]()
    if given.emobank is not None:
        affect(reader, given.emobank)
        with given.emobank.open(encoding="utf-8", newline="") as file:
            public += [row["text"] for row in csv.DictReader(file)]
    else:
        print("affect: not measured: no data given")
    if given.rifma is not None:
        poems = json.loads(given.rifma.read_text(encoding="utf-8"))
        public += [re.sub("[\u0300\u0301]", "", poem["poem_text"]) for poem in poems]
    else:
        print("stress and rhyme: not measured: no data given")
    associations(reader)
    delta(reader, public)
    polarity(reader)
    if given.rifma is not None and not given.skip_verse:
        import verse

        from scenepipe.analysis.stress import open_stresser

        stresser = open_stresser("dictionary")
        assert stresser is not None
        loaded = verse.load(given.rifma, None)
        verse.show_baselines(loaded)
        verse.show_stresser(loaded, "dictionary", stresser)


if __name__ == "__main__":
    main()
