"""How much room a text takes, without a font: an upper bound, so that what is laid out by it cannot overlap.

Advance widths are those of DejaVu Sans, the widest of the fonts that the drawings name, rounded up to 0.05 em (Segoe UI
and Helvetica are about a tenth narrower). A character of another script has a rough width; a text that holds one is
drawn with ``textLength``, which keeps it in its room whatever the font.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

_EMS = {
    0.3: "'IJijl",
    0.35: " ,./:;\\|\u00a0·‘’",
    0.4: "()-[]ft",
    0.45: "!r",
    0.5: '"*_`°–',
    0.55: "?cszçгзсэ„“”",
    0.6: "FLkvxyýÿвтухчьѐ•",
    0.65: "$0123456789EPSTYabdeghnopqu{}ÈÉÊËßàáâãäåèéêëñòóôõöùúûüГЕЗРТУабеийклоряЁё«»",
    0.7: "ABCKRVXZÀÁÂÃÄÅÇАБВСХЧЬЭЯднпцΔ",
    0.75: "NUÑÙÚÛÜИЙКъ",
    0.8: "&DGHOQÒÓÔÕÖДЛНОПЦмы",
    0.85: "#+<=>^w~¬±×÷Ъю−→←",
    0.9: "MМФЫф",
    0.95: "жшщ",
    1.0: "%@Wmæ—…",
    1.1: "№ЖШЩЮ",
}
_KNOWN = {character: em for em, characters in _EMS.items() for character in characters}
_WIDE, _PICTURE, _OTHER = 1.0, 1.35, 0.75
BOLD = 1.15
"""How much wider DejaVu Sans Bold is: 1.08 over Russian, 1.13 over English words."""
MOST_MARKS = 3
"""Combining marks drawn on one character; more would reach into other lines and say nothing."""
CUT = "…"


class Cluster(NamedTuple):
    """What stands in one place: a character with its marks, ``shown`` of it, from ``start`` to ``end`` in the text."""

    start: int
    end: int
    shown: str
    ems: float

    @property
    def is_space(self) -> bool:
        return self.shown.isspace()


@lru_cache(maxsize=4096)
def _ems(character: str) -> float:
    if (em := _KNOWN.get(character)) is not None:
        return em
    category = unicodedata.category(character)
    if category in ("Mn", "Me", "Cf"):
        return 0.0
    if category == "So" or ord(character) >= 0x1F000:
        return _PICTURE
    return _WIDE if unicodedata.east_asian_width(character) in "WF" else _OTHER


def clusters(text: str) -> Iterator[Cluster]:
    """The places of a text in order; every character belongs to exactly one."""
    start = 0
    while start < len(text):
        end = start + 1
        while end < len(text) and _joins(text[end]):
            end += 1
        shown = text[start : min(end, start + 1 + MOST_MARKS)]
        yield Cluster(start, end, shown, sum(map(_ems, shown)))
        start = end


def _joins(character: str) -> bool:
    return character > "\u02ff" and unicodedata.category(character) in ("Mn", "Me", "Cf")


def width(text: str, size: float, *, bold: bool = False) -> float:
    """Pixels that a text takes at most, at ``size`` pixels to the em."""
    return sum(map(_ems, text)) * size * (BOLD if bold else 1.0)


def is_measured(text: str) -> bool:
    """Whether every character's width is known."""
    return all(character in _KNOWN for character in text)


def shorten(text: str, room: float, size: float, *, bold: bool = False) -> str:
    """One line of at most ``room`` pixels, which must hold ``…``: white space folded, marks bounded, cut with ``…``."""
    most = max(8, int(room) * 4)
    line = " ".join(text[:most].split())
    shown = [cluster.shown for cluster in clusters(line)]
    whole = "".join(shown)
    if len(text) <= most and width(whole, size, bold=bold) <= room:
        return whole
    left = room - width(CUT, size, bold=bold)
    kept = []
    for part in shown:
        left -= width(part, size, bold=bold)
        if left < 0:
            break
        kept.append(part)
    return "".join(kept).rstrip() + CUT


def wrap(text: str, room: float, size: float, *, most: int) -> list[str]:
    """Lines of at most ``room`` pixels, at most ``most`` of them; the last is cut with ``…`` where more follows."""
    found: list[str] = []
    words = text[: int(room) * 4 * most].split()
    while words and len(found) < most - 1:
        line = words.pop(0)
        while words and width(f"{line} {words[0]}", size) <= room:
            line += f" {words.pop(0)}"
        found.append(shorten(line, room, size))
    return [*found, shorten(" ".join(words), room, size)] if words else found


def is_rtl(text: str) -> bool:
    """Whether the first character that has a direction runs from right to left."""
    for character in text:
        direction = unicodedata.bidirectional(character)
        if direction in ("L", "R", "AL"):
            return direction != "L"
    return False
