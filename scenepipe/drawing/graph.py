"""The neighbourhood of a scene or a symbol as one SVG: self-contained, readable on light and dark ground.

The centre stands on top, symbols in the left column, scenes in the right one, each with what it is to the centre; edges
run between them, the stronger the wider, in the colour of their relation.
"""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Literal

from scenepipe.drawing.graph_layout import LEFT, MIDDLE, REACH, ROW, Place, curves, places
from scenepipe.drawing.measure import shorten, width, wrap
from scenepipe.drawing.palette import Scheme, style_sheet
from scenepipe.drawing.pen import BODY, SMALL, Pen, clean, number
from scenepipe.drawing.relations import DIRECTED, LINES, label_of, name_of, told
from scenepipe.drawing.words import visible
from scenepipe.graph import Edge, Graph, Node
from scenepipe.recall import lemma_of

WIDTH, MARGIN = 920, 40
_TOP, _LINE, _PAD = 64, 20, 14
_BOX, _CENTRE_SIZE = 420.0, 15
_BELOW_BOX = 56
_LABEL = LEFT - MARGIN - 2 * REACH
_MOST_SAID = 60
_WIDTHS = (("w1", 1.0), ("w2", 1.75), ("w3", 2.75))


def draw_graph(graph: Graph, *, language: Literal["ru", "en"] | None = None, scheme: Scheme = "auto") -> str:
    """The graph as an SVG document, `WIDTH` pixels wide; the same graph gives the same bytes.

    Args:
        language: of the labels; that of the centre's letters where it is not given.
        scheme: as for `scenepipe.drawing.scene.draw_scene`.
    """
    code = language or _language_of(graph.centre)
    centre, base, half = _centre(graph)
    at = places(graph, base + _BELOW_BOX, base)
    page = Pen("page", WIDTH)
    _header(page, graph, code)
    page.place(_edges(graph, at, half, code), 0, 0)
    page.place(centre, 0, 0)
    page.place(_nodes(graph, at, code), 0, 0)
    height = _footer(page, graph, max(place.y for place in at.values()) + ROW, code)
    return _document(page, graph, code, scheme, height)


def _language_of(node: Node) -> Literal["ru", "en"]:
    letters = [c for c in node.label if c.isalpha()]
    return "ru" if 2 * sum("\u0400" <= c <= "\u04ff" for c in letters) > len(letters) else "en"


def _header(page: Pen, graph: Graph, code: str) -> None:
    page.text(MARGIN, 40, label_of("graph", code), "quiet", bold=True)
    page.text(WIDTH - MARGIN, 40, visible(graph.namespace), "quiet", size=SMALL, anchor="end", room=300)


def _centre(graph: Graph) -> tuple[Pen, float, float]:
    """The centre's box, its lower edge, and half its width."""
    lines = wrap(visible(graph.centre.label), _BOX - 2 * _PAD, _CENTRE_SIZE, most=3) or ["—"]
    wide = max(120.0, 2 * _PAD + max(width(line, _CENTRE_SIZE) for line in lines))
    high = _LINE * len(lines) + _PAD
    pen = Pen("centre", WIDTH)
    radius = high / 2 if graph.centre.kind == "symbol" else 4
    pen.rect("mark", MIDDLE - wide / 2, _TOP, wide, high, radius=radius)
    frame = pen.frame("outline", MIDDLE - wide / 2, _TOP, wide, high, radius=radius)
    if _is_denied(graph.centre):
        frame.set("class", f"{frame.get('class')} dashed")
    for row, line in enumerate(lines):
        pen.text(MIDDLE, _TOP + _PAD / 2 + _LINE * row + 15, line, size=_CENTRE_SIZE, anchor="middle")
    pen.say(visible(graph.centre.label))
    return pen, _TOP + high, wide / 2


def _edges(graph: Graph, at: Mapping[str, Place], half: float, code: str) -> Pen:
    pen, names = Pen("edges", WIDTH), {node.id: visible(node.label) for node in graph.nodes}
    for curve in curves(graph, at, half):
        edge = curve.edge
        path = pen.path(f"{LINES[edge.relation]} edge {_width_of(edge)}", curve.path)
        ET.SubElement(path, "title").text = clean(_sentence(edge, names, code))
        if edge.relation in DIRECTED:
            pen.path(f"{LINES[edge.relation]} head", curve.head)
    said = [_sentence(edge, names, code) for edge in graph.edges[:_MOST_SAID]]
    pen.say("; ".join(said) or label_of("alone", code))
    return pen


def _width_of(edge: Edge) -> str:
    return _WIDTHS[min(2, int(edge.weight * 3))][0]


def _sentence(edge: Edge, names: Mapping[str, str], code: str) -> str:
    """``шаг — рядом 0.62 ×3 — тишина``."""
    source, target = (shorten(names[name], 200, BODY) for name in (edge.source, edge.target))
    return f"{source} — {told(edge, code)} — {target}"


def _nodes(graph: Graph, at: Mapping[str, Place], code: str) -> Pen:
    pen = Pen("nodes", WIDTH)
    for node in graph.nodes[1:]:
        place = at[node.id]
        _mark(pen, node, place)
        anchor: Literal["start", "end"] = "end" if place.side == "left" else "start"
        x = place.x - place.inward * 2 * REACH
        note = shorten(_note(graph, node, code), _LABEL, SMALL)
        pen.text(x, place.y + (0 if note else 5), shorten(visible(node.label), _LABEL, BODY), anchor=anchor)
        if note:
            pen.text(x, place.y + 15, note, "quiet", size=SMALL, anchor=anchor)
    counts = [f"{label_of(name, code)} {sum(n.kind == kind for n in graph.nodes[1:])}" for kind, name in
              (("symbol", "symbols"), ("scene", "scenes"))]  # fmt: skip
    pen.say(", ".join(counts))
    return pen


def _mark(pen: Pen, node: Node, place: Place) -> None:
    if node.kind == "scene":
        pen.rect("figure scene", place.x - 5, place.y - 5, 10, 10, radius=2).set("data-node", node.id)
    elif _is_denied(node):
        pen.dot("ground", place.x, place.y, 5)
        pen.ring("outline dashed symbol", place.x, place.y, 5).set("data-node", clean(node.id))
    else:
        pen.dot("figure symbol", place.x, place.y, 5).set("data-node", clean(node.id))


def _is_denied(node: Node) -> bool:
    return node.kind == "symbol" and lemma_of(node.label) != node.label


def _note(graph: Graph, node: Node, code: str) -> str:
    """What the node is to the centre, read from the node; else its strongest edge, with where that leads."""
    mine = graph.around(node.id)
    to_centre = [told(edge, code) for edge in mine if edge.target == graph.centre.id]
    if to_centre or not mine:
        return " · ".join(to_centre)
    names = {other.id: other.label for other in graph.nodes}
    return f"{told(mine[0], code)}: {visible(names[mine[0].target])}"


def _footer(page: Pen, graph: Graph, y: float, code: str) -> float:
    """What the lines mean, and how much was left out; returns the page's height."""
    x, there = float(MARGIN), {edge.relation for edge in graph.edges}
    for relation in (relation for relation in LINES if relation in there):
        page.line(f"{LINES[relation]} legend w2", (x, y - 4), (x + 24, y - 4))
        x += 32 + page.text(x + 32, y, name_of(relation, code), "quiet", size=SMALL) + 20
    if not there:
        page.text(x, y, label_of("alone", code), "quiet", size=SMALL)
    if graph.left_out:
        said = label_of("left_out", code).format(graph.left_out)
        page.text(WIDTH - MARGIN, y, said, "quiet", size=SMALL, anchor="end")
    return y + 28


def _document(page: Pen, graph: Graph, code: str, scheme: Scheme, height: float) -> str:
    root_class = f"graph-{scheme}"
    unique = hashlib.sha256(repr(graph).encode("utf-8", "replace")).hexdigest()[:10]
    root = ET.Element("svg", {
        "xmlns": "http://www.w3.org/2000/svg", "class": root_class, "role": "graphics-document document",
        "width": str(WIDTH), "height": number(height), "viewBox": f"0 0 {WIDTH} {number(height)}",
        "lang": code, "aria-labelledby": f"title-{unique}", "aria-describedby": f"desc-{unique}",
    })  # fmt: skip
    title = f"{label_of('graph', code)}: {shorten(visible(graph.centre.label), 560, BODY)}"
    ET.SubElement(root, "title", {"id": f"title-{unique}"}).text = clean(title)
    labels = [group.get("aria-label", "") for group in page.element.iter("g")]
    ET.SubElement(root, "desc", {"id": f"desc-{unique}"}).text = ". ".join(label for label in labels if label)
    wide = [f".{root_class} .line.{kind} {{ stroke-width: {pixels}; }}" for kind, pixels in _WIDTHS]
    ET.SubElement(root, "style").text = "\n".join([style_sheet(root_class, scheme), *wide, ""])
    root.append(Pen("ground", WIDTH).rect("ground", 0, 0, WIDTH, height, radius=10))
    root.append(page.element)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"
