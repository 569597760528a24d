"""Both palettes keep the contrast of WCAG 2.2 AA, and the style sheet applies each in its scheme."""

from __future__ import annotations

import re

import pytest

from scenepipe.drawing.palette import DARK, FILLS, LIGHT, STROKES, TEXTS, style_sheet

PALETTES = [pytest.param(LIGHT, id="light"), pytest.param(DARK, id="dark")]
DECORATION = {"rule", "grid", "track", "area", "ground", "mark", "mark-negated"}
"""Nothing is read from these alone: each figure is also a number, each mark also a line."""


def luminance(colour: str) -> float:
    """Relative luminance, https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_formula_gives_the_known_ratios() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("colours", PALETTES)
def test_every_text_is_readable(colours: dict[str, str]) -> None:
    for kind, name in TEXTS.items():
        assert contrast(colours[name], colours["ground"]) >= 4.5, kind
    for tint in ("tint", "negated-tint", "area"):
        assert contrast(colours["ink"], colours[tint]) >= 4.5, tint


@pytest.mark.parametrize("colours", PALETTES)
def test_every_figure_stands_out_from_what_is_behind_it(colours: dict[str, str]) -> None:
    for kind, name in (FILLS | STROKES).items():
        if kind not in DECORATION:
            assert contrast(colours[name], colours["ground"]) >= 3.0, kind
    for kind in ("figure", "accent", "base"):
        assert contrast(colours[FILLS[kind]], colours["track"]) >= 3.0, kind
    for kind in (kind for kind in STROKES if kind.startswith("from-")):
        assert contrast(colours[STROKES[kind]], colours["tint"]) >= 3.0, kind
        assert contrast(colours[STROKES[kind]], colours["negated-tint"]) >= 3.0, kind
    assert contrast(colours["figure"], colours["area"]) >= 3.0


def test_the_palettes_have_the_same_names_and_origins_differ() -> None:
    assert LIGHT.keys() == DARK.keys()
    for colours in (LIGHT, DARK):
        origins = [colours[STROKES[kind]] for kind in STROKES if kind.startswith("from-")]
        assert len(set(origins)) == len(origins) == 5


def rules(sheet: str) -> list[str]:
    return [line for line in sheet.splitlines() if re.search(r"(fill|stroke): #", line)]


def test_auto_is_the_light_scheme_and_the_dark_one_where_the_reader_has_it() -> None:
    auto = style_sheet("s", "auto")
    light, dark = auto.split("@media (prefers-color-scheme: dark) {")
    assert rules(light) == rules(style_sheet("s", "light"))
    assert rules(dark) == rules(style_sheet("s", "dark"))
    assert "@media" not in style_sheet("s", "light") + style_sheet("s", "dark")
    assert {rule.partition(":")[0] for rule in rules(light)} == {rule.partition(":")[0] for rule in rules(dark)}
