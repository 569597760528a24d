"""Training, for real, on a tiny random model: the loss falls, labels are right, nothing half-written stays."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from scenepipe.errors import RegisterError
from scenepipe.models.adapter import load_adapter
from scenepipe.prompt import PROMPT_VERSION, ScenePrompt
from scenepipe.training.train import TARGETS, encode_row, train

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

OPTIONS: dict[str, Any] = {"rank": 4, "rate": 0.02, "epochs": 2, "batch": 4, "seed": 1}
FACTS = {"sha256": "0" * 64, "tokenizer_sha256": "1" * 64}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Gemma 3 with a byte-level tokenizer, saved as safetensors."""
    import tokenizers
    import torch
    import transformers

    folder = tmp_path_factory.mktemp("base")
    raw = tokenizers.ByteLevelBPETokenizer()
    raw.train_from_iterator(["сцена ответ scene reply"], vocab_size=300, special_tokens=["<pad>", "<eos>", "<bos>"])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw._tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>"
    )
    config = transformers.Gemma3TextConfig(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, max_position_embeddings=512, pad_token_id=0, eos_token_id=1, bos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.Gemma3ForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def register(folder: Path, splits: tuple[str, ...] = ("train",) * 10 + ("dev", "test")) -> Path:
    folder = folder / "sailor"
    folder.mkdir()
    rows = [
        {"id": f"en-{i}", "language": "en", "split": split, "text": f"text {i}", "linkage": ["rope"],
         "reply": "A rope remembers.", "fit": 0.5}
        for i, split in enumerate(splits)
    ]  # fmt: skip
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def test_only_the_reply_is_learnt(base: Path) -> None:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    row = {"text": "Я иду", "language": "ru", "linkage": ["шаг"], "reply": "Шаг есть."}
    ids, labels = encode_row(tokenizer, row, "эхо")
    prompt = ScenePrompt("Я иду", "ru", ["шаг"], ["эхо"]).render()
    learnt = [label for label in labels if label != -100]
    assert len(ids) == len(labels)
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(learnt) == " Шаг есть.<eos>"
    assert tokenizer.decode(ids[1 : len(ids) - len(learnt)]) == prompt
    assert ids[-len(learnt) :] == learnt


def test_training_lowers_the_loss_and_leaves_an_adapter_with_its_receipt(base: Path, tmp_path: Path) -> None:
    folder = register(tmp_path)
    receipt = train(folder, base, "tiny", base_facts=FACTS, **OPTIONS)
    figures = receipt["figures"]
    assert min(figures["dev_loss_by_epoch"]) < figures["dev_loss_base"] - 0.2
    assert len(figures["dev_loss_by_epoch"]) == 2
    assert (receipt["model"], receipt["prompt_version"], receipt["base"]) == ("tiny", PROMPT_VERSION, FACTS)
    adapter = load_adapter(folder / "adapters" / "tiny")
    assert adapter.sha256 == receipt["adapter_sha256"]
    assert len(adapter.modules) == 2 * len(TARGETS)
    assert json.loads((folder / "adapters/tiny/receipt.json").read_text()) == receipt
    assert [p.name for p in (folder / "adapters").iterdir()] == ["tiny"]


def test_the_same_seed_gives_the_same_adapter(base: Path, tmp_path: Path) -> None:
    folder = register(tmp_path)
    first = train(folder, base, "tiny", base_facts=FACTS, **OPTIONS | {"epochs": 1})
    second = train(folder, base, "tiny", base_facts=FACTS, **OPTIONS | {"epochs": 1})
    assert first["adapter_sha256"] == second["adapter_sha256"]


def test_rows_to_learn_from_and_to_judge_by_are_needed(base: Path, tmp_path: Path) -> None:
    with pytest.raises(RegisterError, match="needs rows of split train and of split dev"):
        train(register(tmp_path, ("train",) * 4), base, "tiny", base_facts=FACTS, **OPTIONS)


def test_a_loss_that_is_no_number_stops_and_leaves_nothing(base: Path, tmp_path: Path) -> None:
    folder = register(tmp_path)
    with pytest.raises(RegisterError, match="lower the rate"):
        train(folder, base, "tiny", base_facts=FACTS, **OPTIONS | {"rate": math.inf})
    assert not (folder / "adapters").exists()
