"""Normal form C: the library's, in linear time."""

from __future__ import annotations

import re
import sys
import time
import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st

from scenepipe.normal_form import nfc

MARKS = [mark for mark in map(chr, range(0x300, 0x370)) if unicodedata.combining(mark)]
ODD = "аеи\u00e9\u1f82=<\u0344\u0f73\u0f75\u0f81\u0345\u0338\u1100\u1161\u11a8가\u0e33-…🙂\u3099か"
RUNS = st.lists(st.one_of(st.sampled_from([*ODD, *MARKS]), st.characters(codec="utf-8")), max_size=120).map("".join)


@given(RUNS)
@example("а" + "".join(reversed(MARKS)) * 3)
@example("\u1f82" + "\u0f73\u0344" * 40)
@example("-" * 40 + "\u0301" + "\u0323" * 40)
def test_it_is_what_the_library_says(text: str) -> None:
    assert nfc(text) == unicodedata.normalize("NFC", text)


def test_no_mark_is_outside_a_run() -> None:
    for character in map(chr, range(sys.maxunicode + 1)):
        first = unicodedata.normalize("NFD", character)[0]
        if unicodedata.combining(character) or unicodedata.combining(first):
            assert re.fullmatch(r"[^\w\s]", character), hex(ord(character))


def test_many_marks_on_one_letter_are_linear() -> None:
    heavy = "".join(sorted(MARKS, key=unicodedata.combining, reverse=True))
    few, many = ("а" + (heavy * (count // len(heavy) + 1))[:count] for count in (20_000, 400_000))
    start = time.process_time()
    assert nfc(few) == unicodedata.normalize("NFC", few)
    nfc(many)
    assert time.process_time() - start < 5, "unordered, 400,000 marks take minutes"
