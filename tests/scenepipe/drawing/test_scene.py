"""What the picture of a scene says is what the scene says."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

import pytest

from scenepipe.drawing.scene import draw_scene
from scenepipe.scene import (
    Cause,
    Delta,
    Echo,
    Emotion,
    Language,
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


def panel(drawn: str | ET.Element, kind: str) -> ET.Element:
    root = drawn if isinstance(drawn, ET.Element) else ET.fromstring(drawn.encode())
    return next(group for group in root.iter(f"{SVG}g") if group.get("class") == kind)


def has_panel(drawn: str, kind: str) -> bool:
    return any(group.get("class") == kind for group in ET.fromstring(drawn.encode()).iter(f"{SVG}g"))


def words(group: ET.Element) -> list[str]:
    return [element.text or "" for element in group.iter(f"{SVG}text")]


def of_kind(group: ET.Element, kind: str) -> list[ET.Element]:
    return [element for element in group.iter() if kind in (element.get("class") or "").split()]


def wide(element: ET.Element) -> float:
    return float(element.attrib["width"])


# --- text, symbols, linkage ---


def test_every_span_is_marked_once_where_it_stands(verse: Scene) -> None:
    text = panel(draw_scene(verse), "text")
    marked = [element.attrib["data-span"] for element in text.iter(f"{SVG}rect")]
    expected = [f"{start}-{end}" for symbol in verse.symbols or () for start, end in symbol.evidence]
    assert sorted(marked) == sorted(expected)
    assert [e.attrib["data-span"] for e in of_kind(text, "mark-negated")] == ["20-28"]
    runs = {(e.get("x"), e.text) for e in text.iter(f"{SVG}text")}
    for rect in text.iter(f"{SVG}rect"):
        start, end = map(int, rect.attrib["data-span"].split("-"))
        inside = float(rect.attrib["x"]) + 1.5
        assert any(word == verse.text[start:end] and abs(float(x or 0) - inside) < 0.1 for x, word in runs)


def test_all_of_the_text_is_written_in_order(verse: Scene, prose: Scene) -> None:
    for scene in (verse, prose):
        assert "".join("".join(words(panel(draw_scene(scene), "text"))).split()) == "".join(scene.text.split())


def test_polarity_and_origin_are_seen_in_the_line_under_a_word() -> None:
    symbols = (
        Symbol(lemma="a", language="en", origin="text", evidence=((0, 3),)),
        Symbol(lemma="b", language="en", origin="archive", polarity=-1, evidence=((4, 7),)),
    )
    text = panel(draw_scene(new_scene("one two").with_(symbols=symbols)), "text")
    assert [line.get("class") for line in text.iter(f"{SVG}line")] == ["line from-text", "line from-archive dashed"]


def test_a_span_over_two_lines_is_marked_in_both_and_two_symbols_of_one_span_once() -> None:
    text = "one\ntwo three"
    symbols = tuple(Symbol(lemma=w, language="en", evidence=((0, 7),)) for w in ("a", "b"))
    drawn = panel(draw_scene(new_scene(text).with_(symbols=symbols)), "text")
    assert [e.get("data-span") for e in drawn.iter(f"{SVG}rect")] == ["0-7", "0-7"]
    assert len({e.get("y") for e in drawn.iter(f"{SVG}rect")}) == 2


def test_spans_outside_the_text_are_not_drawn() -> None:
    symbol = Symbol(lemma="a", language="en", evidence=((-3, 2), (2, 2), (3, 1), (2, 99), (0, 1)))
    drawn = panel(draw_scene(new_scene("one two").with_(symbols=(symbol,))), "text")
    assert [e.get("data-span") for e in drawn.iter(f"{SVG}rect")] == ["0-1"]


def test_associated_symbols_stand_under_the_text_with_score_and_legend(verse: Scene) -> None:
    drawn = panel(draw_scene(verse), "symbols")
    assert words(drawn)[:5] == ["ассоциации", "тишина", "0.71", "не:ночь", "0.55"]
    assert words(drawn)[5:] == ["в тексте", "из словаря", "по смыслу", "с отрицанием"]
    assert [frame.get("class") for frame in drawn.iter(f"{SVG}rect")][:2] == [
        "line from-lexicon",
        "line from-encoder dashed",
    ]


def test_linkage_is_the_chain_in_order_joined_by_arcs(verse: Scene) -> None:
    drawn = panel(draw_scene(verse), "linkage")
    assert words(drawn) == ["сцепка", "река", "не:смолкать", "тишина", "рекане" + "смолкатьтишина"]
    places = [float(e.attrib["x"]) for e in drawn.iter(f"{SVG}text")][1:4]
    assert places == sorted(places)
    assert len(of_kind(drawn, "link")) == 2
    assert [e.get("class") for e in drawn.iter(f"{SVG}text")][1:4] == ["text", "text", "lexicon"]


def test_a_long_chain_goes_on_in_the_next_row_and_is_cut() -> None:
    chain = tuple(f"слово{n}" for n in range(30))
    drawn = panel(draw_scene(new_scene("текст").with_(linkage=Linkage(chain=chain))), "linkage")
    assert len(of_kind(drawn, "link")) == 23
    assert "ещё 6" in words(drawn)
    assert len({e.get("y") for e in drawn.iter(f"{SVG}text") if (e.text or "").startswith("слово")}) > 2


# --- field, emotion, tension, registers ---


def points(drawn: ET.Element) -> list[tuple[float, float]]:
    (polygon,) = of_kind(drawn, "radar")
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in polygon.attrib["points"].split())]


def test_the_radar_has_a_point_per_axis_as_far_out_as_its_weight(verse: Scene, prose: Scene) -> None:
    for scene in (verse, prose):
        assert scene.field is not None
        drawn = panel(draw_scene(scene), "field")
        ring = max(drawn.iter(f"{SVG}circle"), key=lambda e: float(e.attrib["r"]))
        centre, radius = (float(ring.attrib["cx"]), float(ring.attrib["cy"])), float(ring.attrib["r"])
        far = [((x - centre[0]) ** 2 + (y - centre[1]) ** 2) ** 0.5 / radius for x, y in points(drawn)]
        assert far == pytest.approx([weight / 0.5 for weight in scene.field.weights.values()], abs=1e-3)


def test_axes_are_named_in_the_language_of_the_scene(verse: Scene) -> None:
    assert {"природное", "0.40", "пространственное"} <= set(words(panel(draw_scene(verse), "field")))
    assert {"natural", "spatial"} <= set(words(panel(draw_scene(verse, language="en"), "field")))
    other = verse.with_(field=SemanticField(axes="mine@1", weights={"up": 0.5, "aside": 0.5, "down": 0.0}))
    assert {"aside", "down 0.00"} & set(words(panel(draw_scene(other), "field")))


def test_more_axes_than_fit_are_counted() -> None:
    field = SemanticField(axes="many@1", weights={f"a{n}": 1 / 210 * n for n in range(21)})
    drawn = panel(draw_scene(new_scene("x y z").with_(field=field)), "field")
    assert len(points(drawn)) == 12
    assert "9 more" in words(drawn)


def test_bars_are_as_long_as_their_figures(verse: Scene) -> None:
    drawn = draw_scene(verse)
    track = wide(of_kind(panel(drawn, "emotion"), "track")[0])
    valence, arousal = of_kind(panel(drawn, "emotion"), "bar")
    assert wide(valence) == pytest.approx(0.5 * track / 2, abs=0.01)
    assert wide(arousal) == pytest.approx(0.25 * track / 2, abs=0.01)
    middle = float(arousal.attrib["x"])
    assert float(valence.attrib["x"]) + wide(valence) == pytest.approx(middle, abs=0.01)
    (level,) = of_kind(panel(drawn, "tension"), "bar")
    assert wide(level) == pytest.approx(0.4 * track, abs=0.01)
    assert [wide(e) / track for e in of_kind(panel(drawn, "tension"), "cause")] == pytest.approx([0.25, 0.2], abs=1e-3)
    shares = [wide(e) / track for e in of_kind(panel(drawn, "registers"), "bar")]
    assert shares == pytest.approx([0.5, 0.25, 0.25], abs=1e-3)
    (met,) = of_kind(panel(drawn, "resonance"), "bar")
    assert wide(met) == pytest.approx(0.6 * track, abs=0.01)


def test_causes_registers_and_counts_are_named(verse: Scene) -> None:
    drawn = draw_scene(verse, titles={"poet": "Поэт"})
    assert {"отрицание", "противопоставление", "0.40 (0.60)"} <= set(words(panel(drawn, "tension")))
    assert words(panel(drawn, "registers"))[1::2] == ["Поэт", "philosopher", "основа"]
    assert "3 встречи" in words(panel(drawn, "resonance"))
    assert {"−0.50 (0.80)", "+0.25 (0.70)"} <= set(words(panel(drawn, "emotion")))


# --- rhythm ---


def beats(drawn: ET.Element) -> list[int]:
    """How many beats each row has, the legend left out."""
    rows: dict[str, set[str]] = {}
    for circle in drawn.iter(f"{SVG}circle"):
        rows.setdefault(circle.attrib["cy"], set()).add(circle.attrib["cx"])
    return [len(row) for row in rows.values()][:-1]


def test_rhythm_has_a_beat_per_syllable_and_the_pauses_between(verse: Scene) -> None:
    drawn = panel(draw_scene(verse), "rhythm")
    assert beats(drawn) == [11, 8, 11, 8]
    assert len(of_kind(drawn, "strong")) == 4 + 3 + 4 + 2 + 1  # and the legend's
    assert len(of_kind(drawn, "pause")) == 5 + 1
    inner = [e for e in of_kind(drawn, "pause") if e.get("y1") == str(34 + 8 + 2 * 21 - 6)]
    assert [float(e.attrib["x1"]) for e in inner] == [26 + 13 * 3, 26 + 13 * 11]  # «Я слышу,» has three syllables
    assert "38 слогов · 22 слова · 4 строки · 8 пауз · метр: амфибрахий" in words(drawn)
    assert "(0.91) · рифма: неизвестно" in words(drawn)


def test_unknown_stress_is_a_ring_and_never_a_weak_beat(prose: Scene) -> None:
    drawn = panel(draw_scene(prose), "rhythm")
    assert len(of_kind(drawn, "open")) == 24 + 1
    assert of_kind(drawn, "weak") == of_kind(drawn, "strong") == []
    assert "stress unknown" in words(drawn)


def test_rhyme_stands_at_the_end_of_its_line(verse: Scene) -> None:
    assert verse.rhythm is not None
    known = verse.rhythm.model_copy(update={"rhyme": Reading[str](value="AB -B", confidence=0.8)})
    drawn = panel(draw_scene(verse.with_(rhythm=known)), "rhythm")
    assert [e.text for e in of_kind(drawn, "accent") if e.tag == f"{SVG}text"] == ["A", "B", "B"]
    assert "–" in words(drawn)
    assert any("рифма: AB -B (0.80)" in line for line in words(drawn))


def test_a_poem_of_ten_thousand_lines_shows_its_first() -> None:
    rhythm = Rhythm(
        words=10_000, lines=10_000, syllables=Reading(value=20_000, confidence=1.0), syllables_per_line=(2,) * 10_000
    )
    drawn = panel(draw_scene(new_scene("ночка\n" * 10_000).with_(rhythm=rhythm)), "rhythm")
    assert beats(drawn) == [2] * 16
    assert "ещё 9984 строки" in words(drawn)


# --- Δ, echoes, what is not there ---


def test_the_cell_of_the_code_is_marked(verse: Scene) -> None:
    drawn = panel(draw_scene(verse), "delta")
    cells = of_kind(drawn, "cell")
    assert [int(cell.attrib["data-code"]) for cell in cells] == list(range(64))
    (marked,) = [cell for cell in cells if "accent" in cell.attrib["class"].split()]
    assert marked.attrib["data-code"] == "41"
    (other,) = [e for e in of_kind(drawn, "other") if float(e.attrib["width"]) > 10]
    near = next(cell for cell in cells if cell.attrib["data-code"] == "33")
    assert float(other.attrib["x"]) == pytest.approx(float(near.attrib["x"]) + 0.75)
    assert {"Δ41@c1", "вода, ночь", "запас 0.071", "рядом Δ33"} <= set(words(drawn))


def test_a_code_that_is_not_on_the_grid_is_given_in_words() -> None:
    delta = Delta(code=200, codebook="c9", margin=0.1, alternative=3)
    drawn = panel(draw_scene(new_scene("x").with_(delta=delta)), "delta")
    assert of_kind(drawn, "cell") == []
    assert "Δ200@c9" in words(drawn)


def test_echoes_come_with_their_reasons(verse: Scene) -> None:
    assert words(panel(draw_scene(verse), "echoes")) == ["эхо", "«Тихая вода.»", "общие символы: вода"]
    many = tuple(Echo(scene_id=str(n), text=f"Echo {n}.") for n in range(9))
    assert "ещё 4" in words(panel(draw_scene(verse.with_(echoes=many)), "echoes"))


def test_what_is_unknown_is_said_and_never_drawn_as_nought(bare: Scene, verse: Scene) -> None:
    drawn = draw_scene(bare)
    for kind in ("symbols", "linkage", "field", "rhythm", "emotion", "tension", "delta"):
        assert "неизвестно" in words(panel(drawn, kind)), kind
        assert "неизвестно" in panel(drawn, kind).attrib["aria-label"] or kind == "symbols"
        assert of_kind(panel(drawn, kind), "bar") == of_kind(panel(drawn, kind), "cell") == [], kind
    assert not any(has_panel(drawn, kind) for kind in ("registers", "resonance", "echoes"))
    assert len(of_kind(panel(draw_scene(verse), "emotion"), "nothing")) == 1  # dominance


def test_nought_is_drawn_as_nought(verse: Scene) -> None:
    nought = Reading[float](value=0.0, confidence=0.5)
    calm = verse.with_(emotion=Emotion(valence=nought, arousal=nought, dominance=nought), tension=Tension(level=nought))
    assert [wide(e) for e in of_kind(panel(draw_scene(calm), "emotion"), "bar")] == [0, 0, 0]
    assert "0.00 (0.50)" in words(panel(draw_scene(calm), "tension"))
    empty = verse.with_(linkage=Linkage(), hyperscene=(), field=SemanticField(axes="axes@1"), resonance=Resonance())
    drawn = draw_scene(empty)
    assert "нет" in words(panel(drawn, "linkage"))
    assert "нет" in words(panel(drawn, "symbols"))
    assert "неизвестно" in words(panel(drawn, "field"))
    assert "встречена впервые" in words(panel(drawn, "resonance"))


def test_figures_that_are_no_numbers_are_left_out(verse: Scene) -> None:
    causes = (Cause(name="negation", amount=float("nan")), Cause(name="break", amount=float("inf")),
              Cause(name="question", amount=-1e300))  # fmt: skip
    drawn = panel(draw_scene(verse.with_(tension=Tension(causes=causes))), "tension")
    assert [wide(e) for e in of_kind(drawn, "cause")] == [0]


# --- the document ---


def labels(root: ET.Element) -> Iterator[str]:
    yield from (group.attrib["aria-label"] for group in root.iter(f"{SVG}g") if group.get("role") == "img")


def test_a_screen_reader_hears_every_panel(verse: Scene) -> None:
    root = ET.fromstring(draw_scene(verse).encode())
    title, desc = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert desc is not None
    assert root.attrib["aria-labelledby"] == title.attrib["id"]
    assert root.attrib["aria-describedby"] == desc.attrib["id"]
    assert (title.text or "").startswith("сцена: Над тёмной рекой")
    heard = list(labels(root))
    assert len(heard) == 11
    assert all(label in (desc.text or "") for label in heard)
    assert "поле: природное 0.40, внутреннее 0.20" in (desc.text or "")
    assert "сцепка: река → не:смолкать → тишина" in heard


def test_the_picture_is_self_contained_and_the_same_every_time(verse: Scene) -> None:
    drawn = draw_scene(verse)
    assert drawn == draw_scene(verse)
    allowed = {"svg", "title", "desc", "style", "g", "text", "rect", "line", "circle", "polygon", "path"}
    assert {element.tag.removeprefix(SVG) for element in ET.fromstring(drawn.encode()).iter()} <= allowed
    outside = drawn.replace("http://www.w3.org/2000/svg", "")
    assert not any(word in outside for word in ("http", "href", "url(", "@import", "@font-face", "javascript", " on"))


def test_language_of_the_labels_is_the_scenes_unless_given(verse: Scene, prose: Scene) -> None:
    assert "сцена" in words(ET.fromstring(draw_scene(verse).encode()))
    assert "scene" in words(ET.fromstring(draw_scene(prose).encode()))
    assert "scene" in words(ET.fromstring(draw_scene(verse, language="en").encode()))
    unknown = verse.with_(language=Language(code="und"))
    assert "сцена" in words(ET.fromstring(draw_scene(unknown).encode()))


def test_two_pictures_on_one_page_do_not_share_ids_or_styles(verse: Scene, prose: Scene) -> None:
    roots = [ET.fromstring(d.encode()) for d in (draw_scene(verse, scheme="light"), draw_scene(prose, scheme="dark"))]
    ids = [element.attrib["id"] for root in roots for element in root.iter() if "id" in element.attrib]
    assert len(ids) == len(set(ids)) == 4
    for root, scheme in zip(roots, ("light", "dark"), strict=True):
        rules = (root.findtext(f"{SVG}style") or "").strip().splitlines()
        assert all(rule.startswith(f".scene-{scheme} ") for rule in rules)
