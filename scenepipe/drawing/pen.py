"""A pen that draws one panel: an SVG group with its own origin. Pixels; y grows downwards, texts stand on their baseline."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Literal

from scenepipe.drawing.measure import is_measured, shorten, width

Anchor = Literal["start", "middle", "end"]
BODY, SMALL = 13, 12
HEAD = 34
"""Height of a panel's heading with the space below it."""
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clean(text: str) -> str:
    """Without the characters that XML 1.0 has no way to write, and without surrogates."""
    return _NOT_XML.sub("\ufffd", text)


def number(value: float) -> str:
    """Pixels to a hundredth, without a tail of zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


class Pen:
    """Draws into one group and knows how high it has become.

    Args:
        kind: class of the group.
        room: pixels from its left to its right edge.
        title: heading drawn at its top.
    """

    def __init__(self, kind: str, room: float, title: str = "") -> None:
        self.element = ET.Element("g", {"class": kind})
        self.room = room
        self.height = 0.0
        if title:
            self.line("rule", (0, 0), (room, 0))
            self.text(0, 20, title, "quiet", bold=True, room=room)
            self.height = HEAD

    def say(self, label: str) -> None:
        """What a screen reader says in place of the drawing."""
        self.element.attrib |= {"role": "img", "aria-label": clean(label)}

    def text(
        self,
        x: float,
        y: float,
        words: str,
        kind: str = "",
        *,
        size: float = BODY,
        anchor: Anchor = "start",
        bold: bool = False,
        room: float | None = None,
        length: float | None = None,
    ) -> float:
        """Write words and return the pixels they take at most.

        Args:
            room: cut them to this many pixels.
            length: draw them exactly this long, whatever the font.
        """
        shown = words if room is None else shorten(words, room, size, bold=bold)
        taken = width(shown, size, bold=bold) if length is None else length
        kinds = " ".join(part for part in (kind, "bold" if bold else "") if part)
        element = self._add("text", kinds, x=x, y=y)
        element.set("font-size", number(size))
        if anchor != "start":
            element.set("text-anchor", anchor)
        if shown and (length is not None or not is_measured(shown)):
            element.attrib |= {"textLength": number(taken), "lengthAdjust": "spacingAndGlyphs"}
        element.text = clean(shown)
        return taken

    def rect(self, kind: str, x: float, y: float, wide: float, high: float, *, radius: float = 0) -> ET.Element:
        return self._add("rect", f"fill {kind}", x=x, y=y, width=wide, height=high, rx=radius)

    def frame(self, kind: str, x: float, y: float, wide: float, high: float, *, radius: float = 0) -> ET.Element:
        return self._add("rect", f"line {kind}", x=x, y=y, width=wide, height=high, rx=radius)

    def line(self, kind: str, start: tuple[float, float], end: tuple[float, float]) -> ET.Element:
        return self._add("line", f"line {kind}", x1=start[0], y1=start[1], x2=end[0], y2=end[1])

    def dot(self, kind: str, x: float, y: float, radius: float) -> ET.Element:
        return self._add("circle", f"fill {kind}", cx=x, cy=y, r=radius)

    def ring(self, kind: str, x: float, y: float, radius: float) -> ET.Element:
        return self._add("circle", f"line {kind}", cx=x, cy=y, r=radius)

    def polygon(self, kind: str, points: Sequence[tuple[float, float]]) -> ET.Element:
        element = self._add("polygon", kind)
        element.set("points", " ".join(f"{number(x)},{number(y)}" for x, y in points))
        return element

    def path(self, kind: str, data: str) -> ET.Element:
        element = self._add("path", f"line {kind}")
        element.set("d", data)
        return element

    def place(self, panel: Pen, x: float, y: float) -> None:
        """Put another panel at a place of this one."""
        panel.element.set("transform", f"translate({number(x)} {number(y)})")
        self.element.append(panel.element)

    def _add(self, tag: str, kind: str, **places: float) -> ET.Element:
        attributes = {name: number(value) for name, value in places.items() if value or name != "rx"}
        return ET.SubElement(self.element, tag, ({"class": kind} if kind else {}) | attributes)
