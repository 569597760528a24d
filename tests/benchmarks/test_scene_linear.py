"""The benchmark of linear time: its texts are of the size asked for, and work that is not linear is named."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.benchmarks.conftest import load

KINDS = {
    "Russian prose", "English prose", "verse", "verse, one stanza", "one word repeated", "one word denied", "no letters",
    "zalgo", "one letter under marks", "right to left", "soft hyphens and stress", "one long word", "hyphens in one word",
    "languages in turn", "punctuation alone",
}  # fmt: skip


@pytest.fixture(scope="module")
def linear() -> ModuleType:
    return load("scene_linear")


@pytest.mark.parametrize("size", [1_000, 10_000])
def test_texts_have_the_size_asked_for(linear: ModuleType, size: int) -> None:
    kinds = linear.kinds()
    assert set(kinds) == KINDS
    for make in kinds.values():
        text = make(size)
        assert size - 8 <= len(text.encode()) <= size
        assert text.strip()


def test_texts_are_what_they_are_called(linear: ModuleType) -> None:
    kinds = linear.kinds()
    assert not any(c.isalpha() for c in kinds["no letters"](1000) + kinds["punctuation alone"](1000))
    assert len(kinds["one long word"](1000).split()) == 1
    assert {"\u00ad", "\u0301"} <= set(kinds["soft hyphens and stress"](1000))
    assert "\n\n" not in kinds["verse, one stanza"](1000)
    (lines_kind, lines), (word_kind, words) = linear.named().values()
    assert (lines.count("\n") + 1, len(words.split())) == (10_000, 100_000)
    assert {lines_kind, word_kind} <= KINDS


def test_work_that_is_not_linear_is_named(linear: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "ENOUGH", 0.0)
    monkeypatch.setattr(linear, "SIZES", (100, 1_000, 10_000))
    monkeypatch.setattr(linear, "named", dict)
    assert linear.report(lambda text: [[*text].count("x") for _ in text], "one long word") == ["one long word"]
    assert linear.report(lambda text: sum(1 for _ in range(20 * len(text))), "one long word") == []
