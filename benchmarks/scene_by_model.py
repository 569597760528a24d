"""Scenes read by ``llm-scene`` and by ``rule-scene`` from the same texts, so that both are scored alike.

Printed, each with n and a 95 % bootstrap interval: Pearson r of valence, arousal and dominance with EmoBank's readers
(Buechel & Hahn, 2017; measured on, never learnt from), and associations found among the first ten, for texts whose
acceptable associations were written down before. Where the model gave no scene, ``llm-scene`` falls back to the rules;
"its own" counts the other texts alone, for both.

    python benchmarks/scene_by_model.py [--emobank emobank_dev.csv] [--rows 100] [--vocabulary lexicon] [--adapter FOLDER]
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scenepipe.analysis.lexicon import shipped_lexicon
from scenepipe.scene import Scene, fold

ROOT = Path(__file__).parents[1]
FIRST = 10
PARALLEL = 4
DRAWS = 2000
AFFECT = {"valence": "V", "arousal": "A", "dominance": "D"}


@dataclass(frozen=True)
class Readings:
    """The same texts read twice, in order; ``own`` says where the model's answer was taken."""

    by_model: list[Scene]
    by_rules: list[Scene]
    own: list[bool]
    seconds: float


def readings(texts: Sequence[str], *, adapter: Path | None = None, **options: Any) -> Readings:
    """Both readings of some texts by the default model.

    Args:
        adapter: folder of a register of kind ``scene`` that answers.
        options: of the stage ``llm-scene``.

    Raises:
        ScenepipeError: a text failed, or the model is not on this disk.
    """
    from scenepipe.backends.llama_cpp import LlamaCpp
    from scenepipe.modules.llm_scene import FALLBACK, LlmScene
    from scenepipe.modules.rule_scene import RuleScene
    from scenepipe.register import load_register

    registers = {adapter.name: load_register(adapter)} if adapter else {}
    stage = LlmScene(adapter=adapter.name if adapter else None, **options)
    backend = LlamaCpp(parallel=PARALLEL)
    started = time.perf_counter()
    by_model = _through(texts, stage, backend=backend, registers=registers)
    seconds = time.perf_counter() - started
    by_rules = _through(texts, RuleScene(associations=stage.associations))
    own = [scene.analysis is not None and FALLBACK not in scene.analysis.analysers for scene in by_model]
    return Readings(by_model, by_rules, own, seconds)


def _through(texts: Sequence[str], builder: Any, **parts: Any) -> list[Scene]:
    from scenepipe.encoders.usem3 import Usem3Encoder
    from scenepipe.models.fetch import local
    from scenepipe.modules.sentencepiece import SentencePieceTokenizer
    from scenepipe.pipeline import Pipeline

    model = local("gemma-3-270m")
    if model is None:
        sys.exit("the default model is not on this disk: scenepipe model pull gemma-3-270m")
    stages = [("sentencepiece", SentencePieceTokenizer()), ("builder", builder)]
    with Pipeline(stages, encoder=Usem3Encoder(), model=lambda: model, **parts) as pipe:
        scenes = list(pipe.map(texts, concurrency=PARALLEL))
    if failed := [scene for scene in scenes if not isinstance(scene, Scene)]:
        sys.exit(f"{len(failed)} texts failed, the first: {failed[0].message}")
    return [scene for scene in scenes if isinstance(scene, Scene)]


def affect(scenes: Sequence[Scene], name: str) -> list[float]:
    """One reading of each scene, 0 where it is unknown."""
    return [getattr(scene.emotion, name).value or 0.0 for scene in scenes]


def found(scene: Scene, acceptable: Sequence[str]) -> float:
    """1 where an acceptable association is among the scene's first ten, else 0."""
    drawn = {fold(symbol.lemma) for symbol in scene.hyperscene or () if symbol.origin != "text"}
    return float(bool(drawn & set(map(fold, acceptable))))


def recall(scene: Scene, acceptable: Sequence[str]) -> float:
    """Share of the acceptable associations among the first ten, of those that ten places and the lexicon allow."""
    lexicon, code = shipped_lexicon(), "ru" if scene.language and scene.language.code == "ru" else "en"
    drawn = {fold(symbol.lemma) for symbol in scene.hyperscene or () if symbol.origin != "text"}
    wanted = {word for word in map(fold, acceptable) if lexicon.find(code, word) is not None}
    return len(drawn & wanted) / max(1, min(FIRST, len(wanted)))


def interval(rows: Sequence[Any], score: Callable[[Sequence[Any]], float], seed: int = 7) -> tuple[float, float, float]:
    """A score with its 95 % percentile bootstrap interval (Efron, 1979)."""
    draw = random.Random(seed)
    scores = [score([rows[draw.randrange(len(rows))] for _ in rows]) for _ in range(DRAWS)]
    low, high = np.nanpercentile(scores, [2.5, 97.5])
    return score(rows), float(low), float(high)


def pearson(pairs: Sequence[tuple[float, float]]) -> float:
    """Pearson r of pairs; nan where one side is constant."""
    table = np.asarray(pairs, dtype=np.float64)
    if len(table) < 3 or (table.std(axis=0) == 0).any():
        return float("nan")
    return float(np.asarray(np.corrcoef(table.T))[0, 1])


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _line(what: str, who: str, rows: Sequence[Any], score: Callable[[Sequence[Any]], float]) -> None:
    if len(rows) < 3:
        print(f"{what:<34} {who:<22} n {len(rows):3}   too few")
        return
    value, low, high = interval(rows, score)
    print(f"{what:<34} {who:<22} n {len(rows):3}   {value:6.3f}  [{low:.3f}, {high:.3f}]")


def _compared(what: str, told: Readings, row: Callable[[Scene, int], Any], score: Callable[..., float]) -> None:
    """Both readings of all texts, then of those alone where the model's answer was taken."""
    for who, scenes in (("rules", told.by_rules), ("model, with fallback", told.by_model)):
        _line(what, who, [row(scene, n) for n, scene in enumerate(scenes)], score)
    for who, scenes in (("rules, its own", told.by_rules), ("model, its own", told.by_model)):
        _line(what, who, [row(scene, n) for n, scene in enumerate(scenes) if told.own[n]], score)


def _head(what: str, told: Readings) -> None:
    texts = len(told.own)
    print(f"{what}: {texts} texts, the model's answer taken for {sum(told.own)}, {told.seconds / texts:.1f} s a text")


def emobank(path: Path, rows: int, options: dict[str, Any]) -> None:
    """Print the correlations of a seeded sample."""
    with path.open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    random.Random(1).shuffle(table)
    table = table[:rows]
    told = readings([row["text"] for row in table], **options)
    _head("EmoBank", told)
    for name, column in AFFECT.items():
        gold = [float(row[column]) for row in table]
        _compared(
            f"{name}, Pearson r",
            told,
            lambda scene, n, name=name, gold=gold: (gold[n], affect([scene], name)[0]),  # type: ignore[misc]
            pearson,
        )


def associations(rows: int, options: dict[str, Any]) -> None:
    """Print what is found of the associations that were written down."""
    lines = (ROOT / "benchmarks/data/association.jsonl").read_text("utf-8").splitlines()
    table = [json.loads(line) for line in lines]
    random.Random(1).shuffle(table)
    table = table[:rows]
    told = readings([row["text"] for row in table], **options)
    _head("associations", told)
    wanted = [row["associations"] for row in table]
    _compared("one or more in the first ten", told, lambda scene, n: found(scene, wanted[n]), _mean)
    _compared("recall in the first ten", told, lambda scene, n: recall(scene, wanted[n]), _mean)


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emobank", type=Path, help="CSV with the columns text, V, A, D")
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--vocabulary", choices=["open", "lexicon"], default="lexicon")
    parser.add_argument("--adapter", type=Path)
    given = parser.parse_args()
    options = {"vocabulary": given.vocabulary, "adapter": given.adapter, "associations": FIRST}
    associations(given.rows, options)
    if given.emobank is not None:
        emobank(given.emobank, given.rows, options)


if __name__ == "__main__":
    main()
