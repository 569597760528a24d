"""What ``llm-scene`` reads, beside ``rule-scene`` on the same rows and by the measures of `scene_quality`.

    python benchmarks/scene_by_model.py [--emobank emobank_dev.csv] [--rows 48] [--texts 32] [--adapter FOLDER]

* counted: answers taken, those of them drawn again, texts for which the rules' reading stood
* associations: recall of acceptable associations in the first ten nouns, on texts written down before tuning
* affect: Pearson r with EmoBank's readers (Buechel & Hahn 2017; measured on, never learnt from)
* agreement: of the model's fields with the rules' on the same texts

A model is scored on the texts for which its answer was taken, the rules beside it on the same ones; what a pipeline gets,
the rules' reading where none was taken, is "with fallback". Figures carry n and a 95 % bootstrap interval over texts.
The base model's nouns are held to the lexicon, as in ``pipelines/llm-scene.yaml``; an adapter of kind ``scene`` says any.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scene_quality import DATA, Values, _recall, interval, pearson

from scenepipe.analysis.lexicon import shipped_lexicon
from scenepipe.backends.llama_cpp import LlamaCpp
from scenepipe.contracts import Chunk, Request
from scenepipe.encoders.usem3 import Usem3Encoder
from scenepipe.models.fetch import local
from scenepipe.modules.llm_scene import FALLBACK, LlmScene
from scenepipe.modules.rule_scene import RuleScene
from scenepipe.modules.sentencepiece import SentencePieceTokenizer
from scenepipe.pipeline import Pipeline
from scenepipe.register import load_register
from scenepipe.scene import Scene
from scenepipe.scene_prompt import quoted

AFFECT = {"valence": "V", "arousal": "A", "dominance": "D"}
FIRST = 10
"""Nouns of the association measure; affect is asked with the stage's default of 5, which is sooner answered."""
PARALLEL = 4
FEWEST = 3
Row = Callable[[int, Scene], list[float]]
Statistic = Callable[[Values], float]


@dataclass(frozen=True)
class Reader:
    """One reader's scenes of some texts, in their order; ``taken`` says where they are its own and not the fallback."""

    name: str
    scenes: list[Scene]
    taken: list[bool]


class Counted(LlamaCpp):
    """Counts the draws for each text."""

    def __init__(self) -> None:
        super().__init__(parallel=PARALLEL)
        self.draws: Counter[str] = Counter()

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        self.draws[(request.prompt or "").splitlines()[-2].partition(": ")[2]] += 1
        async for chunk in super().generate(request):
            yield chunk


def by_rules(texts: Sequence[str], associations: int) -> Reader:
    return Reader("rules", _through(texts, RuleScene(associations=associations)), [True] * len(texts))


def by_model(texts: Sequence[str], associations: int, adapter: Path | None) -> Reader:
    """Read by the default model, and print what it took."""
    name = adapter.name if adapter else None
    registers = {name: load_register(adapter)} if adapter and name else {}
    stage = LlmScene(adapter=name, associations=associations, vocabulary="open" if adapter else "lexicon")
    backend, began, cpu = Counted(), time.perf_counter(), time.process_time()
    scenes = _through(texts, stage, backend=backend, registers=registers)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    taken = [scene.analysis is not None and FALLBACK not in scene.analysis.analysers for scene in scenes]
    again = sum(ok and backend.draws[quoted(scene.text)] > 1 for scene, ok in zip(scenes, taken, strict=True))
    said = f"{sum(taken)} answers taken, {again} of them drawn again, {len(taken) - sum(taken)} fell back"
    print(f"{name or 'base'}: {len(texts)} texts, {said}; {seconds:.0f} s, {cpu:.0f} s of CPU")
    return Reader(name or "base", scenes, taken)


def _through(texts: Sequence[str], builder: Any, **parts: Any) -> list[Scene]:
    model = local("gemma-3-270m")
    if model is None:
        sys.exit("the default model is not on this disk: scenepipe model pull gemma-3-270m")
    stages = [("sentencepiece", SentencePieceTokenizer()), ("builder", builder)]
    with Pipeline(stages, encoder=Usem3Encoder(), model=lambda: model, **parts) as pipe:
        results = list(pipe.map(texts, concurrency=PARALLEL))
    scenes = [scene for scene in results if isinstance(scene, Scene)]
    if len(scenes) < len(results):
        sys.exit(next(f"a text failed: {result.message}" for result in results if not isinstance(result, Scene)))
    return scenes


# --- measures --------------------------------------------------------------------------------------------------------


def mean(rows: Values) -> float:
    return float(rows.mean())


def compare(what: str, rules: Reader, models: Sequence[Reader], row: Row, of: Statistic) -> None:
    """A statistic of each reader's rows; a model's beside the rules' on the texts that it took, with their difference."""
    print(f"{what}: rules {_figure(_rows(rules, range(len(rules.scenes)), row), of)}")
    for model in models:
        took = [i for i, taken in enumerate(model.taken) if taken]
        own, beside = _rows(model, took, row), _rows(rules, took, row)
        print(f"{what}: {model.name} {_figure(own, of)}; rules on these {_figure(beside, of)}")
        both = np.stack([own, beside], axis=1)
        print(f"{what}: {model.name} less rules, paired {_figure(both, lambda v: of(v[:, 0]) - of(v[:, 1]))}")
        print(f"{what}: {model.name} with fallback {_figure(_rows(model, range(len(model.scenes)), row), of)}")


def agree(rules: Reader, model: Reader) -> None:
    """How far the model's fields are from the rules' on the texts that it took."""
    pairs = [(m, r) for m, r, ok in zip(model.scenes, rules.scenes, model.taken, strict=True) if ok]
    for name in (*AFFECT, "tension"):
        rows = np.array([[_level(m, name), _level(r, name)] for m, r in pairs]).reshape(-1, 2)
        print(f"agreement, {name}, Pearson r: {model.name} {_figure(rows, pearson)}")
    for what, measure in (("weight of axes in common", in_common), ("heaviest axis the same", same_axis)):
        print(f"agreement, {what}: {model.name} {_figure(np.array([[measure(m, r)] for m, r in pairs]), mean)}")


def in_common(one: Scene, other: Scene) -> float:
    """Share of the axes' weight that two scenes have in common: 1 less half the L1 distance."""
    weights = [scene.field.weights if scene.field else {} for scene in (one, other)]
    axes = {axis for some in weights for axis in some}
    return 1.0 - sum(abs(weights[0].get(axis, 0.0) - weights[1].get(axis, 0.0)) for axis in axes) / 2.0


def same_axis(one: Scene, other: Scene) -> float:
    weights = [scene.field.weights if scene.field else {} for scene in (one, other)]
    heaviest = [max(some, key=some.__getitem__) for some in weights if some]
    return float(len(heaviest) == 2 and heaviest[0] == heaviest[1])


def _rows(reader: Reader, places: Sequence[int], row: Row) -> Values:
    return np.array([row(i, reader.scenes[i]) for i in places], dtype=np.float64)


def _figure(rows: Values, of: Statistic) -> str:
    return interval(rows, of) if len(rows) >= FEWEST else f"too few, n={len(rows)}"


def _level(scene: Scene, name: str) -> float:
    """A reading's value, 0 where it is unknown."""
    reading = scene.tension.level if name == "tension" and scene.tension else getattr(scene.emotion, name, None)
    return float(reading.value or 0.0) if reading is not None else 0.0


# --- what is read ----------------------------------------------------------------------------------------------------


def associations(count: int, adapters: Sequence[Path | None]) -> None:
    """Recall in the first ten, and agreement, in both languages."""
    lines = (DATA / "association.jsonl").read_text(encoding="utf-8").splitlines()
    lexicon, table = shipped_lexicon(), _some([json.loads(line) for line in lines], count)
    texts = [row["text"] for row in table]
    rules, models = by_rules(texts, FIRST), [by_model(texts, FIRST, adapter) for adapter in adapters]

    def recall(i: int, scene: Scene) -> list[float]:
        drawn = [symbol.lemma for symbol in scene.hyperscene or () if symbol.origin != "text"]
        return [_recall(table[i], drawn[:FIRST], lexicon) or 0.0]

    compare("associations, recall in ten", rules, models, recall, mean)
    for model in models:
        agree(rules, model)


def affect(path: Path, count: int, adapters: Sequence[Path | None]) -> None:
    """Correlation with what readers felt; English."""
    with path.open(encoding="utf-8", newline="") as file:
        table = _some(list(csv.DictReader(file)), count)
    texts = [row["text"] for row in table]
    rules, models = by_rules(texts, 5), [by_model(texts, 5, adapter) for adapter in adapters]
    for name, column in AFFECT.items():

        def pair(i: int, scene: Scene, name: str = name, column: str = column) -> list[float]:
            return [_level(scene, name), float(table[i][column])]

        compare(f"{name}, Pearson r", rules, models, pair, pearson)
    for model in models:
        agree(rules, model)


def _some(table: list[Any], count: int) -> list[Any]:
    """A seeded sample."""
    return random.Random(1).sample(table, min(count, len(table)))


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emobank", type=Path, help="CSV with the columns text, V, A, D; without it no affect")
    parser.add_argument("--rows", type=int, default=48, help="of EmoBank")
    parser.add_argument("--texts", type=int, default=32, help="of benchmarks/data/association.jsonl; 0 for none")
    parser.add_argument("--adapter", type=Path, help="folder of a register of kind scene, scored beside the base model")
    given = parser.parse_args()
    adapters = [None, given.adapter] if given.adapter else [None]
    if given.texts:
        associations(given.texts, adapters)
    if given.emobank is not None:
        affect(given.emobank, given.rows, adapters)


if __name__ == "__main__":
    main()
