"""What the stores keep beside a scene or an encounter, the same in all of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from scenepipe.scene import Scene


def analysis_of(scene: Scene) -> str:
    """Id of the analysis that a scene carries; empty for none."""
    return scene.analysis.id if scene.analysis else ""


def chain_of(scene: Scene) -> str:
    """The linkage as JSON, by which equal linkages are found."""
    return chain_json(scene.linkage.chain if scene.linkage else ())


def chain_json(chain: Sequence[str]) -> str:
    return json.dumps(chain, ensure_ascii=False)


def digest(*parts: str) -> bytes:
    """16 bytes that change with any byte of the parts."""
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=16).digest()
