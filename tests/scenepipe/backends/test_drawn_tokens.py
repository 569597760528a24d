"""Drawn tokens in step with the text that is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenepipe.backends.drawn_tokens import DrawnTokens, check_bias, check_logprobs
from scenepipe.contracts import DrawnToken
from scenepipe.errors import BackendError


def drawn(*pieces: str) -> DrawnTokens:
    tokens = DrawnTokens()
    for piece in pieces:
        tokens.add(DrawnToken(token=piece, logprob=-1.0))
    return tokens


def told(tokens: DrawnTokens, text: str) -> list[str]:
    return [token.token for token in tokens.said(text)]


def test_a_token_is_told_with_the_piece_in_which_it_ends() -> None:
    tokens = drawn("ab", "cde", "f")
    assert [told(tokens, piece) for piece in ("a", "bc", "def")] == [[], ["ab"], ["cde", "f"]]


def test_what_is_never_said_is_never_told() -> None:
    tokens = drawn("ab", "cd", "ef")
    assert told(tokens, "abc") == ["ab"]
    assert told(tokens, "") == []


def test_the_first_tokens_of_a_shared_character_come_no_later_than_it() -> None:
    assert told(drawn("", "", "🙂", "a"), "🙂") == ["", "", "🙂"]


def test_a_token_that_ended_the_reply_can_be_left_out() -> None:
    tokens = drawn("a", "")
    tokens.forget()
    assert told(tokens, "a") == ["a"]
    tokens.forget()


@given(st.lists(st.text(max_size=4), max_size=8), st.data())
def test_however_a_text_is_cut_every_token_is_told_once_in_order(pieces: list[str], data: st.DataObject) -> None:
    text, tokens, heard, at = "".join(pieces), drawn(*pieces), [], 0
    while at < len(text):
        size = data.draw(st.integers(1, len(text) - at))
        heard += told(tokens, text[at : at + size])
        at += size
        assert text[:at].startswith("".join(heard))
    assert heard + told(tokens, "") == pieces


def test_more_alternatives_than_there_are_and_foreign_ids_are_refused() -> None:
    check_logprobs(None, 0, "e")
    check_logprobs(5, 5, "e")
    with pytest.raises(BackendError, match="e tells 5 alternatives of a token and 6 were asked for; lower logprobs"):
        check_logprobs(6, 5, "e")
    with pytest.raises(BackendError, match="e tells no probabilities"):
        check_logprobs(0, 0, "e")
    check_bias({9: 1.0}, 10, "e")
    with pytest.raises(BackendError, match="logit_bias names token 10 and this model's tokens are 0 to 9"):
        check_bias({3: 1.0, 10: 1.0}, 10, "e")
