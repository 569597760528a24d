from __future__ import annotations

import numpy as np
import pytest

from scenepipe.evaluation.judge import Judge, train_judge

SEA = [
    f"The {a} pulls at the {b}." for a in ("wave", "anchor", "tide", "rope") for b in ("shore", "hull", "mast", "net")
]
BREAD = [
    f"Warm {a} under the\n{b}." for a in ("dough", "flour", "crust", "yeast") for b in ("cloth", "hand", "pan", "lid")
]


@pytest.fixture(scope="module")
def judge() -> Judge:
    return train_judge(SEA[:12] + BREAD[:12], ["sea"] * 12 + ["bread"] * 12, steps=40)


def test_it_tells_texts_apart_that_it_has_not_seen(judge: Judge) -> None:
    assert judge.names == ("bread", "sea")
    assert judge.named(SEA[12:] + BREAD[12:]) == ["sea"] * 4 + ["bread"] * 4
    assert judge.named([]) == []


def test_probabilities_sum_to_one(judge: Judge) -> None:
    told = judge.log_probabilities([*SEA, "", "\n", "ни слова оттуда"])
    assert np.exp(told).sum(axis=1) == pytest.approx(np.ones(len(SEA) + 3))


def test_a_text_is_judged_alike_alone_and_among_others(judge: Judge) -> None:
    together = judge.log_probabilities(SEA)
    assert judge.log_probabilities([SEA[3]])[0] == pytest.approx(together[3])


def test_line_ends_are_heard_and_case_is_not() -> None:
    verse = train_judge(
        ["one\ntwo", "three\nfour", "one two", "three four"] * 3, ["verse", "verse", "prose", "prose"] * 3
    )
    assert verse.named(["FIVE\nsix", "Five six"]) == ["verse", "prose"]


def test_one_register_cannot_be_told_apart() -> None:
    with pytest.raises(ValueError, match="tells registers apart"):
        train_judge(["a"], ["poet"])
