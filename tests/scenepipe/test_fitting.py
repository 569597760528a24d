"""What fits into a prompt: whole, or cut at a word; the newest turns."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from scenepipe.fitting import ELLIPSIS, LONGEST_PIECE, fitting, newest


async def words(text: str) -> int:
    return len(text.split())


async def characters(text: str) -> int:
    return len(text)


def fit(text: str, tokens: int) -> str | None:
    return asyncio.run(fitting(text, tokens, words))


def test_a_text_that_fits_is_left_as_it_is() -> None:
    assert fit("  два  слова ", 2) == "  два  слова "


def test_one_that_is_too_long_is_cut_at_a_word() -> None:
    assert fit("Я шёл, и шёл, и пришёл.", 3) == "Я шёл, и…"
    assert fit("Я шёл, и шёл, и пришёл.", 2) == "Я шёл…"
    assert fit("Я шёл", 0) is None
    assert fit("", 0) == ""


def test_where_not_a_word_fits_there_is_nothing() -> None:
    assert asyncio.run(fitting("длинноеслово", 5, characters)) is None
    assert asyncio.run(fitting("да, длинноеслово", 5, characters)) == "да…"


@settings(deadline=None)
@given(st.text("аб ,.\n", max_size=80), st.integers(0, 40))
def test_what_is_shown_begins_the_text_and_fits(text: str, tokens: int) -> None:
    shown = asyncio.run(fitting(text, tokens, characters))
    if len(text) <= tokens:
        assert shown == text
    elif shown is not None:
        assert len(shown) <= tokens
        assert shown.endswith(ELLIPSIS)
        assert " ".join(text.split()).startswith(shown.removesuffix(ELLIPSIS))


def test_a_text_of_megabytes_is_counted_in_small_parts() -> None:
    asked: list[int] = []

    async def count(text: str) -> int:
        asked.append(len(text))
        return len(text.split())

    shown = asyncio.run(fitting("слово " * 1_000_000, 10, count))
    assert shown == " ".join(["слово"] * 10) + ELLIPSIS
    assert max(asked) <= 10 * LONGEST_PIECE + 1


def test_the_newest_fit_and_leave_no_gap() -> None:
    def kept(tokens: int) -> list[str]:
        return list(asyncio.run(newest(["a", "bb bb bb", "c", "d d"], tokens, words)))

    assert [kept(n) for n in (0, 1, 2, 3, 5, 6, 7)] == [
        [], [], ["d d"], ["c", "d d"], ["c", "d d"], ["bb bb bb", "c", "d d"], ["a", "bb bb bb", "c", "d d"]
    ]  # fmt: skip
