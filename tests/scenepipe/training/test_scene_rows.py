"""An adapter of kind ``scene`` is trained by the same trainer on its own prompt and its own answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scenepipe.models.catalogue import LocalModel
from scenepipe.register import Register, adapter_of, load_register, scene_examples
from scenepipe.scene_prompt import EXAMPLES, SCENE_PROMPT_VERSION, SceneRequest
from scenepipe.training.rows import IGNORED, encode_row, encode_rows
from scenepipe.training.settings import TrainSettings
from scenepipe.training.train import Base, train
from tests.scenepipe.training.conftest import CARD

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def make_reader(parent: Path) -> Register:
    folder = parent / "sailor"
    folder.mkdir()
    (folder / "register.yaml").write_text(CARD + "kind: scene\n", encoding="utf-8")
    text, told = EXAMPLES["en"][0]
    rows = [
        {"id": f"en-{i}", "language": "en", "split": split, "text": f"{text} {i}", "scene": json.loads(told.to_json())}
        for i, split in enumerate(("train",) * 6 + ("dev", "test"))
    ]
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return load_register(folder)


def test_only_the_answer_is_learnt_and_an_echo_changes_nothing(base: Base, tmp_path: Path) -> None:
    import transformers

    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(base.folder)
    example = scene_examples(make_reader(tmp_path))[0]
    row = encode_row(tokenizer, example, "an echo")
    learnt = [label for label in row.labels if label != IGNORED]
    assert tokenizer.decode(learnt) == f" {example.scene.to_json()}<eos>"
    prompt = SceneRequest(example.text, "en", examples=False).render()
    assert tokenizer.decode(row.ids[1 : -len(learnt)]) == prompt
    assert encode_rows(tokenizer, [example] * 3, max_tokens=2000, echo_share=1.0) == [row] * 3


def test_training_lowers_the_loss_and_proves_what_it_was_trained_for(base: Base, tmp_path: Path) -> None:
    register = make_reader(tmp_path)
    settings = TrainSettings(
        rank=4, rate=0.02, epochs=2, batch=4, evaluations=1, seed=1, dtype="float32", max_tokens=2000
    )
    receipt = train(register, base, settings)
    assert receipt["figures"]["dev_loss"] < receipt["figures"]["dev_loss_base"] - 0.2
    assert (receipt["kind"], receipt["prompt_version"]) == ("scene", SCENE_PROMPT_VERSION)
    named = replace(register, adapters={"tiny": register.folder / "adapters/tiny"})
    model = LocalModel("tiny", Path("tiny.gguf"), base.sha256, None, base.tokenizer_sha256)
    assert adapter_of(named, model).sha256 == receipt["adapter_sha256"]
