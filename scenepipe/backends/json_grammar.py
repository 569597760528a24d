"""JSON Schema as a mask over the vocabulary, by `llguidance` (MIT)."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from scenepipe.errors import BackendError

MODULE = "llguidance"
_KEPT = 16
INSTALLED = importlib.util.find_spec(MODULE) is not None


class Grammars:
    """Grammars over one vocabulary.

    Args:
        tokenizer: a Transformers tokenizer on `tokenizers`.
        vocabulary: number of logits.
        ends: tokens that end a reply.
    """

    def __init__(self, tokenizer: Any, vocabulary: int, ends: Sequence[int]) -> None:
        from llguidance.hf import from_tokenizer

        self._vocabulary = vocabulary
        self._compiled = lru_cache(_KEPT)(self._compile)
        self._tokenizer = from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=list(ends))

    def of(self, schema: Mapping[str, Any]) -> Grammar:
        """A grammar for one reply; a schema that was asked for lately is not compiled again.

        Raises:
            BackendError: the schema cannot be compiled.
        """
        matcher = self._compiled(json.dumps(schema))
        return Grammar(matcher.deep_copy(), self._vocabulary)

    def _compile(self, schema: str) -> Any:
        from llguidance import LLMatcher

        try:
            matcher = LLMatcher(self._tokenizer, LLMatcher.grammar_from_json_schema(schema))
            error = matcher.get_error()
        except (ValueError, RuntimeError, TypeError) as failure:
            error = str(failure)
        if error:
            raise BackendError(f"the JSON Schema cannot be compiled: {error}; simplify it")
        return matcher


class Grammar:
    """What one reply may go on with."""

    def __init__(self, matcher: Any, vocabulary: int) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary

    @property
    def finished(self) -> bool:
        """Whether the value is complete and nothing may follow."""
        return bool(self._matcher.is_stopped())

    def forbidden(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Bool of shape [vocabulary]: the tokens that may not come next.

        Raises:
            BackendError: the grammar engine gave up.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        return np.unpackbits(~bits, bitorder="little")[: self._vocabulary].view(np.bool_)

    def add(self, token: int) -> None:
        """Take the token that was drawn."""
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if error := self._matcher.get_error():
            raise BackendError(f"the JSON Schema's grammar failed: {error}; simplify it")
