from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scenepipe.evaluation.copying import COPIED, Training
from scenepipe.scene import fold

texts = st.text(alphabet="абaбё \n", max_size=40)


def longest(reply: str, others: list[str]) -> int:
    """By looking at every stretch."""
    text = fold(reply)
    pieces = {text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)}
    return max((len(p) for p in pieces if any(p in fold(o) for o in others)), default=0)


@given(st.lists(texts, max_size=4), texts)
def test_the_longest_shared_stretch_is_found(others: list[str], reply: str) -> None:
    assert Training(others).longest_shared(reply) == longest(reply, others)


def test_a_copy_with_other_case_and_line_ends_is_a_copy() -> None:
    training = Training(["Тихая вода всё ещё помнит каждый камень, упавший в неё."])
    assert training.longest_shared("ТИХАЯ ВОДА\nвсе еще помнит каждый камень, и молчит") >= COPIED
    assert training.longest_shared("вода и камень") < 10
