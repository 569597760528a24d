"""The picture as a rasteriser sees it: resvg, in both schemes. Nothing here depends on an installed font."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from typing import Literal

import pytest
import resvg_py
from PIL import Image

from scenepipe.drawing.palette import DARK, LIGHT
from scenepipe.drawing.scene import WIDTH, draw_scene
from scenepipe.scene import Scene

SVG = "{http://www.w3.org/2000/svg}"
ZOOM = 2
SCHEMES = [pytest.param("light", LIGHT, id="light"), pytest.param("dark", DARK, id="dark")]
Colour = tuple[int, int, int]


def rasterised(drawn: str) -> Image.Image:
    """On a magenta ground, which no palette has, so that an unpainted place is seen."""
    png = bytes(resvg_py.svg_to_bytes(svg_string=drawn, zoom=ZOOM, background="#ff00ff"))
    return Image.open(io.BytesIO(png)).convert("RGB")


def rgb(colour: str) -> Colour:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def at(image: Image.Image, x: float, y: float) -> Colour:
    found = image.getpixel((round(x * ZOOM), round(y * ZOOM)))
    assert isinstance(found, tuple)
    return found[0], found[1], found[2]


def shapes(drawn: str, panel: str, kind: str) -> list[tuple[ET.Element, float, float]]:
    """Shapes of a kind in a panel, with the place of the panel's corner."""
    for group in ET.fromstring(drawn.encode()).iter(f"{SVG}g"):
        if group.get("class") == panel:
            moved = re.fullmatch(r"translate\((\S+) (\S+)\)", group.attrib["transform"])
            assert moved is not None
            found = [e for e in group.iter() if kind in (e.get("class") or "").split()]
            return [(element, float(moved[1]), float(moved[2])) for element in found]
    raise AssertionError(f"no panel {panel}")


def middles(drawn: str, panel: str, kind: str) -> list[tuple[float, float]]:
    return [
        (
            x + float(e.attrib["x"]) + float(e.attrib["width"]) / 2,
            y + float(e.attrib["y"]) + float(e.attrib["height"]) / 2,
        )
        for e, x, y in shapes(drawn, panel, kind)
        if e.tag == f"{SVG}rect"
    ]


@pytest.mark.parametrize(("scheme", "colours"), SCHEMES)
def test_marks_bars_beats_and_the_cell_have_their_colours(
    verse: Scene, scheme: Literal["light", "dark"], colours: dict[str, str]
) -> None:
    drawn = draw_scene(verse, scheme=scheme)
    image = rasterised(drawn)
    assert image.width == WIDTH * ZOOM
    for kind, name in (("mark", "tint"), ("mark-negated", "negated-tint")):
        for rect, x, y in shapes(drawn, "text", kind):
            left, top = x + float(rect.attrib["x"]), y + float(rect.attrib["y"])
            assert at(image, left + 0.5, top + 13) == rgb(colours[name])  # left of the word's first letter
    for panel, kind, names in (
        ("emotion", "bar", ["figure"] * 2),
        ("tension", "bar", ["accent"]),
        ("tension", "cause", ["accent"] * 2),
        ("resonance", "bar", ["figure"]),
        ("delta", "cell", ["track"] * 41 + ["accent"] + ["track"] * 22),
        ("registers", "bar", ["figure", "figure", "quiet"]),
    ):
        found = [at(image, *place) for place in middles(drawn, panel, kind)]
        assert found == [rgb(colours[name]) for name in names], (panel, kind)


@pytest.mark.parametrize(("scheme", "colours"), SCHEMES)
def test_beats_dots_and_the_radar_are_painted(
    verse: Scene, scheme: Literal["light", "dark"], colours: dict[str, str]
) -> None:
    drawn = draw_scene(verse, scheme=scheme)
    image = rasterised(drawn)
    for panel, kind, name in (
        ("rhythm", "strong", "ink"),
        ("rhythm", "weak", "quiet"),
        ("field", "figure", "figure"),
        ("symbols", "dot-lexicon", "lexicon"),
        ("symbols", "dot-encoder", "encoder"),
    ):
        circles = shapes(drawn, panel, kind)
        assert circles
        for circle, x, y in circles:
            place = x + float(circle.attrib["cx"]), y + float(circle.attrib["cy"])
            assert at(image, *place) == rgb(colours[name]), (panel, kind)


@pytest.mark.parametrize(("scheme", "colours"), SCHEMES)
def test_the_whole_page_has_its_own_ground(
    prose: Scene, scheme: Literal["light", "dark"], colours: dict[str, str]
) -> None:
    image = rasterised(draw_scene(prose, scheme=scheme))
    found = {colour: count for count, colour in image.getcolors(maxcolors=2**20) or ()}
    assert found[rgb(colours["ground"])] > 0.75 * image.width * image.height
    assert found.get((255, 0, 255), 0) < 0.001 * image.width * image.height  # outside the round corners
    assert len(found) > 40


def test_a_program_that_reads_no_media_queries_sees_the_light_scheme(verse: Scene) -> None:
    auto, light, dark = (rasterised(draw_scene(verse, scheme=scheme)).tobytes() for scheme in ("auto", "light", "dark"))
    assert auto == light
    assert light != dark
