"""Draw one token for each row of a batch, each row by its own settings and its own random numbers.

The order is llama.cpp's, so that a pipeline's settings mean the same on both engines: bias, repeat penalty over the
last 64 tokens of prompt and reply, presence and frequency penalties over the reply, then top-k, top-p, min-p, and the
temperature last, on what is left. Importing this module imports torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from scenepipe.sampling import Sampling

PENALTY_WINDOW = 64
_SHORTLIST = 512


class Drawn(Protocol):
    """What is drawn for: settings, random numbers, the tokens so far, and what a grammar forbids (None: nothing)."""

    sampling: Sampling
    random: torch.Generator
    reply: list[int]

    def recent(self, count: int) -> Sequence[int]: ...

    def forbidden(self) -> torch.Tensor | None: ...


def draw(logits: torch.Tensor, rows: Sequence[Drawn]) -> list[int]:
    """One token id for each row.

    Args:
        logits: of shape [rows, vocabulary], on any device; changed in place where a row has a bias, a penalty or a grammar.
    """
    for row, values in zip(rows, logits, strict=True):
        _add_bias(values, row.sampling.logit_bias)
        _penalise(values, row)
        _penalise_said(values, row)
        if (forbidden := row.forbidden()) is not None:
            values[: len(forbidden)].masked_fill_(forbidden.to(values.device), float("-inf"))
            values[len(forbidden) :] = float("-inf")
    tokens = [0] * len(rows)
    for kind, members in _groups(rows).items():
        chosen = logits if len(members) == len(rows) else logits[members]
        for member, token in zip(members, _METHODS[kind](chosen, [rows[i] for i in members]), strict=True):
            tokens[member] = token
    return tokens


def _groups(rows: Sequence[Drawn]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        settings = row.sampling
        kind = "greedy" if settings.temperature == 0 else "short" if 0 < settings.top_k <= _SHORTLIST else "open"
        groups.setdefault(kind, []).append(number)
    return groups


def _add_bias(values: torch.Tensor, bias: dict[int, float]) -> None:
    if bias:
        index = torch.tensor(list(bias), device=values.device)
        values[index] += torch.tensor(list(bias.values()), device=values.device, dtype=values.dtype)


def _penalise_said(values: torch.Tensor, row: Drawn) -> None:
    """Subtract from the logits of the reply's tokens: once for being there, and for each time that they are."""
    presence, frequency = row.sampling.presence_penalty, row.sampling.frequency_penalty
    if (presence or frequency) and (counts := Counter(row.reply)):
        index = torch.tensor(list(counts), device=values.device)
        amounts = presence + frequency * torch.tensor(list(counts.values()), dtype=torch.float32)
        values[index] -= amounts.to(values.device, values.dtype)


def _penalise(values: torch.Tensor, row: Drawn) -> None:
    """Divide positive and multiply negative logits of recent tokens (Keskar et al. 2019, arXiv 1909.05858)."""
    penalty = row.sampling.repeat_penalty
    if penalty == 1.0 or not (recent := row.recent(PENALTY_WINDOW)):
        return
    index = torch.tensor(sorted(set(recent)), device=values.device)
    held = values[index]
    values[index] = torch.where(held > 0, held / penalty, held * penalty)


def _greedy(logits: torch.Tensor, rows: Sequence[Drawn]) -> list[int]:
    return logits.argmax(-1).tolist()  # type: ignore[no-any-return]


def _short(logits: torch.Tensor, rows: Sequence[Drawn]) -> list[int]:
    """Rows with a top-k: everything else happens among so many candidates, in one go.

    All take the largest k and each counts its own: a row's candidates do not depend on its neighbours.
    """
    largest = min(max(row.sampling.top_k for row in rows), logits.shape[-1])
    values, ids = (part.cpu() for part in logits.topk(largest))
    values = values.float()
    rank = torch.arange(largest)
    values = values.masked_fill(rank >= _column(rows, lambda s: s.top_k), float("-inf"))
    return _pick(values, torch.logsumexp(values, -1, keepdim=True), ids, rows)


def _open(logits: torch.Tensor, rows: Sequence[Drawn]) -> list[int]:
    """Rows without a top-k, one by one: a short list where top-p or min-p provably ends within it, else everything."""
    return [_open_one(values, row) for values, row in zip(logits, rows, strict=True)]


def _open_one(values: torch.Tensor, row: Drawn) -> int:
    values = values.float()
    norm = torch.logsumexp(values, -1, keepdim=True).cpu()
    limit = row.sampling.top_k or len(values)
    for count in (min(_SHORTLIST, len(values)), min(limit, len(values))):
        top, ids = (part.cpu().unsqueeze(0) for part in values.topk(count))
        if count >= limit or _ends_within(torch.exp(top[0] - norm), row.sampling):
            break
    if row.sampling.top_k:
        norm = torch.logsumexp(top, -1, keepdim=True)
    return _pick(top, norm, ids, [row])[0]


def _ends_within(probabilities: torch.Tensor, settings: Sampling) -> bool:
    """Whether a descending short list holds everything that top-p or min-p would keep of the whole vocabulary."""
    if settings.top_k:
        return False
    kept = float(probabilities.sum()) >= settings.top_p and settings.top_p < 1.0
    return kept or bool(probabilities[-1] < settings.min_p * probabilities[0])


def _pick(values: torch.Tensor, norm: torch.Tensor, ids: torch.Tensor, rows: Sequence[Drawn]) -> list[int]:
    """Draw among candidates in descending order; values: [rows, candidates], norm: the log of all they are part of."""
    probabilities = torch.exp(values - norm)
    before = probabilities.cumsum(-1) - probabilities
    top_p = _column(rows, lambda s: s.top_p)
    keep = (before < top_p) | (top_p >= 1.0)  # sums of float32 reach 1 before the end of a long tail
    keep &= probabilities >= probabilities[:, :1] * _column(rows, lambda s: s.min_p)
    keep[:, 0] = True
    spread = (values - values[:, :1]) / _column(rows, lambda s: s.temperature)
    mass = torch.exp(spread.double()).masked_fill(~keep, 0.0).cumsum(-1)
    points = torch.stack([torch.rand(1, generator=row.random, dtype=torch.float64) for row in rows])
    place = (mass <= points * mass[:, -1:]).sum(-1, keepdim=True).clamp(max=values.shape[-1] - 1)
    return ids.gather(1, place)[:, 0].tolist()  # type: ignore[no-any-return]


def _column(rows: Sequence[Drawn], value: Callable[[Sampling], float]) -> torch.Tensor:
    return torch.tensor([[value(row.sampling)] for row in rows])


_METHODS: dict[str, Callable[[torch.Tensor, Sequence[Drawn]], list[int]]] = {
    "greedy": _greedy,
    "short": _short,
    "open": _open,
}
