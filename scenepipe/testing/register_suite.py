"""What any register must pass: subclass `RegisterSuite` in a test file and give it two fixtures.

    class TestSailor(RegisterSuite):
        @pytest.fixture
        def register(self):
            return load_register(Path("registers/sailor"))

        @pytest.fixture
        def model(self):
            return local("gemma-3-270m")

``scenepipe register check --model ID`` runs the same proofs through `prove_register`.

* loads: card, examples and adapter are whole, and the receipt's fingerprints are those of this very model
* canary: the adapter changes the engine's next-token distribution
* masking: of every row the answer and the end of text are learnt, and nothing else
* parity: the exported form, GGUF under llama.cpp, gives the distribution of the PEFT adapter under Transformers
* card: README.md tells intent, data, training, evaluation and limits, and the middle ones with figures
"""

from __future__ import annotations

import asyncio
import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from scenepipe.errors import MissingExtraError, RegisterError
from scenepipe.prompt import ScenePrompt
from scenepipe.register import Finding, adapter_of, check_register, prompt_and_answer, rows_of

if TYPE_CHECKING:
    from scenepipe.models.catalogue import LocalModel
    from scenepipe.register import Register, Row

SECTIONS = {"Intent": False, "Data": True, "Training": True, "Evaluation": True, "Limits": False}
"""Sections of a card, and whether they give figures."""
SCENES = 4
FOREIGN_SCENES = (
    ScenePrompt("Почему я не чувствую шаг в себе?", "ru", ("дрожь", "тишина", "вход")),
    ScenePrompt("Why can I not feel the step in me?", "en", ("trembling", "silence", "entrance")),
)
LIKELIEST = 1000
MOST_NATS = 0.05
MOST_SHARE = 0.1


class Parity(NamedTuple):
    """How far two forms of an adapter are from each other, as means over a few scenes; nats.

    Args:
        between: Kullback-Leibler divergence of the exported form from the PEFT adapter, over the first reply token. The
            1000 tokens that llama.cpp finds likeliest count one by one and all others as one, so it is a lower bound.
        effect: divergence of the base without the adapter from the PEFT adapter, over the whole vocabulary.
    """

    between: float
    effect: float

    @property
    def same(self) -> bool:
        """Whether what is left is the engines' rounding: llama.cpp rounds activations to 8 bits."""
        return self.between <= min(MOST_NATS, MOST_SHARE * self.effect)


def prove_register(register: Register, model: LocalModel) -> list[Finding]:
    """Every proof that needs the model; what cannot be proven here for want of a package is a warning."""
    proofs: dict[str, Callable[[], list[Finding]]] = {
        "card": lambda: card_findings(register),
        "canary": lambda: canary_findings(register, model),
        "masking": lambda: masking_findings(register, model),
        "parity": lambda: parity_findings(register, model),
    }
    found: list[Finding] = []
    for name, proof in proofs.items():
        try:
            found += proof()
        except MissingExtraError as error:
            found.append(Finding("warning", name, f"not proven: {error}"))
    return found


# --- card ------------------------------------------------------------------------------------------------------------


def card_findings(register: Register) -> list[Finding]:
    """What README.md leaves out."""
    path = register.folder / "README.md"
    if not path.is_file():
        return [Finding("warning", "README.md", f"missing; write {', '.join(SECTIONS)}")]
    parts = _sections(path.read_text(encoding="utf-8"))
    found = []
    for name, with_figures in SECTIONS.items():
        if not parts.get(name, "").strip():
            found.append(Finding("warning", "README.md", f"it has no section **{name}.**; write it"))
        elif with_figures and not re.search(r"\d", parts[name]):
            found.append(
                Finding("warning", "README.md", f"its section **{name}.** gives no figure; give what was measured")
            )
    return found


def _sections(text: str) -> dict[str, str]:
    """Text by section; a section begins with its name in bold or as a heading, and ends where the next one begins."""
    names = "|".join(SECTIONS)
    parts = re.split(rf"(?m)^(?:\*\*|#+ +)({names})\b[.:]?(?:\*\*)?", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


# --- canary and masking ----------------------------------------------------------------------------------------------


def canary_findings(register: Register, model: LocalModel) -> list[Finding]:
    """Whether the adapter changes anything, as the engine that speaks sees it."""
    from scenepipe.backends.llama_cpp import LlamaCpp

    _need(LlamaCpp.requires)

    async def proofs() -> Sequence[Any]:
        backend = LlamaCpp(parallel=1, context=512)
        try:
            return await backend.open(model, [register])
        finally:
            await backend.aclose()

    if any(proof.zero_effect for proof in asyncio.run(proofs())):
        return [Finding("error", "canary", "the adapter does not change the next-token distribution; train it again")]
    return []


def masking_findings(register: Register, model: LocalModel) -> list[Finding]:
    """Whether what is learnt of each row is its answer (a voice's reply, a reader's scene) and the end of text."""
    from scenepipe.training.rows import IGNORED, encode_row

    tokenizer = _tokenizer(model)
    wrong = []
    for row in rows_of(register):
        labels = [label for label in encode_row(tokenizer, row).labels if label != IGNORED]
        learnt = tokenizer.decode(labels[:-1], clean_up_tokenization_spaces=False)
        if learnt.strip() != prompt_and_answer(row)[1].strip() or labels[-1:] != [tokenizer.eos_token_id]:
            wrong.append(row.id)
    if not wrong:
        return []
    rows = ", ".join(wrong[:10]) + (f" and {len(wrong) - 10} more" if len(wrong) > 10 else "")
    return [Finding("error", "masking", f"what is learnt of these rows is not their answer: {rows}")]


def _tokenizer(model: LocalModel) -> Any:
    from scenepipe.models.dequantise import REQUIRES, safetensors_of

    _need(REQUIRES)
    import transformers

    return transformers.AutoTokenizer.from_pretrained(safetensors_of(model))


# --- parity ----------------------------------------------------------------------------------------------------------


def parity_findings(register: Register, model: LocalModel) -> list[Finding]:
    """Whether the exported form gives the adapter's own distribution."""
    found = parity(register, model)
    if found.same:
        return []
    return [
        Finding(
            "error",
            "parity",
            f"the GGUF form is {found.between:.3f} nats from the PEFT adapter, whose whole effect is "
            f"{found.effect:.3f}; at most {MOST_NATS} and a tenth of the effect are rounding. Train it without settings "
            "that engines ignore (rsLoRA, patterns), or report this",
        )
    ]


def parity(register: Register, model: LocalModel) -> Parity:
    """Both forms over the first reply token of a few of the register's own scenes.

    Raises:
        MissingExtraError: llama.cpp, Transformers or PEFT is not installed.
        RegisterError: the register has no adapter for this model.
    """
    import numpy as np

    prompts = _prompts(register)
    exported = asyncio.run(_exported(register, model, prompts))
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
    from scenepipe.models.gguf_lora import gguf_adapter

    _need(LlamaCpp.requires)
    options = LlamaCpp(parallel=1).options
    engine = await asyncio.to_thread(LlamaEngine, options, model.gguf, [gguf_adapter(register, model)])
    try:
        found = []
        for prompt in prompts:
            body = {"prompt": await engine.tokens(prompt, special=True), "n_predict": 1, "n_probs": LIKELIEST}
            body |= {"temperature": 0.0, "cache_prompt": False, "lora": [{"id": 0, "scale": 1.0}]}
            told = (await engine.post("/completion", body))["completion_probabilities"][0]["top_logprobs"]
            found.append({int(token["id"]): float(token["logprob"]) for token in told})
        return found
    finally:
        await engine.aclose()


def _trained(register: Register, model: LocalModel, prompts: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """Log-probabilities of every token by Transformers: with the PEFT adapter, and without."""
    from scenepipe.models.dequantise import REQUIRES, safetensors_of

    _need({**REQUIRES, "peft": "transformers"})
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


def _need(requires: Mapping[str, str]) -> None:
    for module, extra in requires.items():
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError("this proof", module, extra)


# --- the suite -------------------------------------------------------------------------------------------------------


class RegisterSuite:
    """What any register must pass. A subclass has the fixtures ``register`` and ``model``."""

    def test_it_loads_without_an_error(self, register: Register, model: LocalModel) -> None:
        errors = [finding for finding in check_register(register, model) if finding.level == "error"]
        assert errors == []

    def test_its_adapter_is_for_this_very_model(self, register: Register, model: LocalModel) -> None:
        assert adapter_of(register, model).receipt.base.sha256 == model.sha256
        for other in (replace(model, sha256="0" * 64), replace(model, tokenizer_sha256="0" * 64)):
            try:
                adapter_of(register, other)
            except RegisterError:
                continue
            raise AssertionError("an adapter was taken for a model that it was not trained on")

    def test_its_adapter_changes_the_distribution(self, register: Register, model: LocalModel) -> None:
        assert canary_findings(register, model) == []

    def test_its_replies_alone_are_learnt(self, register: Register, model: LocalModel) -> None:
        assert masking_findings(register, model) == []

    def test_its_exported_form_gives_its_own_distribution(self, register: Register, model: LocalModel) -> None:
        found = parity(register, model)
        assert found.same, found

    def test_its_card_is_complete(self, register: Register, model: LocalModel) -> None:
        assert card_findings(register) == []


__all__ = ["Parity", "RegisterSuite", "parity", "prove_register"]
