"""Does the router find the voice that fits? On inputs it has never seen, beside four simpler ways, with intervals.

The data are the 300 labelled inputs of ``data/router.jsonl``; every way is trained on the train rows of the shipped
registers and calibrated on their dev rows. ``--folds K`` asks the same of the train rows by cross-validation instead,
which is where settings are compared; ``--sizes`` asks how much more labelled inputs would bring. Asked: macro-F1 of at
least 0.70 and above every other way, Brier below every other.

    OMP_NUM_THREADS=1 python benchmarks/router.py

What the measures are is said in ``_router_measures.py``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _router_measures import Answer, macro_f1, spearman, tables

from scenepipe.analysis.signed_bytes import cosines
from scenepipe.encoders.usem3 import Usem3Encoder
from scenepipe.models.store import cache_dir
from scenepipe.register import Example, Fit, Register, examples, find_registers
from scenepipe.register import fits as fits_of
from scenepipe.routing.calibration import TEMPERATURES, best, brier, calibrate, shares
from scenepipe.routing.inputs import Inputs, read_inputs, read_scenes, scene_builder
from scenepipe.routing.router import Router, train_router
from scenepipe.routing.scorer import PRIOR, similarity, train

ROOT = Path(__file__).parents[1]
TEST = ROOT / "benchmarks" / "data" / "router.jsonl"
VOICES = ("body", "logician", "philosopher", "poet")
SEED = 20260301
RIDGES = (0.1, 0.3, 1.0, 3.0, 10.0)
BATCH = 64
SIZES = (30, 60, 120, 240, 480, 960, 1317)
REPEATS = 3
WIDE = (*TEMPERATURES, 0.5, 1.0)
Numbers = Any


@dataclass(frozen=True)
class Rows:
    """Inputs with labels: texts, languages, the same as scenes, fits [n, voices]."""

    texts: Sequence[str]
    languages: Numbers
    inputs: Inputs
    fits: Numbers

    def at(self, places: Numbers) -> Rows:
        part = Inputs(self.inputs.vectors[places], self.inputs.features[places], self.inputs.means, self.inputs.encoder)
        return Rows([self.texts[i] for i in places], self.languages[places], part, self.fits[places])


Way = Callable[[Rows, Rows, Rows], Answer]


def calibrated(predict: Callable[[Rows, Rows], Numbers]) -> Way:
    """A way that predicts fits, as sharp as is best for its own Brier score on dev rows."""

    def way(learn: Rows, dev: Rows, asked: Rows) -> Answer:
        known = predict(learn, dev)
        temperature = min(WIDE, key=lambda t: float(brier(shares(known, t), dev.fits).mean()))
        fits = predict(learn, asked)
        return Answer(fits, shares(fits, temperature), fits.argmax(axis=1))

    return way


def as_routed(learn: Rows, dev: Rows, asked: Rows) -> Answer:
    """The router's own scorers and calibration, on rows of any kind."""
    fits = scorers(learn, asked)
    temperature = calibrate(scorers(learn, dev), dev.fits).temperature
    return Answer(fits, shares(fits, temperature), fits.argmax(axis=1))


def majority(learn: Rows, dev: Rows, asked: Rows) -> Answer:
    """Always the voice that is best most often; weights are how often each is."""
    often = best(learn.fits).mean(axis=0)
    n = len(asked.texts)
    return Answer(np.tile(learn.fits.mean(axis=0), (n, 1)), np.tile(often, (n, 1)), np.full(n, often.argmax()))


def uniform(learn: Rows, dev: Rows, asked: Rows) -> Answer:
    """No preference: equal weights, and a voice drawn by lot."""
    shape = (len(asked.texts), len(VOICES))
    lot = np.random.default_rng(SEED).integers(len(VOICES), size=shape[0])
    return Answer(np.full(shape, learn.fits.mean()), np.full(shape, 1 / len(VOICES)), lot)


def nearest(learn: Rows, asked: Rows) -> Numbers:
    """The labels of the one train input whose vector is nearest."""
    return learn.fits[cosines(asked.inputs.vectors, learn.inputs.vectors).argmax(axis=1)]


def ngrams(learn: Rows, asked: Rows) -> Numbers:
    """Ridge regression on counts of character 2- to 4-grams (log, idf, unit length), its ridge by leave-one-out."""
    table = _gram_table(learn.texts)
    seen, new = _gram_rows(learn.texts, table), _gram_rows(asked.texts, table)
    usual = learn.fits.mean(axis=0)
    found = []
    for ridge in RIDGES:
        inverse = np.linalg.inv(seen @ seen.T + ridge * np.eye(len(seen)))
        coefficients = inverse @ (learn.fits - usual)
        found.append((((coefficients / np.diag(inverse)[:, None]) ** 2).sum(), ridge, coefficients))
    coefficients = min(found, key=lambda tried: tried[:2])[2]
    return np.clip(usual + new @ (seen.T @ coefficients), 0.0, 1.0)


def scorers(learn: Rows, asked: Rows) -> Numbers:
    """The router's own scorers, trained on these rows."""
    vectors = learn.inputs.vectors
    trained = train(similarity(vectors, vectors), learn.inputs.features, learn.fits)
    near = similarity(asked.inputs.vectors, vectors)
    raw = [PRIOR + s.level + near @ s.coefficients + asked.inputs.features @ s.slopes for s in trained]
    return np.clip(np.stack(raw, axis=1), 0.0, 1.0)


def vectors_alone(learn: Rows, asked: Rows) -> Numbers:
    """The same without scene features."""
    return scorers(*(_blind(rows, features=True) for rows in (learn, asked)))


def features_alone(learn: Rows, asked: Rows) -> Numbers:
    """The same without vectors."""
    return scorers(*(_blind(rows, features=False) for rows in (learn, asked)))


BASELINES: dict[str, Way] = {
    "majority": majority,
    "uniform": uniform,
    "nearest single example": calibrated(nearest),
    "character n-gram ridge": calibrated(ngrams),
}
ABLATIONS: dict[str, Way] = {
    "scorers, features alone": calibrated(features_alone),
    "scorers, vectors alone": calibrated(vectors_alone),
}
OURS = "router"


# --- data ------------------------------------------------------------------------------------------------------------


def shipped(registers: dict[str, Register], encoder: Usem3Encoder) -> tuple[Rows, Rows]:
    """Train and dev rows of the four registers, which share their inputs; those without replies are train rows."""
    rows: dict[str, list[Example | Fit]] = {
        name: [*examples(registers[name]), *fits_of(registers[name])] for name in VOICES
    }
    first = rows[VOICES[0]]
    assert all([row.text for row in part] == [row.text for row in first] for part in rows.values())
    inputs = read_inputs([row.text for row in first], encoder, cache_dir())
    fits = np.array([[row.fit for row in rows[name]] for name in VOICES]).T
    whole = Rows([row.text for row in first], np.array([row.language for row in first]), inputs, fits)
    split = np.array([row.split if isinstance(row, Example) else "train" for row in first])
    return whole.at(np.flatnonzero(split == "train")), whole.at(np.flatnonzero(split == "dev"))


def unseen(encoder: Usem3Encoder, known: Sequence[str]) -> Rows:
    """The labelled inputs of the test file; none of them is a train or dev input."""
    rows = [json.loads(line) for line in TEST.read_text("utf-8").splitlines()]
    texts = [row["text"] for row in rows]
    assert not set(texts) & set(known), "a test input is a training input"
    fits = np.array([[row["fit"][name] for name in VOICES] for row in rows])
    return Rows(texts, np.array([row["language"] for row in rows]), read_inputs(texts, encoder, cache_dir()), fits)


def _blind(rows: Rows, *, features: bool) -> Rows:
    inputs = rows.inputs
    vectors = inputs.vectors if features else np.zeros_like(inputs.vectors)
    table = np.zeros_like(inputs.features) if features else inputs.features
    return Rows(rows.texts, rows.languages, Inputs(vectors, table, inputs.means, inputs.encoder), rows.fits)


def _grams(text: str) -> Counter[str]:
    padded = f" {text.lower()} "
    return Counter(padded[i : i + n] for n in (2, 3, 4) for i in range(len(padded) - n + 1))


def _gram_table(texts: Sequence[str]) -> dict[str, tuple[int, float]]:
    """Column and inverse document frequency of every n-gram."""
    found = Counter(gram for text in texts for gram in _grams(text))
    return {gram: (i, float(np.log((1 + len(texts)) / (1 + n)))) for i, (gram, n) in enumerate(found.items())}


def _gram_rows(texts: Sequence[str], table: dict[str, tuple[int, float]]) -> Numbers:
    rows = np.zeros((len(texts), len(table)), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        for gram, count in _grams(text).items():
            if gram in table:
                column, weight = table[gram]
                row[column] = (1 + np.log(count)) * weight
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


# --- runs ------------------------------------------------------------------------------------------------------------


def by_folds(learn: Rows, dev: Rows, folds: int) -> None:
    """Every way on train rows that it has not seen."""
    order = np.random.default_rng(SEED).permutation(len(learn.texts)) % folds
    ways = {**BASELINES, **ABLATIONS, OURS: as_routed}
    shape = learn.fits.shape
    found = {name: Answer(np.zeros(shape), np.zeros(shape), np.zeros(shape[0], dtype=int)) for name in ways}
    for fold in range(folds):
        out = np.flatnonzero(order == fold)
        for name, way in ways.items():
            for whole, part in zip(
                found[name], way(learn.at(np.flatnonzero(order != fold)), dev, learn.at(out)), strict=True
            ):
                whole[out] = part
    tables(found, BASELINES, OURS, learn.languages, learn.fits)


def by_size(learn: Rows) -> None:
    """What more labelled inputs bring: the router's scorers from fewer of the train rows, asked of rows left out."""
    n, folds = len(learn.texts), 10
    print(f"\nby train inputs, {folds} folds of the train rows, {REPEATS} divisions: mean (least, most)")
    for size in SIZES:
        found = []
        for repeat in range(REPEATS):
            order = np.random.default_rng(SEED + repeat).permutation(n)
            guess = np.zeros_like(learn.fits)
            for fold in range(folds):
                out, rest = order[fold::folds], np.delete(order, np.arange(fold, n, folds))
                guess[out] = scorers(learn.at(rest[:size]), learn.at(out))
            found.append((macro_f1(guess.argmax(axis=1), learn.fits), spearman(guess, learn.fits)))
        f1, rank = zip(*found, strict=True)
        print(f"  {size:4}  macro-F1 {np.mean(f1):.3f} ({min(f1):.3f}, {max(f1):.3f})  Spearman {np.mean(rank):.3f}")


def on_test(learn: Rows, dev: Rows, encoder: Usem3Encoder, router: Router) -> None:
    """Every way on the unseen inputs; the router's weights are those of its mixtures."""
    asked = unseen(encoder, [*learn.texts, *dev.texts])
    ways = {**BASELINES, **ABLATIONS}
    found = {name: way(learn, dev, asked) for name, way in ways.items()}
    scenes = read_scenes(asked.texts, scene_builder(encoder))
    fits = router.fits(scenes)
    mixed = np.array([[m.weights.get(name, 0.0) for name in VOICES] for m in router.mixtures(scenes)])
    part = mixed.sum(axis=1, keepdims=True)
    weights = np.where(part > 0, mixed / np.maximum(part, 1e-9), 1 / len(VOICES))
    found[OURS] = Answer(fits, weights, fits.argmax(axis=1))
    tables(found, BASELINES, OURS, asked.languages, asked.fits)
    confusion(found[OURS], asked)
    room = asked.fits.max(axis=1)
    print(f"\nweight of all registers {part.mean():.3f}, best label {room.mean():.3f}, mean difference "
          f"{np.abs(part[:, 0] - room).mean():.3f} (of a constant {np.abs(room - room.mean()).mean():.3f})")  # fmt: skip
    print(
        f"best voice: labels {np.round(best(asked.fits).sum(axis=0), 1)}, chosen {np.bincount(fits.argmax(axis=1), minlength=4)}"
    )
    per_scene(router, scenes)


def confusion(answer: Answer, rows: Rows) -> None:
    print("\nbest label (down, the first of equals) by choice (across)")
    print(f"  {'':14}" + "".join(f"{name:>13}" for name in VOICES))
    for voice, name in enumerate(VOICES):
        own = answer.choice[rows.fits.argmax(axis=1) == voice]
        print(f"  {name:14}" + "".join(f"{(own == other).sum():13}" for other in range(len(VOICES))))


def per_scene(router: Router, scenes: Sequence[Any]) -> None:
    spent = []
    for _ in range(5):
        start = time.process_time()
        for i in range(0, len(scenes), BATCH):
            router.mixtures(scenes[i : i + BATCH])
        spent.append((time.process_time() - start) / len(scenes))
    print(f"\nmixture with reasons, batches of {BATCH}: {1000 * min(spent):.3f} ms CPU a scene (asked: under 0.3)")


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description="macro-F1 and Brier score of the router beside simpler ways")
    parser.add_argument("--folds", type=int, metavar="K", help="ask the train rows by cross-validation, not the test")
    parser.add_argument("--sizes", action="store_true", help="how macro-F1 grows with labelled inputs, not the test")
    given = parser.parse_args()
    encoder = Usem3Encoder()
    registers = find_registers(VOICES, [ROOT / "registers"])
    learn, dev = shipped(registers, encoder)
    start = time.process_time()
    router = train_router(registers, encoder, cache_dir())
    spent = time.process_time() - start
    print(f"trained on {len(learn.texts)} inputs x {len(VOICES)} registers, calibrated on {router.calibration.rows}: "
          f"{spent:.2f} s CPU, files read and checked; {router.calibration}")  # fmt: skip
    if given.sizes:
        by_size(learn)
    elif given.folds:
        by_folds(learn, dev, given.folds)
    else:
        on_test(learn, dev, encoder, router)


if __name__ == "__main__":
    main()
