"""Forward passes of a model with its register bank: reading prompts, one token for every row, scores.

Importing this module imports torch.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

from scenepipe.backends.bank import RegisterBank
from scenepipe.backends.slot_cache import Place, SlotCache, Span, attention_masks
from scenepipe.errors import BackendError, ScenepipeError

_SCORED_AT_ONCE = 128
_COMPARED = 16
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "failed to allocate")


@dataclass(eq=False, kw_only=True)
class Cached:
    """A row as the model sees it.

    Args:
        prompt: token ids, at least one.
        weights: of every register of the bank.
        reply: token ids after the prompt.
        cached: how many tokens of prompt and reply have a place in the cache.
    """

    prompt: Sequence[int]
    weights: Sequence[float]
    reply: list[int] = field(default_factory=list)
    cached: int = 0


class Passes:
    """What is computed for rows; says nothing of when.

    Args:
        model: a causal language model of Transformers, in evaluation mode.
        bank: the registers beside it.
        slots: rows that have a place in the cache.
        fits: tokens of one row.
    """

    def __init__(self, model: Any, bank: RegisterBank, slots: int, fits: int) -> None:
        self._model = model
        self._bank = bank
        self._config = model.config.get_text_config()
        self._device = input_device(model)
        self._dtype = model.get_input_embeddings().weight.dtype
        self._cache = SlotCache(self._config.num_hidden_layers, slots, fits)

    def read(self, rows: Sequence[Cached], first: int, limit: int) -> torch.Tensor:
        """Read up to ``limit`` more prompt tokens of each row into the slots from ``first`` on.

        Returns:
            Logits after the last token read, [rows, vocabulary].
        """
        spans = [Span(row.cached, min(len(row.prompt) - row.cached, limit)) for row in rows]
        tokens = [row.prompt[span.start : span.end] for row, span in zip(rows, spans, strict=True)]
        logits = self._forward(Place.of(first, spans), tokens, rows)
        for row, span in zip(rows, spans, strict=True):
            row.cached = span.end
        return logits

    def step(self, rows: Sequence[Cached]) -> torch.Tensor:
        """Logits after the last token of each row, [rows, vocabulary]; row i is in slot i."""
        logits = self._forward(
            Place.of(0, [Span(row.cached, 1) for row in rows]), [row.reply[-1:] for row in rows], rows
        )
        for row in rows:
            row.cached += 1
        return logits

    def move(self, source: int, target: int, length: int) -> None:
        """Bring a row's cached tokens into another slot."""
        self._cache.move(source, target, length)

    def clear(self) -> None:
        """Give the cache's memory back."""
        self._cache.clear()

    def _forward(self, place: Place, tokens: Sequence[Sequence[int]], rows: Sequence[Cached]) -> torch.Tensor:
        width = place.positions.shape[1]
        ids = torch.tensor([[0] * (width - len(part)) + list(part) for part in tokens])
        self._cache.put(place)
        with self._bank.mixing(torch.tensor([row.weights for row in rows])):
            output = self._model(
                input_ids=ids.to(self._device),
                attention_mask=attention_masks(self._config, place, self._dtype, self._device),
                position_ids=place.positions.to(self._device),
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def score(
        self, prompt: Sequence[int], reply: Sequence[int], weights: Sequence[float], limit: int
    ) -> Generator[None, None, list[float]]:
        """Natural-log probability of each token of ``reply`` after ``prompt``, by Transformers' own cache and masks.

        Stops after each pass of up to ``limit`` tokens. Logits are made for 128 tokens at a time: a vocabulary of
        262,144 takes 1 MB of them for each.
        """
        cache, scores, start = DynamicCache(config=self._config), list[float](), 0
        ids, first = [*prompt, *reply[:-1]] if reply else [], len(prompt) - 1
        while start < len(ids):
            told_from = max(start, first)
            end = min(start + limit, told_from + _SCORED_AT_ONCE, len(ids))
            part = torch.tensor([ids[start:end]], device=self._device)
            with self._bank.mixing(torch.tensor([list(weights)])):
                output = self._model(input_ids=part, past_key_values=cache, logits_to_keep=max(1, end - told_from))
            if targets := reply[told_from - first : max(0, end - first)]:
                told = output.logits[0, -len(targets) :].float().log_softmax(-1)
                scores += told.gather(1, torch.tensor(targets, device=told.device).unsqueeze(1))[:, 0].tolist()
            start = end
            yield
        return scores

    def next_logprobs(self, prompt: Sequence[int], weights: Sequence[float]) -> torch.Tensor:
        """Natural-log probabilities of the token after a prompt, float32 [vocabulary]."""
        with self._bank.mixing(torch.tensor([list(weights)])):
            logits = self._model(input_ids=torch.tensor([list(prompt)], device=self._device), logits_to_keep=1).logits
        told: torch.Tensor = logits[0, -1].float().log_softmax(-1).cpu()
        return told

    def drift(self, one: Sequence[int], other: Sequence[int]) -> float:
        """How far two prompts that share a batch are from each alone in Transformers' own way.

        One is read in two pieces, the other beside it, then both take a step. Needs two free slots.

        Returns:
            The largest difference of natural-log probabilities among the 16 likeliest tokens, after prompt and step.
        """
        rows = [Cached(prompt=prompt, weights=[0.0] * len(self._bank.names)) for prompt in (one, other)]
        self.read(rows[:1], 0, len(one) // 2)
        told = [self.read([row], slot, len(row.prompt)) for slot, row in enumerate(rows)]
        worst = max(self._distance(row, logits[0]) for row, logits in zip(rows, told, strict=True))
        for row, logits in zip(rows, told, strict=True):
            row.reply.append(int(logits[0].argmax()))
        stepped = self.step(rows)
        return max(worst, *(self._distance(row, logits) for row, logits in zip(rows, stepped, strict=True)))

    def _distance(self, row: Cached, logits: torch.Tensor) -> float:
        alone = self.next_logprobs([*row.prompt, *row.reply], row.weights)
        likely = alone.topk(min(_COMPARED, len(alone))).indices
        return float((logits.float().log_softmax(-1).cpu() - alone)[likely].abs().max())


def input_device(model: Any) -> torch.device:
    """Where token ids go: beside the embeddings, or, where those are kept elsewhere, to where the model computes."""
    device = model.get_input_embeddings().weight.device
    placed = getattr(model, "hf_device_map", {})
    if len(placed) > 1 or device.type == "meta":
        places = [place for place in placed.values() if place not in ("cpu", "disk")]
        device = torch.device(places[0] if places else "cpu")
    return torch.device(device)


def named(error: Exception, doing: str) -> ScenepipeError:
    """An error of a pass as one of ours, with what to do about it."""
    if isinstance(error, ScenepipeError):
        return error
    words = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(w in words.lower() for w in _MEMORY_WORDS):
        return BackendError(
            f"out of memory with {doing}: {words[:200]}; lower backend.parallel, max_batch_tokens or context, "
            "or choose a smaller dtype or a quantization"
        )
    return BackendError(f"the model failed with {doing}: {type(error).__name__}: {words[:500]}")
