"""A register's rows as token ids and labels: the prompt of its kind is given, the reply or the scene alone is learnt."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from scenepipe.errors import RegisterError
from scenepipe.register import prompt_and_answer

if TYPE_CHECKING:
    from scenepipe.register import Row as Example

IGNORED = -100
"""Label of a token that is not learnt (torch.nn.functional.cross_entropy)."""


class Row(NamedTuple):
    """Token ids and labels of one example, of equal length."""

    ids: list[int]
    labels: list[int]

    @property
    def learnt(self) -> int:
        """Tokens that carry loss."""
        return sum(label != IGNORED for label in self.labels)


def encode_row(tokenizer: Any, example: Example, echo: str | None = None) -> Row:
    """One example; labels are -100 on the prompt, so only what is answered and the end of text are learnt."""
    prompt, answer = prompt_and_answer(example, echo)
    head = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    tail = tokenizer(" " + answer, add_special_tokens=False)["input_ids"]
    start = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []
    ids = [*start, *head, *tail, tokenizer.eos_token_id]
    return Row(ids, [IGNORED] * (len(start) + len(head)) + [*tail, tokenizer.eos_token_id])


def encode_rows(
    tokenizer: Any, examples: Sequence[Example], *, max_tokens: int, echo_share: float = 0.0, seed: int = 0
) -> list[Row]:
    """Every example, with the proof that labels remain.

    Args:
        echo_share: share of rows whose prompt carries the text of another row as an echo.

    Raises:
        RegisterError: rows without a token to learn, or longer than ``max_tokens``; names them.
    """
    draw = random.Random(seed)
    texts = [example.text for example in examples]
    rows = [encode_row(tokenizer, e, draw.choice(texts) if draw.random() < echo_share else None) for e in examples]
    silent = [e.id for e, row in zip(examples, rows, strict=True) if row.learnt < 2]
    if silent:
        raise RegisterError(
            f"rows without a reply to learn from: {_some(silent)}; every label of theirs would be masked. "
            "Write their replies, or take them out"
        )
    long = [f"{e.id} ({len(row.ids)})" for e, row in zip(examples, rows, strict=True) if len(row.ids) > max_tokens]
    if long:
        raise RegisterError(f"rows longer than max_tokens: {max_tokens}: {_some(long)}; shorten them, or raise it")
    return rows


def _some(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
