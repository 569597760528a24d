"""Cutting: nothing is lost, nothing is too long, and cuts fall where a reader would make them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenepipe.documents.cut import Part, cut
from scenepipe.documents.markup import blocks, title_of


def texts(text: str, most: int, **options: object) -> list[str]:
    return [text[part.span[0] : part.span[1]] for part in cut(text, most=most, **options)]  # type: ignore[arg-type]


def whole(text: str, parts: list[Part]) -> str:
    """Parts and what stands between them, put together again; that is white space alone."""
    found, end = "", 0
    for part in parts:
        between = text[end : part.span[0]]
        assert not between.replace("\ufeff", "").strip()
        found += between + text[part.span[0] : part.span[1]]
        end = part.span[1]
    assert not text[end:].replace("\ufeff", "").strip()
    return found + text[end:]


def words(text: str) -> int:
    return len(text.split())


WRITTEN = st.lists(
    st.sampled_from([
        "Слово", "word", "т.", "е.", ".", "!", "…", "»", " ", "  ", "\n", "\r\n", "\r", "\n\n", "\u2028", "\t", "\0", "\ufeff",
        "# ", "## A\n", "---\n", "===\n", "```\n", "~~~\n", "title: x\n", "- ", "e\u0301", "👩\u200d👩\u200d👧", "🏽", "длинноеслово" * 5,
    ]),
    max_size=40,
).map("".join)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(WRITTEN | st.text(max_size=60), st.integers(1, 60), st.booleans())
def test_parts_and_what_stands_between_them_give_the_text_back(text: str, most: int, markdown: bool) -> None:
    parts = cut(text, most=most, markdown=markdown)
    assert whole(text, parts) == text
    for part in parts:
        said = text[part.span[0] : part.span[1]]
        assert said
        assert said == said.strip()
        assert len(said) <= most


@settings(deadline=None, max_examples=60)
@given(WRITTEN, st.integers(1, 9), st.booleans())
def test_any_measure_holds(text: str, most: int, markdown: bool) -> None:
    parts = cut(text, most=most, measure=words, markdown=markdown)
    assert whole(text, parts) == text
    assert all(words(text[part.span[0] : part.span[1]]) <= most for part in parts)


def test_paragraphs_that_fit_together_stay_together() -> None:
    text = "Один.\n\nДва.\r\n\r\n\r\nТри четыре пять.\n"
    assert texts(text, 12) == ["Один.\n\nДва.", "Три четыре", "пять."]
    assert texts(text, 100) == [text.strip()]


def test_a_long_paragraph_is_cut_at_sentences() -> None:
    text = "Он шёл. Она ждала! «Почему?» Никто… не знал. Вечер."
    assert texts(text, 20) == ["Он шёл. Она ждала!", "«Почему?»", "Никто… не знал.", "Вечер."]
    assert texts(text, 31) == ["Он шёл. Она ждала! «Почему?»", "Никто… не знал. Вечер."]


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [
        ("Жил на ул. Мира в г. Туле. Потом уехал.", 30, ["Жил на ул. Мира в г. Туле.", "Потом уехал."]),
        ("А. С. Пушкин писал. Mr. Smith read.", 21, ["А. С. Пушкин писал.", "Mr. Smith read."]),
        ("It was 5 p.m. sharp. He left.", 24, ["It was 5 p.m. sharp.", "He left."]),
        ("и т. д. и т. п. Конец.", 16, ["и т. д. и т. п.", "Конец."]),
    ],
)
def test_a_sentence_does_not_end_after_an_abbreviation(text: str, most: int, expected: list[str]) -> None:
    assert texts(text, most) == expected


def test_verse_without_full_stops_is_cut_at_its_lines() -> None:
    assert texts("тишина у входа\nшаг за шагом\nжар в груди", 28) == ["тишина у входа\nшаг за шагом", "жар в груди"]


def test_a_long_word_is_cut_but_never_a_character() -> None:
    assert texts("абвгдежз", 3) == ["абв", "где", "жз"]
    assert texts("e\u0301" * 4, 3) == ["e\u0301"] * 4
    family = "👩\u200d👩\u200d👧"
    assert texts(family * 3, 6) == [family] * 3
    assert texts("👍🏽" * 3, 3) == ["👍🏽"] * 3
    assert texts("a" + "\u0301" * 9, 4) == ["a\u0301\u0301\u0301", "\u0301" * 4, "\u0301" * 2]


def test_markdown_headings_begin_parts_and_name_what_follows() -> None:
    text = "# Книга\n\nНачало.\n\n## Вход ##\nТишина.\n\nЕщё.\n\nПодзаголовок\n---\nКонец.\n\n### \nБез имени."
    found = [(text[p.span[0] : p.span[1]], p.heading) for p in cut(text, most=100, markdown=True)]
    assert found == [
        ("# Книга\n\nНачало.", "Книга"),
        ("## Вход ##\nТишина.\n\nЕщё.", "Вход"),
        ("Подзаголовок\n---\nКонец.", "Подзаголовок"),
        ("### \nБез имени.", None),
    ]
    assert [p.heading for p in cut(text, most=10, markdown=True)][:4] == ["Книга", "Книга", "Вход", "Вход"]
    assert all(part.heading is None for part in cut(text, most=100))


def test_headings_without_a_text_stay_with_the_next() -> None:
    assert texts("# A\n\n## B\n\nтекст\n\n# C", 40, markdown=True) == ["# A\n\n## B\n\nтекст", "# C"]


def test_code_is_one_block_without_sentences_or_headings() -> None:
    text = "До.\n\n```py\n# не заголовок\n\nx = 1. \nY = 2\n```\n\nПосле."
    found = list(blocks(text, markdown=True))
    assert [text[b.span[0] : b.span[1]] for b in found] == [
        "До.",
        "```py\n# не заголовок\n\nx = 1. \nY = 2\n```",
        "После.",
    ]
    assert [b.code for b in found] == [False, True, False]
    assert [b.level for b in found] == [0, 0, 0]
    assert texts("```\nx = 1. Y\nz\n```", 9, markdown=True) == ["```", "x = 1. Y", "z\n```"]
    assert len(list(blocks("~~~~\n```\n~~~\nтекст", markdown=True))) == 1


def test_a_title_is_the_front_matters_or_the_first_headings() -> None:
    assert title_of('---\ntitle: "Книга входа"\ntags: x\n---\n# Другое') == "Книга входа"
    assert title_of("---\r\ntitle: Book\r\n...\r\n") == "Book"
    assert title_of("\ufeff# Первая\n# Вторая") == "Первая"
    assert title_of("Книга\n=====\nтекст") == "Книга"
    assert title_of("## Не первого уровня\n\nтекст") is None
    assert title_of("---\nлиния, не заголовок\n\ntitle: нет") is None
    assert title_of("") is None


@pytest.mark.parametrize(
    "text",
    [
        "." * 400_000,
        "." * 200_000 + "»" * 200_000,
        " " * 400_000 + "x",
        "# a" + " " * 400_000 + "b",
        "---\ntitle: " + " x" * 200_000 + "\n---\n",
        "`" * 400_000,
        "слово " * 60_000,
        "д" * 400_000,
        "\u0301" * 400_000,
        "```\n" * 30_000,
        "a\n---\n" * 30_000,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_no_text_takes_long(text: str) -> None:
    begun = time.process_time()
    parts = cut(text, most=400, markdown=True)
    title_of(text)
    assert time.process_time() - begun < 8
    assert whole(text, parts) == text
