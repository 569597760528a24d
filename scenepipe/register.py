"""A register: a folder of data (card, examples, adapters) loaded and checked. No code is ever loaded from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Register:
    """One voice.

    Args:
        name: its name in YAML and mixtures.
        folder: where it lives.
        titles, description: by language (``ru``, ``en``).
        symbol: one character for bars and formulas.
        emoji: one emoji.
        licence: SPDX id or name of the licence of its texts.
        adapters: adapter folder by base model id, inside ``folder``.
    """

    name: str
    folder: Path
    titles: dict[str, str]
    description: dict[str, str]
    symbol: str
    emoji: str
    licence: str
    adapters: dict[str, Path]
