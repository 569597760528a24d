"""What every panel is drawn with: the language with its words, and the registers' titles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from scenepipe.drawing.words import words


@dataclass(frozen=True)
class Look:
    """How to speak of a scene.

    Args:
        language: ``ru`` or ``en``.
        titles: of registers by name; a register without one is called by its name.
    """

    language: str
    titles: Mapping[str, str]

    @cached_property
    def label(self) -> dict[str, str]:
        return words(self.language)
