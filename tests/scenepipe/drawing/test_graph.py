"""A drawn graph says what the graph says, in one file that runs nothing."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from typing import Literal, get_args

import pytest
import resvg_py
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from scenepipe.drawing.graph import MARGIN, WIDTH, draw_graph
from scenepipe.drawing.graph_layout import LEFT, REACH, RIGHT
from scenepipe.drawing.measure import width
from scenepipe.drawing.palette import DARK, LIGHT
from scenepipe.drawing.relations import LINES, name_of
from scenepipe.graph import INVERSE, Edge, Graph, Node, Relation, symbol_id

SVG = "{http://www.w3.org/2000/svg}"
ZOOM = 2
WORDS = ("тишина", "снег", "не:страх")


def symbol(key: str) -> Node:
    return Node(id=symbol_id(key), kind="symbol", label=key)


def scene(name: str, text: str) -> Node:
    return Node(id=name, kind="scene", label=text)


def edge(source: str, target: str, relation: Relation, weight: float, count: int = 1) -> Edge:
    return Edge(source=source, target=target, relation=relation, weight=weight, count=count)


@pytest.fixture
def graph() -> Graph:
    """Around the symbol шаг: three symbols, two scenes, every relation."""
    centre = symbol_id("шаг")
    return Graph(
        namespace="дом",
        nodes=(symbol("шаг"), *map(symbol, WORDS), scene("s1", "Шаг за шагом."), scene("s2", "Снег идёт.")),
        edges=(
            edge(centre, symbol_id("тишина"), "beside", 0.62, 3),
            edge(centre, symbol_id("снег"), "then", 0.9),
            edge("s1", centre, "holds", 0.5),
            edge("s1", symbol_id("тишина"), "holds", 0.4),
            edge("s2", symbol_id("снег"), "holds", 0.3),
            edge("s2", "s1", "echo", 0.2),
            edge("s1", "s2", "next", 1.0),
        ),
        left_out=4,
    )


def parts(drawn: str, kind: str) -> list[ET.Element]:
    return [e for e in ET.fromstring(drawn.encode()).iter() if kind in (e.get("class") or "").split()]


def written(drawn: str) -> list[str]:
    return [e.text or "" for e in ET.fromstring(drawn.encode()).iter(f"{SVG}text")]


def test_every_node_stands_once_with_its_name_and_what_it_is_to_the_centre(graph: Graph) -> None:
    drawn = draw_graph(graph)
    marks = parts(drawn, "symbol") + parts(drawn, "scene")
    assert sorted(e.attrib["data-node"] for e in marks) == sorted(node.id for node in graph.nodes[1:])
    said = written(drawn)
    for node in graph.nodes:
        assert said.count(node.label) == 1
    assert "рядом 0.62 ×3" in said
    assert "следует за 0.90" in said, "read from the node: snow comes after the step"
    assert "содержит 0.50" in said
    assert "содержит 0.30: снег" in said, "what is not next to the centre says where it belongs"
    assert "не поместилось: 4" in said
    assert "дом" in said


def test_every_edge_is_drawn_in_the_line_of_its_relation_and_told(graph: Graph) -> None:
    drawn = draw_graph(graph)
    edges = parts(drawn, "edge")
    assert len(edges) == len(graph.edges)
    titles = {(e.findtext(f"{SVG}title") or ""): (e.get("class") or "").split() for e in edges}
    assert {"line", LINES["beside"], "edge", "w2"} == set(titles["шаг — рядом 0.62 ×3 — тишина"])
    assert {"line", LINES["then"], "edge", "w3"} == set(titles["шаг — ведёт к 0.90 — снег"])
    assert {"line", LINES["echo"], "edge", "w1"} == set(titles["Снег идёт. — отзывается на 0.20 — Шаг за шагом."])
    assert len(parts(drawn, "head")) == 3, "then, echo and next have a direction"


def test_edges_begin_and_end_beside_their_nodes(graph: Graph) -> None:
    drawn = draw_graph(graph)
    at = {
        e.attrib["data-node"]: (float(e.get("cx") or float(e.attrib["x"]) + 5), float(e.get("cy") or float(e.attrib["y"]) + 5))
        for e in parts(drawn, "symbol") + parts(drawn, "scene")
    }  # fmt: skip
    names = {node.label: node.id for node in graph.nodes}
    for path in parts(drawn, "edge"):
        numbers = [float(n) for n in re.findall(r"-?[\d.]+", path.attrib["d"])]
        source, _, target = (path.findtext(f"{SVG}title") or "").split(" — ")
        for name, (x, y) in ((source, numbers[:2]), (target, numbers[-2:])):
            if names[name] in at:
                place = at[names[name]]
                assert abs(abs(x - place[0]) - REACH) < 0.01
                assert abs(y - place[1]) <= 12


def test_the_centre_is_a_box_and_a_denied_symbol_is_dashed(graph: Graph) -> None:
    drawn = draw_graph(graph)
    (box,) = parts(drawn, "mark")
    assert float(box.attrib["x"]) + float(box.attrib["width"]) / 2 == WIDTH / 2
    assert [e.attrib["data-node"] for e in parts(drawn, "dashed")] == [symbol_id("не:страх")]
    denied = graph.model_copy(update={"nodes": (symbol("не:шаг"), *graph.nodes[1:]), "edges": ()})
    assert len(parts(draw_graph(denied), "dashed")) == 2
    long = Graph(namespace="n", nodes=(scene("s", "слово " * 100),), edges=())
    (group,) = parts(draw_graph(long), "centre")
    assert len(list(group.iter(f"{SVG}text"))) == 3


def test_scenes_stand_level_with_the_symbols_they_hold() -> None:
    words = [f"w{n}" for n in range(4)]
    nodes = (symbol("c"), *map(symbol, words), *(scene(f"s{n}", f"text {n}") for n in range(4)))
    edges = tuple(edge(f"s{n}", symbol_id(f"w{3 - n}"), "holds", 0.5) for n in range(4))
    drawn = draw_graph(Graph(namespace="n", nodes=nodes, edges=edges))
    rows = sorted((float(e.attrib["y"]), e.attrib["data-node"]) for e in parts(drawn, "scene"))
    assert [name for _, name in rows] == ["s3", "s2", "s1", "s0"]


@pytest.mark.parametrize("most", [1, 2, 30, 99])
def test_no_label_meets_another_or_leaves_the_page(most: int) -> None:
    nodes = [
        symbol("c"),
        *(symbol(f"длинноеслово{n}" * 4) for n in range(most)),
        *(scene(f"s{n}", "ш" * 200) for n in range(3)),
    ]
    edges = tuple(edge(symbol_id("c"), node.id, "beside", 0.5) for node in nodes[1 : most + 1])
    drawn = draw_graph(Graph(namespace="имя" * 50, nodes=tuple(nodes), edges=edges))
    height = float(ET.fromstring(drawn.encode()).attrib["height"])
    lines: dict[str, list[float]] = {}
    for e in ET.fromstring(drawn.encode()).iter(f"{SVG}text"):
        x, y, size = float(e.attrib["x"]), float(e.attrib["y"]), float(e.attrib["font-size"])
        wide = width(e.text or "", size)
        left = x - wide * {"end": 1.0, "middle": 0.5}.get(e.get("text-anchor", ""), 0.0)
        assert left >= MARGIN - 1
        assert left + wide <= WIDTH - MARGIN + 1
        assert y < height
        if e.get("text-anchor") == "end" and x < LEFT:
            lines.setdefault("left", []).append(y)
        elif x > RIGHT and e.get("text-anchor") is None:
            lines.setdefault("right", []).append(y)
    assert all(after - before >= 12 for column in lines.values() for before, after in pairwise(column))


def test_language_is_that_of_the_centre_unless_given(graph: Graph) -> None:
    assert "окрестность" in written(draw_graph(graph))
    english = written(draw_graph(graph, language="en"))
    assert {"neighbourhood", "beside 0.62 ×3", "follows 0.90", "4 left out"} <= set(english)
    latin = Graph(namespace="n", nodes=(symbol("step"),), edges=())
    assert "neighbourhood" in written(draw_graph(latin))


def test_every_relation_has_words_and_those_that_are_kept_have_a_line() -> None:
    for language in ("ru", "en"):
        assert len({name_of(relation, language) for relation in get_args(Relation)}) == len(get_args(Relation))
    assert {INVERSE[relation] for relation in LINES} | LINES.keys() == set(get_args(Relation))


def test_the_legend_has_the_relations_that_are_there(graph: Graph) -> None:
    assert len(parts(draw_graph(graph), "legend")) == len(LINES)
    two = graph.model_copy(update={"edges": graph.edges[:2]})
    assert len(parts(draw_graph(two), "legend")) == 2
    alone = graph.model_copy(update={"nodes": graph.nodes[:1], "edges": (), "left_out": 0})
    assert "вокруг ничего нет" in written(draw_graph(alone))


# --- the document ---


def test_a_screen_reader_hears_centre_edges_and_counts(graph: Graph) -> None:
    root = ET.fromstring(draw_graph(graph).encode())
    title, desc = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert desc is not None
    assert (root.attrib["aria-labelledby"], root.attrib["aria-describedby"]) == (title.attrib["id"], desc.attrib["id"])
    assert title.text == "окрестность: шаг"
    for said in ("шаг — рядом 0.62 ×3 — тишина", "символы 3, сцены 2"):
        assert said in (desc.text or "")


def test_the_picture_is_self_contained_and_the_same_every_time(graph: Graph) -> None:
    drawn = draw_graph(graph)
    assert drawn == draw_graph(Graph.model_validate_json(graph.model_dump_json()))
    allowed = {"svg", "title", "desc", "style", "g", "text", "rect", "line", "circle", "path"}
    assert {element.tag.removeprefix(SVG) for element in ET.fromstring(drawn.encode()).iter()} <= allowed
    outside = drawn.replace("http://www.w3.org/2000/svg", "")
    assert not any(word in outside for word in ("http", "href", "url(", "@import", "@font-face", "javascript", " on"))


HOSTILE = "</text><script>alert(1)</script>&amp;\"'<!-- ]]>\x00\x1b[31m\u202e\ud800"


@pytest.mark.parametrize("kind", ["scene", "symbol"])
def test_hostile_words_stay_words(kind: Literal["scene", "symbol"]) -> None:
    nodes = (
        Node(id="c", kind=kind, label=HOSTILE),
        Node(id="n", kind=kind, label=HOSTILE),
    )
    hostile = Graph(namespace=HOSTILE, nodes=nodes, edges=(edge("c", "n", "then", 0.5),), left_out=0)
    root = ET.fromstring(draw_graph(hostile).encode("utf-8"))
    assert not list(root.iter(f"{SVG}script"))
    everything = "".join(root.itertext()) + "".join(value for e in root.iter() for value in e.attrib.values())
    assert "<script>alert(1)</script>" in everything
    assert not set("\x00\x1b\u202e\ud800") & set(everything)


TEXTS = st.text(max_size=40)


@settings(deadline=None, max_examples=40)
@given(
    labels=st.lists(TEXTS, min_size=1, max_size=8),
    kinds=st.lists(st.booleans(), min_size=8, max_size=8),
    data=st.data(),
)
def test_any_graph_is_drawn_as_xml(labels: list[str], kinds: list[bool], data: st.DataObject) -> None:
    nodes = tuple(
        Node(id=str(n), kind="scene" if kinds[n] else "symbol", label=label) for n, label in enumerate(labels)
    )
    names = st.sampled_from([node.id for node in nodes])
    drawn_edges = st.builds(
        Edge, source=names, target=names, relation=st.sampled_from(list(LINES)), weight=st.floats(0, 1)
    )
    edges = tuple(e for e in data.draw(st.lists(drawn_edges, max_size=20)) if e.source != e.target)
    drawn = draw_graph(Graph(namespace="n", nodes=nodes, edges=edges))
    assert len(parts(drawn, "edge")) == len(edges)


# --- as a rasteriser sees it ---


def rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


@pytest.mark.parametrize(("scheme", "colours"), [("light", LIGHT), ("dark", DARK)])
def test_it_is_painted_in_both_schemes(graph: Graph, scheme: Literal["light", "dark"], colours: dict[str, str]) -> None:
    drawn = draw_graph(graph, scheme=scheme)
    png = bytes(resvg_py.svg_to_bytes(svg_string=drawn, zoom=ZOOM, background="#ff00ff"))
    image = Image.open(io.BytesIO(png)).convert("RGB")
    assert image.width == WIDTH * ZOOM
    for mark in parts(drawn, "figure"):
        x = float(mark.get("cx") or float(mark.attrib.get("x", 0)) + 5)
        y = float(mark.get("cy") or float(mark.attrib.get("y", 0)) + 5)
        assert image.getpixel((round(x * ZOOM), round(y * ZOOM))) == rgb(colours["figure"])
    for e in parts(drawn, "legend"):
        x, y = float(e.attrib["x1"]) + 12, float(e.attrib["y1"])
        kind = next(kind for kind in LINES.values() if kind in (e.get("class") or "").split())
        name = {"arc": "quiet", "other": "accent"}.get(kind, kind.removeprefix("from-"))
        assert image.getpixel((round(x * ZOOM), round(y * ZOOM))) == rgb(colours[name])
    found = {colour: count for count, colour in image.getcolors(maxcolors=2**20) or ()}
    assert found[rgb(colours["ground"])] > 0.75 * image.width * image.height
    assert found.get((255, 0, 255), 0) < 0.002 * image.width * image.height


def test_auto_follows_the_reader_and_is_light_where_none_is_known(graph: Graph) -> None:
    drawn = draw_graph(graph)
    assert "prefers-color-scheme: dark" in drawn
    images = [
        bytes(resvg_py.svg_to_bytes(svg_string=draw_graph(graph, scheme=scheme)))
        for scheme in ("auto", "light", "dark")
    ]
    assert images[0] == images[1] != images[2]
