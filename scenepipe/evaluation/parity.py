"""Whether an exported form of an adapter gives the adapter's own distribution.

GGUF is asked of llama.cpp, a merged model of Transformers; the adapter itself is asked of PEFT under Transformers in
float32. All are asked for the first reply token of a few of the register's own scenes.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from scenepipe.errors import MissingExtraError
from scenepipe.prompt import ScenePrompt
from scenepipe.register import adapter_of, prompt_and_answer, rows_of

if TYPE_CHECKING:
    from scenepipe.models.catalogue import LocalModel
    from scenepipe.register import Register, Row

SCENES = 4
FOREIGN_SCENES = (
    ScenePrompt("Почему я не чувствую шаг в себе?", "ru", ("дрожь", "тишина", "вход")),
    ScenePrompt("Why can I not feel the step in me?", "en", ("trembling", "silence", "entrance")),
)
LIKELIEST = 1000
"""Tokens that llama.cpp is asked for."""
MOST_NATS = 0.05
MOST_SHARE = 0.1


class Parity(NamedTuple):
    """How far two forms of an adapter are from each other, as means over a few scenes; nats.

    Args:
        between: Kullback-Leibler divergence of the exported form from the PEFT adapter, over the first reply token. Of
            GGUF the 1000 tokens that llama.cpp finds likeliest count one by one and all others as one: a lower bound.
        effect: divergence of the base without the adapter from the PEFT adapter, over the whole vocabulary.
    """

    between: float
    effect: float

    @property
    def same(self) -> bool:
        """Whether what is left is rounding: llama.cpp rounds activations to 8 bits, a merged model weights to bfloat16."""
        return self.between <= min(MOST_NATS, MOST_SHARE * self.effect)

    def __str__(self) -> str:
        return f"{self.between:.4f} nats from the PEFT adapter, whose whole effect is {self.effect:.3f}"


def parity(register: Register, model: LocalModel, merged: Path | None = None) -> Parity:
    """The adapter and its exported form over the first reply token of a few of the register's own scenes.

    Args:
        merged: folder of a merged model; the GGUF form otherwise.

    Raises:
        MissingExtraError: llama.cpp, Transformers or PEFT is not installed.
        RegisterError: the register has no adapter for this model.
    """
    import numpy as np

    prompts = _prompts(register)
    exported = _merged(merged, prompts) if merged else asyncio.run(_exported(register, model, prompts))
    own, base = _trained(register, model, prompts)
    between = [_divergence(p, q) for p, q in zip(own, exported, strict=True)]
    effect = [float((np.exp(p) * (p - q)).sum()) for p, q in zip(own, base, strict=True)]
    return Parity(sum(between) / len(between), sum(effect) / len(effect))


def _scenes(register: Register) -> list[Row]:
    """A few rows of both languages, none of them learnt from where there are others."""
    rows = sorted(rows_of(register), key=lambda row: (row.split == "train", row.split != "test"))
    by_language = [[row for row in rows if row.language == code][: SCENES // 2] for code in ("ru", "en")]
    return [row for some in by_language for row in some]


def _prompts(register: Register) -> list[str]:
    """The register's own scenes; two of nobody's for one that has none."""
    own = [prompt_and_answer(row)[0] for row in _scenes(register)]
    return own or [scene.render() for scene in FOREIGN_SCENES]


async def _exported(register: Register, model: LocalModel, prompts: Sequence[str]) -> list[dict[int, float]]:
    """The likeliest next tokens with their log-probabilities, by llama.cpp with the GGUF adapter."""
    from scenepipe.backends.llama_cpp import LlamaCpp
    from scenepipe.backends.llama_engine import LlamaEngine
    from scenepipe.backends.llama_reply import distribution, next_token
    from scenepipe.backends.llama_vocabulary import LlamaVocabulary
    from scenepipe.models.gguf_lora import gguf_adapter

    need(LlamaCpp.requires)
    options = LlamaCpp(parallel=1).options
    engine = await asyncio.to_thread(LlamaEngine, options, model.gguf, [gguf_adapter(register, model)])
    try:
        words, found = LlamaVocabulary(engine.post), []
        for prompt in prompts:
            body = next_token(await words.tokens(prompt, special=True), [1.0], LIKELIEST)
            told = distribution(await engine.post("/completion", body))["top_logprobs"]
            found.append({int(token["id"]): float(token["logprob"]) for token in told})
        return found
    finally:
        await engine.aclose()


def _merged(folder: Path, prompts: Sequence[str]) -> list[dict[int, float]]:
    """Log-probability of every next token by the merged model."""
    from scenepipe.models.dequantise import REQUIRES

    need(REQUIRES)
    from scenepipe.evaluation.perplexity import Scorer

    scorer = Scorer(folder, {}, dtype="float32")
    return [dict(enumerate(scorer.next_token(prompt, {}).tolist())) for prompt in prompts]


def _trained(register: Register, model: LocalModel, prompts: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """Log-probabilities of every token by Transformers: with the PEFT adapter, and without."""
    from scenepipe.models.dequantise import REQUIRES, safetensors_of

    need({**REQUIRES, "peft": "transformers"})
    from scenepipe.evaluation.perplexity import Scorer

    folder = adapter_of(register, model).folder
    scorer = Scorer(safetensors_of(model), {register.name: folder}, dtype="float32")
    own = [scorer.next_token(prompt, {register.name: 1.0}) for prompt in prompts]
    return own, [scorer.next_token(prompt, {}) for prompt in prompts]


def _divergence(own: Any, exported: Mapping[int, float]) -> float:
    """KL of the exported distribution from the adapter's own; tokens that llama.cpp did not name count as one."""
    import numpy as np

    ids = list(exported)
    p, q = np.exp(own[ids].astype(np.float64)), np.exp([exported[id] for id in ids])
    rest_p, rest_q = max(1 - p.sum(), 1e-12), max(1 - q.sum(), 1e-12)
    return float((p * np.log(p / q)).sum() + rest_p * np.log(rest_p / rest_q))


def need(requires: Mapping[str, str]) -> None:
    """Raise `MissingExtraError` for the first package that is not installed."""
    for module, extra in requires.items():
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError("this proof", module, extra)
