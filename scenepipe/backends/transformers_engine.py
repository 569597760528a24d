"""One loaded base with its bank and its generation loop, in terms of texts and requests.

Importing this module imports torch and transformers.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import torch

from scenepipe.backends.bank import RegisterBank
from scenepipe.backends.batcher import Batcher
from scenepipe.backends.canary import LIKELIEST, TOLERANCE
from scenepipe.backends.json_grammar import Grammar, Grammars
from scenepipe.backends.passes import Passes
from scenepipe.backends.row_text import RowText
from scenepipe.backends.rows import Outlet, Row
from scenepipe.backends.token_prompts import TokenPrompts
from scenepipe.backends.transformers_load import Base
from scenepipe.contracts import Request
from scenepipe.errors import BackendError
from scenepipe.models.adapter import Adapter
from scenepipe.scene import TokenScore

_SELF_CHECK = {torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.5}
_SELF_CHECK_QUANTISED = 1.0
"""Kernels of quantised weights look at the whole batch: LLM.int8 keeps the columns that are large in any of its rows apart."""
_SELF_CHECK_TEXTS = ("A step.", "Scene: one step in the silence, and then another")
_CHECKED_ROWS = 2
_TEXT_BEFORE = 4


class TransformersEngine:
    """Texts in, rows and scores out.

    Args:
        adapters: by register name, in normal form.
        context, parallel, max_batch_tokens, threads: as `scenepipe.backends.transformers.Transformers` says.

    Raises:
        RegisterError: an adapter does not fit the model.
    """

    def __init__(
        self,
        base: Base,
        adapters: Mapping[str, Adapter],
        *,
        context: int,
        parallel: int,
        max_batch_tokens: int,
        threads: int | None,
    ) -> None:
        self._base = base
        self._tokenizer = base.tokenizer
        config = base.model.config.get_text_config()
        fits = min(context, getattr(config, "max_position_embeddings", None) or context)
        self.prompts = TokenPrompts(base.tokenizer, fits=fits, end=min(base.ends, default=None))
        self.vocabulary = int(config.vocab_size)
        self._at_once = max_batch_tokens
        self._grammars: Grammars | None = None
        self._grammars_lock = threading.Lock()
        self._bank = RegisterBank(base.model, adapters, dtype=base.dtype)
        self._passes = Passes(base.model, self._bank, max(parallel, _CHECKED_ROWS), fits)
        self._batcher = Batcher(self._passes, parallel=parallel, max_batch_tokens=max_batch_tokens, threads=threads)
        # The loop's thread holds the model: it must end with the engine, and before the interpreter takes threads away.
        self._end = weakref.finalize(self, _ended, self._batcher, self._bank)

    def close(self) -> None:
        """End the loop and take the bank off the model. Closing again does nothing."""
        self._end()

    # --- replies -----------------------------------------------------------------------------------------------------

    def grammar(self, schema: Mapping[str, Any]) -> Grammar:
        """A grammar for one reply; the first one reads the vocabulary, about a second for 262,144 tokens.

        Raises:
            BackendError: the schema cannot be compiled.
        """
        with self._grammars_lock:
            if self._grammars is None:
                self._grammars = Grammars(self._tokenizer, self.vocabulary, sorted(self._base.ends))
        return self._grammars.of(schema)

    def row(
        self, request: Request, prompt: Sequence[int], weights: Sequence[float], seed: int, grammar: Grammar | None
    ) -> Row:
        """A row for this request; call it on the event loop that listens."""
        return Row(
            prompt=prompt,
            weights=weights,
            sampling=request.sampling,
            random=torch.Generator().manual_seed(seed % 2**63),
            max_tokens=min(request.max_tokens, self.prompts.fits - len(prompt)),
            ends=self._base.ends,
            text=RowText(self._tokenizer.backend_tokenizer, request.stop, prompt[-_TEXT_BEFORE:]),
            outlet=Outlet(asyncio.get_running_loop(), asyncio.Queue()),
            grammar=grammar,
            logprobs=request.logprobs,
        )

    def submit(self, row: Row) -> None:
        """Let a row join the batch."""
        self._batcher.submit(row)

    def score(
        self, prompt: Sequence[int], reply: Sequence[tuple[int, str]], weights: Sequence[float]
    ) -> Future[list[TokenScore]]:
        """Natural-log probability of each token of a reply.

        Args:
            reply: its tokens with their texts.

        Raises:
            BackendError: prompt and reply do not fit the context.
        """
        self.prompts.must_fit(len(prompt) + len(reply), "prompt and reply have")

        def scored() -> Generator[None, None, list[TokenScore]]:
            logprobs = yield from self._passes.score(prompt, [token for token, _ in reply], weights, self._at_once)
            return [TokenScore(token=text, logprob=value) for (_, text), value in zip(reply, logprobs, strict=True)]

        return self._batcher.call(scored())

    # --- proofs ------------------------------------------------------------------------------------------------------

    def prove(self, prompt: str) -> Future[list[bool]]:
        """Check the engine against itself, then say of each register whether it leaves the distribution as it was.

        Raises:
            BackendError: rows in one batch do not say what they say alone: this architecture cannot be batched so.
        """
        ids = self.prompts.tokens(prompt, special=True)

        def proven() -> Generator[None, None, list[bool]]:
            self._check_batch()
            count = len(self._bank.names)
            yield
            base = self._passes.next_logprobs(ids, [0.0] * count)
            likely = base.topk(min(LIKELIEST, len(base))).indices
            alone = [[float(i == j) for j in range(count)] for i in range(count)]
            told = [self._passes.next_logprobs(ids, weights) for weights in alone]
            return [bool((each - base)[likely].abs().max() < TOLERANCE) for each in told]

        return self._batcher.call(proven())

    def _check_batch(self) -> None:
        """Two rows of different lengths in one batch, against each alone in Transformers' own way."""
        one, other = (self.prompts.tokens(text, special=True) for text in _SELF_CHECK_TEXTS)
        drift = self._passes.drift(one, other)
        quantised = getattr(self._base.model, "is_quantized", False)
        limit = _SELF_CHECK_QUANTISED if quantised else _SELF_CHECK.get(self._base.dtype, max(_SELF_CHECK.values()))
        if not drift <= limit:
            raise BackendError(
                f"'{self._base.model.config.model_type}' says in a batch what it does not say alone (log-probabilities "
                f"differ by {drift:.3g}, at most {limit:g} is rounding); use another backend for this model"
            )


def _ended(batcher: Batcher, bank: RegisterBank) -> None:
    batcher.close()
    bank.remove()
