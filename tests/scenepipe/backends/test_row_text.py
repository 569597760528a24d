"""Text of a row: whole characters, nothing of a stop string, nothing lost."""

from __future__ import annotations

import pytest

tokenizers = pytest.importorskip("tokenizers")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from scenepipe.backends.row_text import RowText  # noqa: E402


def bytewise() -> tokenizers.Tokenizer:
    """Every byte a token: characters of two to four tokens."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    made = tokenizers.Tokenizer(tokenizers.models.BPE({letter: n for n, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    return made


BYTES = bytewise()
TEXT = st.text(st.sampled_from("ab \nшаг🙂e\u0301"), max_size=12)


def cut(text: str, stop: list[str]) -> tuple[str, bool]:
    """The text up to the stop string that is complete first; of two that end together, up to the longer."""
    for end in range(1, len(text) + 1):
        places = [text[:end].find(each) for each in stop if each and each in text[:end]]
        if places:
            return text[: min(places)], True
    return text, False


@given(text=TEXT, stop=st.lists(st.text(st.sampled_from("ab ша🙂"), max_size=3), max_size=3))
def test_what_is_said_is_the_text_up_to_the_first_stop_string(text: str, stop: list[str]) -> None:
    row, said = RowText(BYTES, stop), ""
    for token in BYTES.encode(text).ids:
        piece = row.add(token)
        assert "\ufffd" not in piece
        said += piece
        if row.stopped:
            break
    assert (said + row.rest(), row.stopped) == cut(text, stop)


@given(text=st.text(st.sampled_from("a шаг🙂"), max_size=12))
def test_only_what_may_become_a_stop_string_is_held_back(text: str) -> None:
    row, said, given_ = RowText(BYTES, ["ab"]), "", ""
    for letter in text:
        for token in BYTES.encode(letter).ids:
            said += row.add(token)
        given_ += letter
        assert said == (given_[:-1] if given_.endswith("a") else given_)


def test_bytes_of_an_unfinished_character_are_left_out() -> None:
    row = RowText(BYTES)
    assert [row.add(token) for token in BYTES.encode("aш").ids[:2]] == ["a", ""]
    assert row.rest() == ""


def test_special_tokens_are_not_said() -> None:
    made = bytewise()
    made.add_special_tokens(["<end>"])
    row = RowText(made)
    assert "".join(row.add(token) for token in made.encode("a<end>b").ids) == "ab"


def test_a_space_at_the_start_of_a_reply_is_kept_after_a_prompt() -> None:
    """Decoders of the Llama kind drop the first space of a text; a reply is not the first."""
    words = {f"\u2581{word}": number for number, word in enumerate(("a", "b"))}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="\u2581a"))
    made.decoder = tokenizers.decoders.Metaspace(prepend_scheme="always")
    assert RowText(made).add(1) == "b"
    assert RowText(made, before=[0]).add(1) == " b"


def test_the_piece_is_what_a_token_added_held_back_or_not() -> None:
    row = RowText(BYTES, ["шx"])
    pieces = []
    for token in BYTES.encode("aшb").ids:
        row.add(token)
        pieces.append(row.piece)
    assert pieces == ["a", "", "ш", "b"]


def test_an_alternative_is_what_it_would_have_added() -> None:
    words = {f"\u2581{word}": number for number, word in enumerate(("a", "b"))}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="\u2581a"))
    made.decoder = tokenizers.decoders.Metaspace(prepend_scheme="always")
    row = RowText(made, before=[0])
    assert (row.would_be(1), row.add(0), row.would_be(1)) == (" b", " a", " b")
    bytewise_row, (first, *_) = RowText(BYTES), BYTES.encode("ш").ids
    assert bytewise_row.would_be(first) == "\ufffd"
