"""A tiny random base and a register small enough to train on it in a second."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scenepipe.register import Register, load_register
from scenepipe.training.train import Base

CARD = """\
register: 1
name: sailor
titles: {ru: Моряк, en: Sailor}
description: {ru: Говорит коротко., en: Speaks briefly.}
symbol: "~"
emoji: "⚓"
licence: CC0-1.0
adapters: {}  # none yet
"""


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
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
    return Base("tiny", folder, "0" * 64, "1" * 64)


def make_register(
    parent: Path, splits: tuple[str, ...] = ("train",) * 10 + ("dev", "test"), reply: str = "A rope {}."
) -> Register:
    folder = parent / "sailor"
    folder.mkdir()
    (folder / "register.yaml").write_text(CARD, encoding="utf-8")
    rows = [
        {"id": f"en-{i}", "language": "en", "split": split, "text": f"text {i}", "linkage": ["rope"],
         "reply": reply.format("remembers" if i % 2 else "waits"), "fit": 0.5}
        for i, split in enumerate(splits)
    ]  # fmt: skip
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return load_register(folder)
