"""Drawing: against a plain reading of the same rules over the whole vocabulary, one row at a time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from scenepipe.backends import sampler  # noqa: E402
from scenepipe.backends.sampler import draw  # noqa: E402
from scenepipe.sampling import Sampling  # noqa: E402

VOCABULARY = 700


@dataclass
class OneRow:
    sampling: Sampling
    seed: int = 0
    tokens: Sequence[int] = ()
    mask: Any = None
    reply: list[int] = field(default_factory=list)
    random: Any = field(init=False)

    def __post_init__(self) -> None:
        self.random = torch.Generator().manual_seed(self.seed)

    def recent(self, count: int) -> Sequence[int]:
        return self.tokens[-count:]

    def forbidden(self) -> Any:
        return self.mask


def kept_plainly(values: list[float], row: OneRow) -> dict[int, float]:
    """Candidates with their final probabilities, by the rules as they are written down."""
    values = list(values)
    for token, amount in row.sampling.logit_bias.items():
        values[token] += amount
    for token in set(row.tokens[-64:]):
        penalty = row.sampling.repeat_penalty
        values[token] = values[token] / penalty if values[token] > 0 else values[token] * penalty
    for token, count in Counter(row.reply).items():
        values[token] -= row.sampling.presence_penalty + count * row.sampling.frequency_penalty
    order = sorted(range(len(values)), key=lambda n: -values[n])
    if row.sampling.temperature == 0:
        return {order[0]: 1.0}
    order = order[: row.sampling.top_k or len(order)]
    total = sum(math.exp(values[n]) for n in order)
    kept, mass = [], 0.0
    for n in order:
        if kept and (mass >= row.sampling.top_p or math.exp(values[n] - values[order[0]]) < row.sampling.min_p):
            break
        kept.append(n)
        mass += math.exp(values[n]) / total
    weights = {n: math.exp((values[n] - values[order[0]]) / row.sampling.temperature) for n in kept}
    return {n: weight / sum(weights.values()) for n, weight in weights.items()}


def drawn_plainly(values: list[float], row: OneRow) -> int:
    kept = kept_plainly(values, row)
    if row.sampling.temperature == 0:
        return next(iter(kept))
    point = float(torch.rand(1, generator=row.random, dtype=torch.float64))
    mass = 0.0
    for token, share in kept.items():
        mass += share
        if point < mass:
            return token
    return token


SAMPLINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.3, 0.7, 1.0, 2.0, 5.0]),
    top_p=st.sampled_from([0.05, 0.5, 0.9, 0.95, 1.0]),
    top_k=st.sampled_from([0, 1, 5, 40, 600, 5000]),
    min_p=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    repeat_penalty=st.sampled_from([0.8, 1.0, 1.3]),
    presence_penalty=st.sampled_from([-1.0, 0.0, 1.5]),
    frequency_penalty=st.sampled_from([-0.3, 0.0, 0.7]),
    logit_bias=st.sampled_from([{}, {3: -100.0, 4: 100.0}, dict.fromkeys(range(90, 130), 2.5)]),
)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(SAMPLINGS, st.integers(0, 9), st.sampled_from([0.5, 2.0, 6.0])), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
)
def test_every_row_draws_what_the_rules_say(rows: list[tuple[Sampling, int, float]], seed: int) -> None:
    source = torch.Generator().manual_seed(seed)
    logits = torch.stack([torch.randn(VOCABULARY, generator=source) * spread for *_, spread in rows])
    tokens = torch.randint(0, VOCABULARY, (90,), generator=source).tolist()
    reply = tokens[-20:] * 2

    def made() -> list[OneRow]:
        return [OneRow(s, n, tokens, reply=reply) for s, n, _ in rows]

    expected = [drawn_plainly(v.tolist(), row) for v, row in zip(logits, made(), strict=True)]
    assert draw(logits.clone(), made()) == expected


@pytest.mark.parametrize("sampling", [Sampling(temperature=0.8, top_k=12, top_p=0.9, min_p=0.0), Sampling(top_k=0)])
def test_frequencies_are_the_probabilities(sampling: Sampling) -> None:
    values = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(5)) * 3
    row, count = OneRow(sampling, 3), 4000
    expected = kept_plainly(values.tolist(), row)
    told = Counter(token for _ in range(count // 50) for token in draw(values.repeat(50, 1), [row] * 50))
    assert set(told) <= set(expected)
    for token, share in expected.items():
        assert told[token] / count == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / count) + 1e-3)


@pytest.mark.parametrize(
    ("option", "least"),
    [({"top_p": 0.3}, 5), ({"top_k": 3}, 5), ({"min_p": 0.6}, 5), ({"temperature": 0.05}, 5)],
)
def test_each_setting_narrows_what_is_drawn(option: dict[str, Any], least: int) -> None:
    free = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0}
    values = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(5)) * 2
    kinds = [
        len({draw(values.unsqueeze(0).clone(), [OneRow(Sampling(**{**free, **more}), n)])[0] for n in range(150)})
        for more in ({}, option)
    ]
    assert kinds[0] > kinds[1] + least


def test_a_penalty_makes_recent_tokens_rarer_and_old_ones_not() -> None:
    values = torch.zeros(1, VOCABULARY)
    values[0, 7], values[0, 8] = 2.0, 1.9
    greedy = Sampling(temperature=0.0, repeat_penalty=1.2)
    assert draw(values.clone(), [OneRow(greedy, tokens=[7])]) == [8]
    assert draw(values.clone(), [OneRow(greedy, tokens=[7] + [9] * 64)]) == [7]
    assert draw(-values.clone() - 1, [OneRow(greedy, tokens=list(range(9, 73)))])[0] not in range(9, 73)


@pytest.mark.parametrize(
    ("setting", "reply", "expected"),
    [
        ({"presence_penalty": 0.5}, [7], 8),
        ({"presence_penalty": 0.5}, [7, 8, 7, 7], 7),
        ({"presence_penalty": 0.5}, [], 7),
        ({"frequency_penalty": 0.04}, [7, 7], 7),
        ({"frequency_penalty": 0.04}, [7, 7, 7], 8),
        ({"logit_bias": {9: 2.5}}, [], 9),
        ({"logit_bias": {7: -100.0}}, [], 8),
    ],
)
def test_penalties_count_the_reply_alone(setting: dict[str, Any], reply: list[int], expected: int) -> None:
    """Token 7 is 0.1 likelier than 8; the prompt has both, which says nothing."""
    values = torch.zeros(1, VOCABULARY)
    values[0, 7], values[0, 8] = 2.0, 1.9
    row = OneRow(Sampling(temperature=0.0, **setting), tokens=[7, 8, *reply], reply=reply)
    assert draw(values.clone(), [row]) == [expected]


def test_a_mask_is_kept_also_where_it_is_shorter_than_the_logits() -> None:
    mask = torch.ones(600, dtype=torch.bool)
    mask[[3, 5]] = False
    values = torch.randn(2, VOCABULARY)
    rows = [OneRow(Sampling(temperature=5.0, top_k=0, top_p=1.0, min_p=0.0), mask=mask), OneRow(Sampling())]
    told = {draw(values.clone(), rows)[0] for _ in range(40)}
    assert told == {3, 5}


def test_the_short_list_is_no_shortcut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a top-k the short list is used only where it is enough: the same seeds draw the same without it."""
    values = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(5)) * 3
    wide = Sampling(temperature=1.0, top_k=0, top_p=0.999, min_p=0.0)
    narrow = Sampling(temperature=1.0, top_k=0, top_p=0.9, min_p=0.05)
    told = []
    for size in (8, 512, VOCABULARY):
        monkeypatch.setattr(sampler, "_SHORTLIST", size)
        told.append([draw(values.unsqueeze(0).clone(), [OneRow(s, n)]) for s in (wide, narrow) for n in range(40)])
    assert told[0] == told[1] == told[2]


def test_bfloat16_logits_are_drawn_from() -> None:
    values = torch.randn(4, VOCABULARY).to(torch.bfloat16)
    assert draw(values.clone(), [OneRow(Sampling(temperature=0.0))] * 4) == values.argmax(-1).tolist()
    assert all(0 <= token < VOCABULARY for token in draw(values, [OneRow(Sampling(), n) for n in range(4)]))
