"""Weights of the user's own must be the very model that the registers were trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from scenepipe.errors import BackendError
from scenepipe.models.catalogue import LocalModel
from scenepipe.models.gguf_header import read_header
from scenepipe.models.vocabulary import facts

TURN_ENDS = ("<|eot_id|>", "<|im_end|>", "<end_of_turn>", "<|endoftext|>")
"""Tokens that end a turn by their names, as llama.cpp knows them."""
_MOST_RENAMED = 0.01
"""Share of tokens whose names may differ: converters rename unused and control tokens."""


def check_sizes(model: LocalModel, *, layers: int, hidden: int) -> None:
    """See that weights have the model's sizes.

    Raises:
        BackendError: they have not.
    """
    known = facts(model)
    for name, have, needed in (("layers", layers, known.blocks), ("values a token", hidden, known.embedding)):
        if have != needed:
            raise BackendError(f"the weights have {have} {name} and '{model.id}' has {needed}: another base model")


def check_vocabulary(model: LocalModel, names: Callable[[int], Sequence[str]]) -> None:
    """See that a tokenizer's tokens, by name and in order, are the model's.

    Args:
        names: of the first tokens, as many as asked for or as there are.

    Raises:
        BackendError: more of them differ than a converter renames.
    """
    wanted = [piece.decode("utf-8", "replace") for piece in read_header(model.gguf).metadata["tokenizer.ggml.tokens"]]
    have = names(len(wanted))
    other = sum(a != b for a, b in zip(wanted, have, strict=False)) + len(wanted) - len(have)
    if other > _MOST_RENAMED * len(wanted):
        raise BackendError(
            f"weights: {other} of {len(wanted)} tokens are not those of '{model.id}': another tokenizer, so another "
            "base model"
        )
