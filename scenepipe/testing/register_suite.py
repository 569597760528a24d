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
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from scenepipe.errors import MissingExtraError, RegisterError
from scenepipe.evaluation.parity import MOST_NATS, Parity, need, parity
from scenepipe.register import Finding, adapter_of, check_register, prompt_and_answer, rows_of

if TYPE_CHECKING:
    from scenepipe.models.catalogue import LocalModel
    from scenepipe.register import Register

SECTIONS = {"Intent": False, "Data": True, "Training": True, "Evaluation": True, "Limits": False}
"""Sections of a card, and whether they give figures."""


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

    need(LlamaCpp.requires)

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

    need(REQUIRES)
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
            f"the GGUF form is {found}; at most {MOST_NATS} and a tenth of the effect are rounding. Train it without settings "
            "that engines ignore (rsLoRA, patterns), or report this",
        )
    ]


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
