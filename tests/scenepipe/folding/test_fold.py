"""Folding: what was folded comes back byte by byte; what is damaged, too deep or too large is refused by name."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenepipe.errors import ArchiveError, InputError
from scenepipe.folding import fold as folding
from scenepipe.folding import repair
from scenepipe.folding.fold import Folded, fold, fold_chain, unfold, unfold_chain
from scenepipe.folding.repair import MAX_DEPTH

ODD = ("🙂", "👩‍👩‍👧‍👦", "\r\n", "\n", "\0", "и\u0306", "e\u0301\u0323", "\u00ad", "\ufeff", "\u202e", " ", "  ", "\t", "Ёж", "шаг", "тишина", "a", "9", "_", "\U0010fffd")  # fmt: skip
PIECES = st.one_of(st.sampled_from(ODD), st.text(st.characters(codec="utf-8"), max_size=6))
TEXTS = st.lists(PIECES, max_size=60).map("".join)


def odd_texts(count: int, seed: int = 6) -> Iterator[str]:
    """Texts of odd pieces, each with a repeated part."""
    draw = random.Random(seed)
    for _ in range(count):
        refrain = "".join(draw.choices(ODD, k=draw.randint(1, 8)))
        yield "".join(draw.choice((refrain, draw.choice(ODD))) for _ in range(draw.randint(1, 30)))


def changed(folded: Folded, **fields: Any) -> Folded:
    return folded.model_copy(update=fields)


def test_ten_thousand_odd_texts_come_back_byte_by_byte() -> None:
    saved = 0
    for text in odd_texts(10_000):
        folded = fold(text)
        assert unfold(Folded.from_json(folded.to_json())).encode() == text.encode()
        assert folded.sha256 == hashlib.sha256(text.encode()).hexdigest()
        saved += bool(folded.rules)
    assert saved > 5_000


@given(TEXTS)
def test_any_text_comes_back(text: str) -> None:
    assert unfold(fold(text)) == text


@given(
    st.lists(
        st.one_of(st.sampled_from(["а", "б", "", "не:а"]), st.text(st.characters(codec="utf-8"), max_size=3)),
        max_size=80,
    )
)
def test_any_chain_comes_back(chain: list[str]) -> None:
    assert unfold_chain(Folded.from_json(fold_chain(chain).to_json())) == tuple(chain)


@given(st.lists(st.sampled_from("абв"), max_size=200), st.integers(2, 5))
def test_folding_never_makes_more_of_it(chain: list[str], times: int) -> None:
    folded = fold_chain(chain * times)
    assert folded.length <= max(len(chain) * times, 1)
    assert all(len(rule) >= 2 for rule in folded.rules)


def long_chain(name: str) -> Sequence[str]:
    draw = random.Random(1)
    words = [f"слово{n}" for n in range(2_000)]
    if name == "any symbols":
        return draw.choices(words, k=100_000)
    if name == "common words":
        return [words[min(1_999, int(draw.paretovariate(0.8)))] for _ in range(100_000)]
    if name == "every beginning":
        return [str(m) for n in range(448) for m in range(n)]
    numbers = [str(n) for n in range(100_000)]
    return {"one symbol": ["а"] * 100_000, "twice the same": numbers[:50_000] * 2, "no repeat": numbers}[name]


@pytest.mark.parametrize(
    "name", ["one symbol", "any symbols", "common words", "twice the same", "every beginning", "no repeat"]
)
def test_a_chain_of_a_hundred_thousand_symbols_comes_back(name: str) -> None:
    chain = long_chain(name)
    assert len(chain) >= 100_000
    began = time.process_time()
    folded = fold_chain(chain)
    assert unfold_chain(folded) == tuple(chain)
    assert time.process_time() - began < 20.0
    assert folded.length <= len(chain)


def test_repeats_are_folded() -> None:
    assert fold_chain(["а"] * 100_000).length < 60
    assert fold_chain([str(n) for n in range(50_000)] * 2).length == 50_000 + 1 + 2
    verse = "Шаг в тишине, дрожь у входа.\r\n"
    assert len(fold(verse * 100).to_json()) < len(verse * 100) // 4


def test_a_rule_is_kept_only_when_it_saves() -> None:
    assert fold_chain("аб" * 2).rules == ()
    assert fold_chain("аб" * 3).rules == ((0, 1),)
    assert fold_chain("абвгабв").rules == ((0, 1, 2),)


def depth(folded: Folded) -> int:
    depths = [0] * len(folded.words)
    for rule in folded.rules:
        depths.append(1 + max(depths[reference] for reference in rule))
    return max(depths)


def test_rules_inside_rules_stay_within_the_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [str(m) for n in range(120) for m in range(n)]
    assert 8 < depth(fold_chain(steps)) <= MAX_DEPTH
    monkeypatch.setattr(repair, "MAX_DEPTH", 4)
    folded = fold_chain(steps)
    assert depth(folded) <= 4
    assert unfold_chain(folded) == tuple(steps)


# --- What is refused -------------------------------------------------------------------------------------------------


def bomb(levels: int, width: int = 2) -> Folded:
    """``width`` to the power of ``levels`` characters in a few bytes."""
    rules = tuple((level,) * width for level in range(levels))
    return Folded(kind="text", words=("а",), rules=rules, sequence=(levels,), size=width**levels, sha256="0" * 64)


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    with pytest.raises(ArchiveError, match=r"would unfold to 1073741824 characters, at most 10000000 are allowed"):
        unfold(bomb(30))
    with pytest.raises(ArchiveError, match="at most 7 are allowed"):
        unfold(fold("шаг " * 2), most=7)
    with pytest.raises(ArchiveError, match="at most 2 are allowed"):
        unfold_chain(fold_chain(["а", "б", "в"]), most=2)
    assert unfold(fold("шаг " * 2), most=8) == "шаг " * 2


def test_a_folding_that_is_too_deep_is_refused() -> None:
    deep = Folded(
        kind="text",
        words=("а",),
        rules=tuple((level, 0) for level in range(MAX_DEPTH + 1)),
        sequence=(MAX_DEPTH + 1,),
        size=MAX_DEPTH + 2,
        sha256=hashlib.sha256(("а" * (MAX_DEPTH + 2)).encode()).hexdigest(),
    )
    with pytest.raises(ArchiveError, match=f"deeper than {MAX_DEPTH}"):
        unfold(deep)
    shallow = changed(
        deep,
        rules=deep.rules[:-1],
        sequence=(MAX_DEPTH,),
        size=MAX_DEPTH + 1,
        sha256=hashlib.sha256(("а" * (MAX_DEPTH + 1)).encode()).hexdigest(),
    )
    assert unfold(shallow) == "а" * (MAX_DEPTH + 1)


def test_another_hash_is_refused() -> None:
    folded = fold("шаг и тишина")
    with pytest.raises(ArchiveError, match="damaged: what it unfolds to has SHA-256"):
        unfold(changed(folded, words=("шар", *folded.words[1:])))
    chain = fold_chain(["ab", "c"])
    with pytest.raises(ArchiveError, match="SHA-256"):
        unfold_chain(changed(chain, words=("a", "bc")))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sequence": (9,)}, "the sequence names 9, only 2 are known"),
        ({"rules": ((0, 1), (0, 3))}, "rule 1 names 3, only 3 are known before it"),
        ({"rules": ((0, 2),)}, "rule 0 names 2, only 2 are known before it"),
        ({"rules": ((0,),)}, "rule 0 has fewer than two parts"),
        ({"words": ("", "б")}, "an empty word"),
        ({"size": 3}, "says size 3 and would unfold to 2"),
        ({"kind": "chain", "words": ("а", "б")}, "unfold_chain"),
    ],
)
def test_a_damaged_folding_is_refused_by_name(fields: dict[str, Any], message: str) -> None:
    whole = Folded(
        kind="text", words=("а", "б"), sequence=(0, 1), size=2, sha256=hashlib.sha256("аб".encode()).hexdigest()
    )
    assert unfold(whole) == "аб"
    with pytest.raises(ArchiveError, match=message):
        unfold(changed(whole, **fields))


def test_a_text_is_no_chain() -> None:
    with pytest.raises(ArchiveError, match=r"this is the folding of a text, not of a chain; unfold\(\) unfolds it"):
        unfold_chain(fold("шаг"))


@given(TEXTS.filter(bool), st.data())
@settings(max_examples=60)
def test_no_changed_folding_gives_another_text(text: str, data: st.DataObject) -> None:
    folded = fold(text)
    sequence = list(folded.sequence)
    at = data.draw(st.integers(0, len(sequence) - 1))
    sequence[at] = data.draw(st.integers(0, len(folded.words) + len(folded.rules)))
    other = changed(folded, sequence=tuple(sequence))
    try:
        assert unfold(other) == text
    except ArchiveError:
        assert other.sequence != folded.sequence


@pytest.mark.parametrize(
    "data",
    [
        "",
        "{}",
        "[]",
        '{"folding": 2, "kind": "text", "words": [], "sequence": [], "size": 0, "sha256": ""}',
        '{"words": 1}',
    ],
)
def test_what_is_no_folding_is_refused(data: str) -> None:
    with pytest.raises(InputError, match="this is not a folding"):
        Folded.from_json(data)


def test_negative_references_and_unknown_keys_are_refused() -> None:
    good = fold("шаг").to_json()
    for bad in (good.replace("[0]", "[-1]"), good.replace('"kind"', '"code": "x", "kind"')):
        assert bad != good
        with pytest.raises(InputError, match="sequence|code"):
            Folded.from_json(bad)


def test_what_is_no_text_or_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="lone surrogate at character 1"):
        fold("a\ud800")
    with pytest.raises(InputError, match="lone surrogate"):
        fold_chain(["a", "\udfff"])
    monkeypatch.setattr(folding, "MAX_TEXT_CHARACTERS", 5)
    with pytest.raises(InputError, match="6 characters, at most 5"):
        fold("шаг шаг"[:6])
    with pytest.raises(InputError, match="6 symbols, at most 5"):
        fold_chain("абвгде")


def test_the_same_text_folds_the_same() -> None:
    text = "".join(odd_texts(20))
    assert fold(text) == fold(text)
