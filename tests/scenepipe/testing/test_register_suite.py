"""The proofs of a register, where they need no model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scenepipe.cli.skeleton import write_skeleton
from scenepipe.errors import MissingExtraError
from scenepipe.evaluation import parity
from scenepipe.models.catalogue import LocalModel
from scenepipe.register import Register, load_register
from scenepipe.testing import register_suite
from scenepipe.testing.register_suite import Parity, RegisterSuite, card_findings, prove_register

MODEL = LocalModel("tiny", Path("tiny.gguf"), "a" * 64, None, "b" * 64)
FULL = """# Sailor

**Intent.** Speaks of the sea.

**Data.** 30 rows.

**Training.** 3 epochs.

## Evaluation

Judge 0.9.

**Limits.** Grammar slips.
"""


@pytest.fixture
def register(tmp_path: Path) -> Register:
    return load_register(write_skeleton("sailor", tmp_path))


def test_a_whole_card_has_every_section_in_bold_or_as_a_heading(register: Register) -> None:
    (register.folder / "README.md").write_text(FULL, encoding="utf-8")
    assert card_findings(register) == []


@pytest.mark.parametrize(
    ("cut", "told"),
    [("**Limits.** Grammar slips.\n", "no section **Limits.**"), ("Judge 0.9.", "no section **Evaluation.**"),
     ("3 epochs", "**Training.** gives no figure")],
)  # fmt: skip
def test_what_a_card_leaves_out_is_named(register: Register, cut: str, told: str) -> None:
    (register.folder / "README.md").write_text(FULL.replace(cut, "long" if "epochs" in cut else ""), encoding="utf-8")
    (finding,) = card_findings(register)
    assert told in finding.message
    assert finding.level == "warning"


def test_a_skeletons_card_and_a_missing_one_are_not_complete(register: Register) -> None:
    assert len(card_findings(register)) == 2
    (register.folder / "README.md").unlink()
    assert [finding.where for finding in card_findings(register)] == ["README.md"]


@pytest.mark.parametrize(
    ("between", "effect", "same"), [(0.004, 2.2, True), (0.06, 2.2, False), (0.004, 0.03, False), (0.0, 0.0, True)]
)
def test_parity_is_measured_against_the_adapters_own_effect(between: float, effect: float, same: bool) -> None:
    assert Parity(between, effect).same is same


def test_divergence_is_zero_for_the_same_and_counts_the_rest_as_one_token() -> None:
    own = np.log(np.array([0.5, 0.3, 0.1, 0.1], dtype=np.float32))
    assert parity._divergence(own, {0: np.log(0.5), 1: np.log(0.3)}) == pytest.approx(0.0, abs=1e-6)
    moved = parity._divergence(own, {0: np.log(0.25), 1: np.log(0.25)})
    assert moved == pytest.approx(0.5 * np.log(2) + 0.3 * np.log(1.2) + 0.2 * np.log(0.4), abs=1e-6)


def test_what_cannot_be_proven_for_want_of_a_package_is_a_warning(
    register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(requires: object) -> None:
        raise MissingExtraError("this proof", "torch", "transformers")

    monkeypatch.setattr(register_suite, "need", missing)
    monkeypatch.setattr(parity, "need", missing)
    found = {finding.where: finding for finding in prove_register(register, MODEL)}
    assert set(found) == {"README.md", "canary", "masking", "parity"}
    assert all(finding.level == "warning" for finding in found.values())
    assert "scenepipe[transformers]" in found["parity"].message


def test_masking_sees_rows_whose_reply_is_not_what_is_learnt(
    register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Letters:
        """A tokenizer of characters that loses one letter."""

        bos_token_id, eos_token_id = None, 0

        def __init__(self, lost: str = "") -> None:
            self.lost = lost

        def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
            return {"input_ids": [ord(c) for c in text if c != self.lost]}

        def decode(self, ids: list[int], **options: object) -> str:
            return "".join(map(chr, ids))

    monkeypatch.setattr(register_suite, "_tokenizer", lambda model: Letters())
    assert register_suite.masking_findings(register, MODEL) == []
    monkeypatch.setattr(register_suite, "_tokenizer", lambda model: Letters("k"))
    (finding,) = register_suite.masking_findings(register, MODEL)
    assert (finding.level, finding.where) == ("error", "masking")
    assert "en-0001" in finding.message


def test_the_suite_fails_a_register_that_has_no_adapter(register: Register) -> None:
    with pytest.raises(AssertionError):
        RegisterSuite().test_it_loads_without_an_error(register, MODEL)
    with pytest.raises(AssertionError):
        RegisterSuite().test_its_card_is_complete(register, MODEL)
