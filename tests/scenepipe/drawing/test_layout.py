"""Nothing overlaps, nothing leaves the page, and every text gives a valid document, whatever the scene is."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from scenepipe.drawing.measure import BOLD, clusters, is_measured, shorten, width, wrap
from scenepipe.drawing.scene import WIDTH, draw_scene
from scenepipe.mixture import Mixture
from scenepipe.scene import (
    Cause,
    Delta,
    Echo,
    Emotion,
    Linkage,
    Reading,
    Resonance,
    Rhythm,
    Scene,
    SemanticField,
    Symbol,
    Tension,
    new_scene,
)

SVG = "{http://www.w3.org/2000/svg}"
HIGHEST = 5000
LONG = "Rhabarberbarbarabarbarbarenbartbarbierbierbarbärbelchen"
ZALGO = "Z" + "\u0311\u0317\u0334\u0338" * 40 + "a" + "\u0489" * 30
HOSTILE = [
    "<script>alert('1')</script> & \"quoted\" ]]> <!-- x",
    "\u202eevil\u2066 text\u200f",
    "שלום עולם, abc! مرحبا بالعالم",
    f"{ZALGO} {ZALGO}",
    "😐🫀👩\u200d👩\u200d👧\ufe0f🏳️\u200d🌈 ﷽ 日本語のとても長いテキスト" * 4,
    "\x00\x01\x07\x1b[31mred\x7f\x9b \ufffe\uffff \x0b\x0c\x85\u2028\u2029x",
    "сло\u00adво сло\u0301во \u200b\u2060\ufeff x",
    LONG * 6,
    "W" * 10_000,
    "строка\n" * 10_000,
    "\n\n\n x \n\n\n\n y" * 50,
    "слово " * 20_000,
    "ЖШЩЮ" * 90,
]


@dataclass(frozen=True)
class Box:
    left: float
    top: float
    right: float
    bottom: float
    words: str

    def meets(self, other: Box) -> bool:
        apart = self.right <= other.left + 0.05 or other.right <= self.left + 0.05
        return not (apart or self.bottom <= other.top or other.bottom <= self.top)


def boxes(element: ET.Element, x: float = 0.0, y: float = 0.0) -> Iterator[Box]:
    """Where each text stands, by the widths that the layout assumes."""
    moved = re.fullmatch(r"translate\((\S+) (\S+)\)", element.get("transform", "translate(0 0)"))
    assert moved is not None
    x, y = x + float(moved[1]), y + float(moved[2])
    for child in element:
        yield from boxes(child, x, y)
    if element.tag == f"{SVG}text" and element.text:
        size = float(element.attrib["font-size"])
        bold = "bold" in element.get("class", "").split()
        wide = float(element.get("textLength") or width(element.text, size, bold=bold))
        left = x + float(element.attrib["x"])
        left -= {"start": 0.0, "middle": wide / 2, "end": wide}[element.get("text-anchor", "start")]
        base = y + float(element.attrib["y"])
        yield Box(left, base - 0.75 * size, left + wide, base + 0.2 * size, element.text)


def check_layout(drawn: str) -> None:
    root = ET.fromstring(drawn.encode())
    height = float(root.attrib["height"])
    assert height <= HIGHEST
    found = sorted(boxes(root), key=lambda box: box.top)
    for index, box in enumerate(found):
        assert box.left >= -0.1, box
        assert box.right <= WIDTH + 0.1, box
        assert box.top >= 0, box
        assert box.bottom <= height, box
        for other in found[index + 1 :]:
            if other.top >= box.bottom:
                break
            assert not box.meets(other), (box, other)


# --- texts ---


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_are_drawn_in_their_place(text: str) -> None:
    marks = tuple((start, start + 4) for start in range(0, min(len(text), 900), 7))
    scene = new_scene(text).with_(
        symbols=(Symbol(lemma=text[:300], language="und", evidence=marks),),
        hyperscene=tuple(Symbol(lemma=text[n : n + 90], language="und", origin="archive") for n in range(30)),
        linkage=Linkage(chain=tuple(text[n : n + 200] for n in range(30))),
        field=SemanticField(axes=text, weights={f"{text}{n}": 0.1 for n in range(8)}),
        tension=Tension(causes=tuple(Cause(name=text, amount=0.1) for _ in range(8))),
        delta=Delta(code=7, codebook=text, margin=1e300, alternative=9, gloss={"ru": text, "en": text}),
        echoes=(Echo(scene_id="x", text=text, reasons=(text,) * 5),),
        rhythm=Rhythm(metre=Reading(value=text, confidence=1.0), rhyme=Reading(value=text, confidence=1.0)),
        registers=Mixture(weights={"poet": 1.0}),
    )
    for language in ("ru", "en"):
        check_layout(draw_scene(scene, language=language, titles={"poet": text}))


def test_ten_thousand_characters_are_cut_with_a_mark() -> None:
    root = ET.fromstring(draw_scene(new_scene("слово " * 1667)).encode())
    said = [element.text or "" for element in root.iter(f"{SVG}text")]
    assert "… показано 1\u00a0199 из 10\u00a0002 знаков" in said
    assert float(root.attrib["height"]) < 1500
    short = [e.text or "" for e in ET.fromstring(draw_scene(new_scene("слово")).encode()).iter(f"{SVG}text")]
    assert not any("показано" in words for words in short)


def test_direction_and_control_characters_are_made_visible() -> None:
    drawn = draw_scene(new_scene("a\u202eb\x1b\x00c"))
    assert "a\ufffdb␛␀c" in drawn
    assert not set(drawn) & set("\u202e\x1b\x00")


def test_a_line_of_right_to_left_text_ends_at_the_left() -> None:
    symbol = Symbol(lemma="a", language="und", evidence=((5, 9),))
    found = {box.words.strip("\u2067\u2069"): box for box in boxes(ET.fromstring(draw_scene(
        new_scene("שלום עולם, מה")).encode()))}  # fmt: skip
    assert found["שלום עולם, מה"].right == WIDTH - 40
    marked = new_scene("שלום עולם, מה").with_(symbols=(symbol,))
    found = {box.words.strip("\u2067\u2069"): box for box in boxes(ET.fromstring(draw_scene(marked).encode()))}
    assert found["שלום"].left > found["עולם"].right > found[", מה"].right


@given(st.text(min_size=1, max_size=400).filter(str.strip))
@example("\r\n\x85\u2028x")
def test_any_text_gives_a_valid_document_that_says_it(text: str) -> None:
    drawn = draw_scene(new_scene(text))
    check_layout(drawn)
    root = ET.fromstring(drawn.encode())
    assert {element.tag for element in root.iter()} <= {f"{SVG}{n}" for n in (
        "svg", "title", "desc", "style", "g", "text", "rect", "line", "circle", "polygon", "path")}  # fmt: skip


# --- scenes ---

WORDS = st.text(max_size=60)
UNIT = st.floats(0, 1)
SPANS = st.tuples(st.integers(-2, 90), st.integers(-2, 90))
SYMBOLS = st.lists(
    st.builds(
        Symbol,
        lemma=WORDS,
        language=st.sampled_from(["ru", "en", "und"]),
        polarity=st.sampled_from([1, -1]),
        origin=st.sampled_from(["text", "lexicon", "encoder", "emotion", "archive"]),
        score=UNIT,
        evidence=st.lists(SPANS, max_size=6).map(tuple),
    ),
    max_size=8,
).map(tuple)


def readings(values: st.SearchStrategy[object]) -> st.SearchStrategy[Reading[object]]:
    return st.builds(Reading, value=st.none() | values, confidence=UNIT)


SIGNED = readings(st.floats(-1, 1))
BEATS = readings(st.text("+-x?|é ", max_size=80))
COUNTS = st.integers(-5, 10**30)
RHYTHMS = st.builds(
    Rhythm,
    words=COUNTS,
    lines=st.integers(0, 6),
    syllables=readings(COUNTS),
    syllables_per_line=st.lists(st.integers(0, 60) | COUNTS, max_size=40).map(tuple),
    pauses=st.lists(SPANS, max_size=9).map(tuple),
    stress=BEATS,
    metre=readings(WORDS),
    rhyme=readings(st.text("ABC- ", max_size=40)),
)
MIXTURES = st.lists(st.floats(0, 1), max_size=14).map(
    lambda shares: Mixture(weights={f"r{n}": share / 14 for n, share in enumerate(shares)})
)
SCENES = st.builds(
    Scene,
    id=WORDS,
    key=WORDS,
    created=st.just(datetime(2026, 1, 1, tzinfo=UTC)),
    text=st.text(min_size=1, max_size=120) | st.sampled_from(HOSTILE),
    symbols=st.none() | SYMBOLS,
    hyperscene=st.none() | SYMBOLS,
    linkage=st.none() | st.builds(Linkage, chain=st.lists(WORDS, max_size=12).map(tuple)),
    rhythm=st.none() | RHYTHMS,
    emotion=st.none() | st.builds(Emotion, valence=SIGNED, arousal=SIGNED, dominance=SIGNED),
    tension=st.none()
    | st.builds(
        Tension,
        level=readings(UNIT),
        causes=st.lists(st.builds(Cause, name=WORDS, amount=st.floats()), max_size=9).map(tuple),
    ),
    field=st.none() | st.builds(SemanticField, axes=WORDS, weights=st.dictionaries(WORDS, UNIT, max_size=20)),
    delta=st.none()
    | st.builds(
        Delta,
        code=COUNTS | st.integers(0, 63),
        codebook=WORDS,
        margin=st.floats(),
        alternative=COUNTS | st.integers(0, 63),
        gloss=st.dictionaries(st.sampled_from(["ru", "en", "xx"]), WORDS),
    ),
    registers=st.none() | MIXTURES,
    echoes=st.none()
    | st.lists(
        st.builds(Echo, scene_id=WORDS, text=WORDS, reasons=st.lists(WORDS, max_size=4).map(tuple)), max_size=7
    ).map(tuple),
    resonance=st.none() | st.builds(Resonance, strength=st.none() | UNIT, encounters=st.integers(0, 10**12)),
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(SCENES, st.sampled_from(["ru", "en", None]), st.dictionaries(st.sampled_from(["r0", "r1"]), WORDS))
def test_any_scene_is_drawn_without_overlap(
    scene: Scene, language: Literal["ru", "en"] | None, titles: dict[str, str]
) -> None:
    check_layout(draw_scene(scene, language=language, titles=titles))


def test_the_check_sees_an_overlap() -> None:
    drawn = draw_scene(new_scene("text"))
    assert 'y="20"' in drawn
    with pytest.raises(AssertionError):
        check_layout(drawn.replace('y="20"', 'y="46"'))
    with pytest.raises(AssertionError):
        check_layout(drawn.replace('x="0"', 'x="-100"'))


# --- measure ---


@given(st.text(max_size=200), st.floats(24, 400), st.sampled_from([10, 13, 20]), st.booleans())
def test_what_is_shortened_fits_and_is_not_touched_when_it_fits(text: str, room: float, size: int, bold: bool) -> None:
    short = shorten(text, room, size, bold=bold)
    assert width(short, size, bold=bold) <= room + 1e-6
    assert "\n" not in short
    line = " ".join(text.split())
    if line.isascii() and width(line, size, bold=bold) <= room:
        assert short == line


@given(st.text(max_size=300), st.integers(1, 4))
def test_wrapped_lines_fit_and_are_not_too_many(text: str, most: int) -> None:
    lines = wrap(text, 120, 13, most=most)
    assert len(lines) <= most
    assert all(width(line, 13) <= 120 for line in lines)
    if len(lines) < most and "…" not in "".join(lines) and text.isascii():
        assert " ".join(lines) == " ".join(text.split())


@given(st.text(max_size=200))
def test_every_character_has_one_place(text: str) -> None:
    found = list(clusters(text))
    assert [c.start for c in found] + [len(text)] == [0, *(c.end for c in found)]
    assert all(text[c.start : c.end].startswith(c.shown) and len(c.shown) <= 4 for c in found)


def test_widths_are_those_of_a_wide_font_rounded_up() -> None:
    for word, ems in (("Hamburgefontsiv", 8.649), ("чувствовать", 6.480)):  # sums of DejaVu Sans's advances
        assert ems <= width(word, 1) <= ems * 1.05
    assert width("abc", 10, bold=True) == pytest.approx(BOLD * width("abc", 10))
    assert width("e\u0301", 10) == width("e", 10)
    assert is_measured("Почему я не чувствую шаг?")
    assert not is_measured("日本")


def test_a_text_of_unmeasured_characters_is_held_in_its_room() -> None:
    scene = new_scene("x").with_(linkage=Linkage(chain=("日本", "ночь")))
    held = {e.text: e.get("textLength") for e in ET.fromstring(draw_scene(scene).encode()).iter(f"{SVG}text")}
    assert held["日本"] == "38"
    assert held["ночь"] is None
