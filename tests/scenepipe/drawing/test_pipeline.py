"""Drawings are valid whatever the names are, and say what the pipeline says."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenepipe.context import Context
from scenepipe.drawing.pipeline import Box, Drawing, describe, mermaid, svg
from scenepipe.pipeline import Pipeline
from scenepipe.scene import Scene

SVG = "{http://www.w3.org/2000/svg}"
FIELDS = st.lists(st.sampled_from(["language", "symbols", "field", "reply"]), unique=True).map(tuple)
NAMES = st.text(max_size=60)
KINDS = {"backend": "llama-cpp", "archive": "sqlite"}
BOXES = st.builds(
    Box,
    name=NAMES,
    reads=FIELDS,
    writes=FIELDS,
    uses=st.lists(st.sampled_from(list(KINDS)), unique=True).map(tuple),
    group=st.none() | NAMES,
)
DRAWINGS = st.builds(
    Drawing,
    name=NAMES,
    boxes=st.lists(BOXES, max_size=6).map(tuple),
    resources=st.fixed_dictionaries(dict.fromkeys(KINDS, NAMES)),
)


class First:
    reads: ClassVar[frozenset[str]] = frozenset()
    writes: ClassVar[frozenset[str]] = frozenset({"symbols", "language"})
    needs: ClassVar[frozenset[str]] = frozenset({"encoder"})

    async def run(self, scene: Scene, ctx: Context) -> Scene:
        return scene


class Second:
    reads: ClassVar[frozenset[str]] = frozenset({"symbols"})
    writes: ClassVar[frozenset[str]] = frozenset({"reply"})

    async def run(self, scene: Scene, ctx: Context) -> Scene:
        return scene


class Engine:
    fingerprint = "e"
    dim = 1
    name = "машина"


def pipeline(name: str = "быстрый старт") -> Pipeline:
    inner = Pipeline([("second", Second())], name="inner", given={"symbols"}, nested=True)
    return Pipeline([("first", First()), ("inner", inner)], name=name, encoder=Engine())  # type: ignore[arg-type]


def test_a_pipeline_is_described_in_the_order_of_the_scene() -> None:
    drawing = describe(pipeline(), model="gemma-3-270m")
    assert drawing.resources == {"encoder": "машина", "model": "gemma-3-270m"}
    assert [(box.name, box.reads, box.writes, box.uses, box.group) for box in drawing.boxes] == [
        ("first", (), ("language", "symbols"), ("encoder",), None),
        ("second", ("symbols",), ("reply",), (), "inner"),
    ]
    assert describe(pipeline(), labels={"encoder": "usem3"}).resources == {"encoder": "usem3"}


def test_mermaid_names_stages_fields_and_resources() -> None:
    text = mermaid(describe(pipeline()))
    assert 's0["<b>first</b>"]' in text
    assert 's0 -->|"language, symbols"| s1' in text
    assert 's1 -->|"reply"| reply' in text
    assert "s0 -.- r_encoder" in text
    assert 'subgraph g1["inner"]' in text
    assert text.count("subgraph") == text.count("    end\n")


@given(DRAWINGS)
def test_mermaid_has_no_character_of_a_name_that_could_be_syntax(drawing: Drawing) -> None:
    own = re.compile(
        r"---|title: '(?:[^']|'')*'|flowchart TD|    end"
        r'|    (?:text|reply)\(\["(?:text|scene)"\]\)'
        r'|    subgraph g\d+\["[^"<>\[\]{}|`]*"\]'
        r'|    s\d+\["<b>[^"<>\[\]{}|`]*</b>(?:<br/>[\w, ]+)*"\]'
        r'|    r_\w+\[\("\w+<br/>[^"<>\[\]{}|`]*"\)\]'
        r'|    \w+ -->(?:\|"[\w, <>/]+"\|)? \w+|    s\d+ -\.- r_\w+'
    )
    for line in mermaid(drawing).rstrip("\n").split("\n"):
        assert own.fullmatch(line), line


@given(DRAWINGS)
def test_svg_is_well_formed_whatever_the_names_are(drawing: Drawing) -> None:
    root = ET.fromstring(svg(drawing).encode())
    assert root.tag == f"{SVG}svg"
    assert len(root.findall(f".//{SVG}g")) == len(drawing.boxes)
    height = float(root.attrib["height"])
    for shape in root.iter(f"{SVG}rect"):
        assert 0 <= float(shape.attrib["y"]) <= height - float(shape.attrib["height"])


def test_svg_says_everything_in_any_script_and_follows_the_readers_scheme() -> None:
    drawn = svg(describe(pipeline("<быстрый> & \x00старт"), model="gemma-3-270m"))
    words = [element.text or "" for element in ET.fromstring(drawn.encode()).iter(f"{SVG}text")]
    assert "<быстрый> & \ufffdстарт" in words
    assert {"first", "second", "reads symbols", "language, symbols", "reply", "encoder: машина"} <= set(words)
    assert "prefers-color-scheme: dark" in drawn
    assert "currentColor" in drawn
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "")


def test_boxes_never_overlap() -> None:
    boxes = tuple(
        Box(f"s{n}", ("language",) * n, ("symbols",) * n, ("backend",) * (n % 3), "g" if n > 2 else None)
        for n in range(6)
    )
    root = ET.fromstring(svg(Drawing("d", boxes, KINDS)).encode())
    placed = [r for g in root.iter(f"{SVG}g") for r in g if r.get("class") == "box"]
    for above, below in itertools.pairwise(placed):
        assert float(above.attrib["y"]) + float(above.attrib["height"]) + 20 < float(below.attrib["y"])


@pytest.mark.parametrize("draw", [mermaid, svg])
def test_a_drawing_is_the_same_every_time(draw: object) -> None:
    assert callable(draw)
    assert draw(describe(pipeline())) == draw(describe(pipeline()))
