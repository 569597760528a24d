"""One hash of many scenes, for comparing machines, Python versions and NumPy versions; alone and in a batch.

    python benchmarks/scene_determinism.py --write one.txt      # in one environment: versions, the hash, a line a scene
    python benchmarks/scene_determinism.py --against one.txt    # in the other: how many of 700 scenes are the same

Everything of a scene enters but ``created`` and ``origin``, vectors included. Asked is every scene; exits with 1 otherwise.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scenepipe.analysis.reading import read_text
from scenepipe.context import Context, Resources
from scenepipe.encoders.usem3 import Usem3Encoder
from scenepipe.modules.rule_scene import RuleScene
from scenepipe.scene import Scene, new_scene

DATA = Path(__file__).parent / "data"
ALONE = 200


def texts() -> list[str]:
    """The inputs of the router's and the polarity set: 700 texts of both languages."""
    rows = [json.loads(line) for line in (DATA / "router.jsonl").read_text(encoding="utf-8").splitlines()]
    pairs = [json.loads(line) for line in (DATA / "polarity.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row["text"] for row in rows] + [text for pair in pairs for text in (pair["a"], pair["b"])]


def digest(scene: Scene) -> str:
    """SHA-256 of the scene's JSON."""
    data = json.loads(scene.to_json(vectors=True))
    kept = {key: value for key, value in data.items() if key not in ("created", "origin")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def digests() -> tuple[list[str], bool]:
    """Of every scene in batches of 64, and whether the first 200 are the same alone."""
    resources = Resources(encoder=Usem3Encoder())
    stage = RuleScene(stress="dictionary")
    stage.open(resources)
    context = Context(resources, run="d", pipeline="d", emit=lambda event: None)
    given = [new_scene(text).with_(**read_text(text)._asdict()) for text in texts()]
    batched = [digest(s) for i in range(0, len(given), 64) for s in stage.run_batch(given[i : i + 64], context)]
    alone = [digest(stage.run_batch([scene], context)[0]) for scene in given[:ALONE]]
    return batched, alone == batched[:ALONE]


def different(found: Sequence[str], other: Sequence[str]) -> list[int]:
    """Places of the scenes whose digests differ.

    Raises:
        SystemExit: they are not of as many scenes.
    """
    if len(found) != len(other):
        sys.exit(f"{len(other)} scenes were written and {len(found)} read; write them anew with this version")
    return [place for place, (mine, theirs) in enumerate(zip(found, other, strict=True)) if mine != theirs]


def main() -> None:
    """Print the versions, the hash and what is the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="a file for the digests of all scenes")
    parser.add_argument("--against", type=Path, help="such a file of another environment")
    given = parser.parse_args()
    found, same = digests()
    whole = hashlib.sha256("".join(found).encode()).hexdigest()
    print(f"Python {platform.python_version()}, NumPy {np.__version__}: {whole[:32]}")
    print(f"{ALONE} of them alone and in a batch of 64: {'the same' if same else 'DIFFERENT'}")
    if given.write:
        given.write.write_text("\n".join(found) + "\n", "utf-8")
    wrong = different(found, given.against.read_text("utf-8").split()) if given.against else []
    if given.against:
        print(f"the same as in {given.against}: {len(found) - len(wrong)} of {len(found)} scenes")
    for place in wrong:
        print(f"different: {texts()[place]!r}")
    if wrong or not same:
        sys.exit(1)


if __name__ == "__main__":
    main()
