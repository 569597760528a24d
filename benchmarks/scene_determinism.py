"""One hash of many scenes, for comparing machines, Python versions and NumPy versions; alone and in a batch.

    python benchmarks/scene_determinism.py     # prints the versions and the hash; run it in each environment

Everything of a scene enters but ``created`` and ``origin``, vectors included.
"""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path

import numpy as np

from scenepipe.analysis.reading import read_text
from scenepipe.contracts import Context, Resources
from scenepipe.encoders.usem3 import Usem3Encoder
from scenepipe.modules.rule_scene import RuleScene
from scenepipe.scene import Scene, new_scene

DATA = Path(__file__).parent / "data"


def texts() -> list[str]:
    """The inputs of the router's and the polarity set: 700 texts of both languages."""
    rows = [json.loads(line) for line in (DATA / "router.jsonl").read_text(encoding="utf-8").splitlines()]
    pairs = [json.loads(line) for line in (DATA / "polarity.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row["text"] for row in rows] + [text for pair in pairs for text in (pair["a"], pair["b"])]


def digest(scenes: list[Scene]) -> str:
    """SHA-256 over the scenes' JSON."""
    whole = hashlib.sha256()
    for scene in scenes:
        data = json.loads(scene.to_json(vectors=True))
        kept = {key: value for key, value in data.items() if key not in ("created", "origin")}
        whole.update(json.dumps(kept, sort_keys=True, ensure_ascii=False).encode())
    return whole.hexdigest()


def main() -> None:
    resources = Resources(encoder=Usem3Encoder())
    stage = RuleScene(stress="dictionary")
    stage.open(resources)
    context = Context(resources, run="d", pipeline="d", emit=lambda event: None)
    given = [new_scene(text).with_(**read_text(text)._asdict()) for text in texts()]
    batched = [s for i in range(0, len(given), 64) for s in stage.run_batch(given[i : i + 64], context)]
    alone = [stage.run_batch([scene], context)[0] for scene in given[:200]]
    same = digest(alone) == digest(batched[:200])
    print(f"Python {platform.python_version()}, NumPy {np.__version__}: {digest(batched)[:32]}")
    print(f"200 of them alone and in a batch of 64: {'the same' if same else 'DIFFERENT'}")


if __name__ == "__main__":
    main()
