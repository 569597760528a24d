"""Loss of written replies under any mixture of adapters: Transformers with PEFT, on the rows that training uses.

One engine for every figure. A loss is per token of the reply and of the end of text after it, as in training, and so
is a perplexity. The head, two fifths of the default model's work and a quarter million wide, is applied to the
positions of the reply alone. In bfloat16 (the base's own type) a row of 70 tokens takes two cores about 0.1 s, in float32
0.2 s, and losses differ by 0.003 nats. The engine that speaks, llama.cpp, scores by one request a token, which takes
several times as long.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from scenepipe.errors import ModelError
from scenepipe.training.rows import IGNORED, Row, encode_row

if TYPE_CHECKING:
    from scenepipe.register import Example

TOKENS_A_BATCH = 1024
POSITIONS = 256
"""Positions in one product with the head: its weights are read once for all of them."""
POSITIONS_SUMMED = 8
"""Positions whose logits are summed at once, so that the float32 copy stays in the processor's cache. Together with
POSITIONS this halves the time of the head beside 32 positions at a time with PyTorch's cross entropy."""
_SAME = 0.05


class Loss(NamedTuple):
    """Summed natural-log loss of a row's reply, and its tokens."""

    nats: float
    tokens: int


class Scorer:
    """A base model with the adapters of several registers.

    Args:
        folder: the base as Transformers reads it (`scenepipe.models.dequantise.safetensors_of`).
        adapters: PEFT folder by register.
        dtype: of base and activations; adapters are float32.
        device: ``auto`` takes CUDA where there is one.

    Raises:
        ModelError: the model computes its logits in a way that is not known here.
    """

    def __init__(
        self,
        folder: Path,
        adapters: Mapping[str, Path],
        *,
        dtype: Literal["bfloat16", "float32"] = "bfloat16",
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None:
        import torch
        import transformers

        transformers.utils.logging.disable_progress_bar()
        cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        self.device = "cuda" if cuda else "cpu"
        self.dtype = dtype
        base = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, dtype), use_safetensors=True
        )
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self._decoder, self._head = base.get_decoder(), base.get_output_embeddings()
        self._cap = getattr(base.config, "final_logit_softcapping", None)
        self._model = _with_adapters(base, adapters).to(self.device).eval()
        self._layers = [module for module in self._model.modules() if hasattr(module, "lora_A")]
        self._scalings = [dict(layer.scaling) for layer in self._layers]
        self._see_head()

    def encode(self, example: Example) -> Row:
        """A row as training encodes it: the scene prompt, the reply, the end of text."""
        return encode_row(self._tokenizer, example)

    def losses(self, rows: Sequence[Row], mixture: Mapping[str, float]) -> Iterator[tuple[int, Loss]]:
        """Each row's place and its loss under a mixture, in batches of rows of like length, shortest first."""
        import torch

        self._speak_as(mixture)
        order = sorted(range(len(rows)), key=lambda index: len(rows[index].ids))
        for batch in _batches(order, rows):
            with torch.inference_mode():
                yield from zip(batch, self._batch([rows[index] for index in batch]), strict=True)

    def next_token(self, text: str, mixture: Mapping[str, float]) -> Any:
        """Natural-log probabilities of the token after a text, float32 NumPy array [vocabulary]."""
        import torch

        self._speak_as(mixture)
        start = [self._tokenizer.bos_token_id] if self._tokenizer.bos_token_id is not None else []
        ids = [*start, *self._tokenizer(text, add_special_tokens=False)["input_ids"]]
        with torch.inference_mode():
            hidden = self._hidden([ids])[0, -1:]
            return torch.log_softmax(self._logits(hidden), dim=-1)[0].cpu().numpy()

    def token_ids(self, text: str) -> list[int]:
        """Tokens of a text, without any beginning-of-text token."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _speak_as(self, mixture: Mapping[str, float]) -> None:
        """Adapters of weight 0 are not computed at all."""
        active = [name for name, weight in mixture.items() if weight > 0]
        for layer, own in zip(self._layers, self._scalings, strict=True):
            layer.enable_adapters(bool(active))
            if active:
                layer.set_adapter([name for name in active if name in own])
                layer.scaling = own | {name: own[name] * mixture[name] for name in active if name in own}

    def _batch(self, rows: Sequence[Row]) -> list[Loss]:
        import torch

        hidden = self._hidden([row.ids for row in rows])
        where = [(i, t) for i, row in enumerate(rows) for t, label in enumerate(row.labels) if label != IGNORED]
        owner, place = torch.tensor(where, device=self.device).T
        wanted = torch.tensor([rows[i].ids[t] for i, t in where], device=self.device)
        states = hidden[owner, place - 1]
        parts = zip(states.split(POSITIONS), wanted.split(POSITIONS), strict=True)
        nats = torch.cat([self._nats(part, target) for part, target in parts])
        sums = torch.zeros(len(rows), dtype=torch.float64, device=self.device).index_add_(0, owner, nats.double())
        return [Loss(float(total), row.learnt) for total, row in zip(sums, rows, strict=True)]

    def _nats(self, states: Any, wanted: Any) -> Any:
        """Loss of each position, float32 [positions]."""
        import torch

        logits = self._head(states)
        scales = torch.cat([torch.logsumexp(self._capped(part), dim=-1) for part in logits.split(POSITIONS_SUMMED)])
        return scales - self._capped(logits.gather(1, wanted[:, None]))[:, 0]

    def _hidden(self, rows: Sequence[Sequence[int]]) -> Any:
        """Last hidden states [rows, longest, width]; padding stands after the row, where nothing looks at it."""
        import torch

        longest = max(map(len, rows))
        ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=self.device)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=self.device)
        return self._decoder(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state

    def _logits(self, states: Any) -> Any:
        """float32 logits [positions, vocabulary]."""
        return self._capped(self._head(states))

    def _capped(self, logits: Any) -> Any:
        """float32 logits after the soft cap that some families have (Gemma 2)."""
        import torch

        return self._cap * torch.tanh(logits.float() / self._cap) if self._cap else logits.float()

    def _see_head(self) -> None:
        """Compare with the model's own forward pass: some families scale their logits once more."""
        import torch

        ids = list(range(3, 11))
        self._speak_as({})
        with torch.inference_mode():
            own = self._model(input_ids=torch.tensor([ids], device=self.device)).logits[0].float()
            ours = self._logits(self._hidden([ids])[0])
        if float((own - ours).abs().max()) > _SAME * float(own.abs().max()):
            kind = type(self._model).__name__
            raise ModelError(f"{kind} does more between hidden states and logits than is known here; measure another")


def _with_adapters(base: Any, adapters: Mapping[str, Path]) -> Any:
    if not adapters:
        return base
    import peft

    (first, folder), *rest = adapters.items()
    with warnings.catch_warnings():
        # PEFT 0.21 asks for an attribute that transformers 5.23 is about to rename.
        warnings.filterwarnings("ignore", ".is_gradient_checkpointing. is deprecated", FutureWarning)
        model = peft.PeftModel.from_pretrained(base, str(folder), adapter_name=first)
        for name, other in rest:
            model.load_adapter(str(other), adapter_name=name)
    return model


def _batches(order: Sequence[int], rows: Sequence[Row]) -> Iterator[list[int]]:
    """Runs of places whose rows, padded to the longest of them, stay under TOKENS_A_BATCH tokens."""
    batch: list[int] = []
    for index in order:
        if batch and (len(batch) + 1) * len(rows[index].ids) > TOKENS_A_BATCH:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
