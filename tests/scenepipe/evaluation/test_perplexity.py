"""The scorer, for real, on a tiny random model with two random adapters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from scenepipe.errors import ModelError
from scenepipe.evaluation.perplexity import Scorer, _batches
from scenepipe.models.adapter import compose, load_adapter
from scenepipe.register import Example
from scenepipe.training.rows import IGNORED, Row
from scenepipe.training.train import Base

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SIZES = {"self_attn.q_proj": (32, 32), "mlp.down_proj": (64, 32)}


def write_adapter(folder: Path, seed: int, rank: int) -> Path:
    rng = np.random.default_rng(seed)
    folder.mkdir()
    tensors: dict[str, Any] = {}
    for layer in range(2):
        for name, (ins, outs) in SIZES.items():
            key = f"base_model.model.model.layers.{layer}.{name}"
            tensors[f"{key}.lora_A.weight"] = rng.normal(0, 0.3, (rank, ins)).astype(np.float32)
            tensors[f"{key}.lora_B.weight"] = rng.normal(0, 0.3, (outs, rank)).astype(np.float32)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank, "target_modules": ["q_proj", "down_proj"],
              "lora_dropout": 0.0, "bias": "none", "inference_mode": True}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("adapters")
    return {"poet": write_adapter(home / "poet", 1, 4), "body": write_adapter(home / "body", 2, 2)}


@pytest.fixture(scope="module")
def scorer(tiny_base: Base, adapters: dict[str, Path]) -> Scorer:
    return Scorer(tiny_base.folder, adapters, dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def rows(scorer: Scorer) -> list[Row]:
    words = ("rope", "сцена", "a much longer reply than the others", "no")
    examples = [
        Example(
            id=str(i), language="en", split="test", text=f"text {i}" * (i + 1), linkage=("rope",), reply=word, fit=1
        )
        for i, word in enumerate(words)
    ]
    return [scorer.encode(example) for example in examples]


def plain_losses(tiny_base: Base, rows: list[Row], adapters: dict[str, Path], mixture: dict[str, float]) -> list[float]:
    """Summed losses by the model's own loss, one row at a time, with the mixture added into the weights."""
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_base.folder, dtype=torch.float32)
    if mixture:
        names = list(mixture)
        mixed = compose([load_adapter(adapters[name]) for name in names], [mixture[name] for name in names])
        for name, pair in mixed.modules.items():
            weight = model.get_submodule(name).weight
            weight.data += torch.from_numpy(pair.delta)
    model.eval()
    losses = []
    with torch.inference_mode():
        for row in rows:
            told = model(input_ids=torch.tensor([row.ids]), labels=torch.tensor([row.labels]))
            losses.append(float(told.loss) * row.learnt)
    return losses


@pytest.mark.parametrize("mixture", [{}, {"poet": 1.0}, {"body": 1.0}, {"poet": 0.25, "body": 0.75}, {"poet": 0.5}])
def test_losses_are_the_models_own_under_the_exact_mixture(
    tiny_base: Base,
    scorer: Scorer,
    rows: list[Row],
    adapters: dict[str, Path],
    mixture: dict[str, float],
) -> None:
    found = dict(scorer.losses(rows, mixture))
    assert [found[i].tokens for i in range(4)] == [sum(label != IGNORED for label in row.labels) for row in rows]
    assert [found[i].nats for i in range(4)] == pytest.approx(
        plain_losses(tiny_base, rows, adapters, mixture), rel=1e-4
    )


def test_a_weight_of_zero_is_none_and_nothing_stays_behind(scorer: Scorer, rows: list[Row]) -> None:
    before = dict(scorer.losses(rows, {}))
    assert dict(scorer.losses(rows, {"poet": 1.0})) != before
    assert dict(scorer.losses(rows, {"poet": 0.0, "body": 0.0})) == before
    alone = dict(scorer.losses(rows, {"poet": 1.0}))
    assert dict(scorer.losses(rows, {"poet": 1.0, "body": 0.0})) == alone


def test_a_row_costs_the_same_alone_and_among_others(scorer: Scorer, rows: list[Row]) -> None:
    together = dict(scorer.losses(rows, {"poet": 1.0}))
    for place, row in enumerate(rows):
        (_, alone), *_ = scorer.losses([row], {"poet": 1.0})
        assert alone.nats == pytest.approx(together[place].nats, rel=1e-4)


def test_next_token_is_a_distribution_that_the_mixture_changes(scorer: Scorer) -> None:
    base_told, poet = (scorer.next_token("Scene: x\nReply:", mixture) for mixture in ({}, {"poet": 1.0}))
    assert np.exp(base_told).sum() == pytest.approx(1.0, abs=1e-4)
    assert np.abs(base_told - poet).max() > 0.01


def test_without_adapters_the_base_is_scored(tiny_base: Base, scorer: Scorer, rows: list[Row]) -> None:
    lone = Scorer(tiny_base.folder, {}, dtype="float32", device="cpu")
    one, two = dict(lone.losses(rows, {})), dict(scorer.losses(rows, {}))
    assert [one[i].nats for i in range(4)] == pytest.approx([two[i].nats for i in range(4)], rel=1e-5)


def test_dtype_has_an_effect(tiny_base: Base, scorer: Scorer, rows: list[Row]) -> None:
    half = Scorer(tiny_base.folder, {}, dtype="bfloat16", device="cpu")
    one, two = dict(half.losses(rows, {})), dict(scorer.losses(rows, {}))
    assert one != two
    assert one[2].nats == pytest.approx(two[2].nats, rel=0.05)


def test_a_head_that_does_more_than_is_known_is_refused(tiny_base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Scorer._logits
    monkeypatch.setattr(Scorer, "_logits", lambda self, states: own(self, states) * 0.5)
    with pytest.raises(ModelError, match="hidden states"):
        Scorer(tiny_base.folder, {}, dtype="float32", device="cpu")


def test_batches_hold_every_row_once_and_stay_small() -> None:
    rows = [Row([0] * n, [0] * n) for n in (10, 600, 300, 300, 900, 2000, 5)]
    order = sorted(range(7), key=lambda index: len(rows[index].ids))
    batches = list(_batches(order, rows))
    assert [index for batch in batches for index in batch] == order
    assert all(len(batch) == 1 or len(batch) * max(len(rows[i].ids) for i in batch) <= 1024 for batch in batches)
    assert len(batches) < 7
