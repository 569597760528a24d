"""What the stores keep beside a scene or an encounter, the same in all of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from pydantic import TypeAdapter, ValidationError

from scenepipe.folding import grammar
from scenepipe.scene import Scene

_INDEXED_BYTES = 600
_CHAINS = TypeAdapter(tuple[tuple[str, ...], ...])


def analysis_of(scene: Scene) -> str:
    """Id of the analysis that a scene carries; empty for none."""
    return scene.analysis.id if scene.analysis else ""


def chain_of(scene: Scene) -> str:
    """The linkage as JSON, by which equal linkages are found."""
    return chain_json(scene.linkage.chain if scene.linkage else ())


def chains_of(scene: Scene) -> str:
    """What hypertokens are found in, as JSON: the linkage and the text's own chain."""
    return json.dumps(grammar.chains_of(scene), ensure_ascii=False)


def chains_from(data: str) -> tuple[tuple[str, ...], ...]:
    """What `chains_of` wrote; nothing for what cannot be read, which `verify` names and `rebuild` makes anew."""
    try:
        return _CHAINS.validate_json(data)
    except ValidationError:
        return ()


def chain_json(chain: Sequence[str]) -> str:
    return json.dumps(chain, ensure_ascii=False)


def digest(*parts: str) -> bytes:
    """16 bytes that change with any byte of the parts."""
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=16).digest()


def short(value: str) -> str:
    """The value itself, or, above 600 bytes, a hash of it."""
    data = value.encode()
    return value if len(data) <= _INDEXED_BYTES else f"\x1b{hashlib.sha256(data).hexdigest()}"


def is_short(value: str) -> bool:
    """Whether a value is kept as it is, not as a hash of it."""
    return short(value) == value and not value.startswith("\x1b")
