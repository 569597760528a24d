"""The lexicon files: shapes, faults by line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scenepipe.analysis.lexicon import AXES, parse_lexicon, shipped_lexicon
from scenepipe.errors import ConfigError

SYMBOL: dict[str, Any] = {
    "id": "step", "ru": "шаг", "en": "step", "gloss_ru": "нога идёт", "gloss_en": "a foot moves",
    "valence": 0.1, "arousal": 0.2, "dominance": 0.3, "axes": {"bodily": 0.5, "spatial": 0.5},
}  # fmt: skip
WORD: dict[str, Any] = {"lemma": "страшно", "language": "ru", "valence": -0.7, "arousal": 0.6, "dominance": -0.4}


def lines(*rows: dict[str, Any]) -> bytes:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


def test_the_shipped_lexicon_is_sound() -> None:
    lexicon = shipped_lexicon()
    assert len(lexicon.symbols) >= 200
    assert len(lexicon.words) >= 500
    assert {axis for entry in lexicon.symbols for axis in entry.axes} == set(AXES)


def test_a_lexicon_is_found_by_folded_lemma() -> None:
    lexicon = parse_lexicon(lines({**SYMBOL, "ru": "мёд"}), lines(WORD))
    assert lexicon.find("ru", "мед") == 0
    assert lexicon.find("en", "мед") is None
    assert lexicon.affect_of("ru", "нет", "страшно") == (-0.7, 0.6, -0.4)


def test_every_fault_is_listed_with_its_line() -> None:
    bad = [
        SYMBOL,
        {**SYMBOL, "id": "two", "ru": "два", "en": "two", "valence": 2},
        {**SYMBOL, "id": "x", "axes": {"up": 1}},
    ]
    with pytest.raises(ConfigError) as caught:
        parse_lexicon(lines(*bad) + b"\n{broken", lines(WORD))
    assert {fault.line for fault in caught.value.faults} == {2, 3, 4}
    assert "valence" in str(caught.value)
    assert "axes.up" in str(caught.value)


def test_doubles_are_refused() -> None:
    with pytest.raises(ConfigError, match="already on line 1"):
        parse_lexicon(lines(SYMBOL, {**SYMBOL, "id": "pace"}), lines(WORD))
    with pytest.raises(ConfigError, match="already on line 1"):
        parse_lexicon(lines(SYMBOL), lines(WORD, WORD))


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ConfigError, match="colour"):
        parse_lexicon(lines({**SYMBOL, "colour": "red"}), lines(WORD))


def test_leading_axis_breaks_ties_by_the_order_of_axes() -> None:
    assert parse_lexicon(lines(SYMBOL), b"").symbols[0].leading == "bodily"
