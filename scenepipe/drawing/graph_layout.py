"""Where the nodes of a drawn graph stand and how its edges run: the centre on top, symbols left, scenes right.

Two columns instead of forces: labels stand outside and edges inside, so that no label meets another or an edge, and the same
graph is always drawn alike. Scenes stand level with the symbols they hold, which keeps crossings few.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scenepipe.drawing.pen import number
from scenepipe.graph import Edge, Graph, Node

Side = Literal["left", "right", "centre"]

LEFT, RIGHT, MIDDLE = 300.0, 620.0, 460.0
ROW = 44.0
REACH = 8.0
"""Between a node's middle and the end of an edge."""
_BUNDLE = 6.0
_FAN = 70.0
_MOST_BEND = 130.0


@dataclass(frozen=True)
class Place:
    """Where a node's mark is; the centre's is the middle of the lower edge of its box."""

    side: Side
    x: float
    y: float

    @property
    def inward(self) -> float:
        """1 where the inside of the drawing is to the right, -1 where it is to the left."""
        return 1.0 if self.side == "left" else -1.0


@dataclass(frozen=True)
class Curve:
    """An edge as an SVG path, and the path of its arrowhead."""

    edge: Edge
    path: str
    head: str


def places(graph: Graph, top: float, base: float) -> dict[str, Place]:
    """The place of every node; those of the shorter column stand in the middle of the longer one's height.

    Args:
        top: of the columns.
        base: lower edge of the centre's box.
    """
    symbols = [node for node in graph.nodes[1:] if node.kind == "symbol"]
    scenes = _levelled([node for node in graph.nodes[1:] if node.kind == "scene"], symbols, graph.edges)
    rows = max(len(symbols), len(scenes))
    found = {graph.centre.id: Place("centre", MIDDLE, base)}
    columns: tuple[tuple[Side, float, Sequence[Node]], ...] = (("left", LEFT, symbols), ("right", RIGHT, scenes))
    for side, x, column in columns:
        first = top + ROW * (rows - len(column) + 1) / 2
        found |= {node.id: Place(side, x, first + ROW * row) for row, node in enumerate(column)}
    return found


def _levelled(scenes: Sequence[Node], symbols: Sequence[Node], edges: Sequence[Edge]) -> list[Node]:
    """Scenes by the mean row of the symbols that they hold (barycentre; Sugiyama et al., 1981)."""
    rows = {node.id: row for row, node in enumerate(symbols)}
    touched: dict[str, list[int]] = {}
    for edge in edges:
        if edge.target in rows:
            touched.setdefault(edge.source, []).append(rows[edge.target])
    nowhere = len(symbols) / 2

    def level(node: Node) -> float:
        met = touched.get(node.id)
        return sum(met) / len(met) if met else nowhere

    return sorted(scenes, key=level)


def curves(graph: Graph, at: Mapping[str, Place], half: float) -> Iterator[Curve]:
    """The edges, weakest first, so that the strongest are drawn over them.

    Args:
        half: of the width of the centre's box, along which its edges leave.
    """
    bundles = Counter(frozenset((edge.source, edge.target)) for edge in graph.edges)
    used: Counter[frozenset[str]] = Counter()
    for edge in reversed(graph.edges):
        pair = frozenset((edge.source, edge.target))
        shift = _BUNDLE * (used[pair] - (bundles[pair] - 1) / 2)
        used[pair] += 1
        start, end = at[edge.source], at[edge.target]
        if "centre" in (start.side, end.side):
            yield _from_centre(edge, start, end, shift, half)
        else:
            yield _across(edge, start, end, shift)


def _across(edge: Edge, start: Place, end: Place, shift: float) -> Curve:
    """From column to column, or within one: both ends leave and arrive level."""
    apart = abs(end.y - start.y)
    bend = MIDDLE - LEFT - REACH if start.side != end.side else min(_MOST_BEND, 30 + apart / 2)
    points = [
        (start.x + start.inward * REACH, start.y + shift),
        (start.x + start.inward * (REACH + bend), start.y + shift),
        (end.x + end.inward * (REACH + bend), end.y + shift),
        (end.x + end.inward * REACH, end.y + shift),
    ]
    return Curve(edge, _cubic(points), _head(points[-1], end.inward, 0.0))


def _from_centre(edge: Edge, start: Place, end: Place, shift: float, half: float) -> Curve:
    """Between the lower edge of the box and a node: the higher the node, the farther out the edge leaves."""
    inward_end = start.side == "centre"
    centre, node = (start, end) if inward_end else (end, start)
    depth = node.y - centre.y
    leaves = centre.x - node.inward * half * _FAN / (_FAN + depth) + shift
    points = [
        (leaves, centre.y),
        (leaves, centre.y + min(_FAN, depth)),
        (node.x + node.inward * (REACH + _FAN), node.y + shift),
        (node.x + node.inward * REACH, node.y + shift),
    ]
    if inward_end:
        return Curve(edge, _cubic(points), _head(points[-1], node.inward, 0.0))
    return Curve(edge, _cubic(points[::-1]), _head(points[0], 0.0, 1.0))


def _cubic(points: Sequence[tuple[float, float]]) -> str:
    start, *rest = (f"{number(x)} {number(y)}" for x, y in points)
    return f"M {start} C {' '.join(rest)}"


def _head(tip: tuple[float, float], back_x: float, back_y: float) -> str:
    """An open arrowhead at the tip of an edge that comes from this side."""
    (x, y), long, wide = tip, 6.0, 4.0
    ends = [(x + long * back_x + wide * back_y, y + long * back_y + wide * back_x), (x, y),
            (x + long * back_x - wide * back_y, y + long * back_y - wide * back_x)]  # fmt: skip
    return "M " + " L ".join(f"{number(a)} {number(b)}" for a, b in ends)
