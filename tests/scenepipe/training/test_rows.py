"""What is learnt: the reply and the end of text, nothing of the prompt, never nothing."""

from __future__ import annotations

from typing import Any

import pytest

from scenepipe.errors import RegisterError
from scenepipe.prompt import ScenePrompt
from scenepipe.register import Example
from scenepipe.training.rows import IGNORED, encode_row, encode_rows
from scenepipe.training.train import Base

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tokenizer(base: Base) -> Any:
    import transformers

    return transformers.AutoTokenizer.from_pretrained(base.folder)


def example(reply: str = "Шаг есть.", id: str = "ru-1", text: str = "Я иду") -> Example:
    return Example(id=id, language="ru", split="train", text=text, linkage=("шаг",), reply=reply, fit=0.5)


def test_only_the_reply_is_learnt(tokenizer: Any) -> None:
    row = encode_row(tokenizer, example(), "эхо")
    prompt = ScenePrompt("Я иду", "ru", ["шаг"], ["эхо"]).render()
    learnt = [label for label in row.labels if label != IGNORED]
    assert len(row.ids) == len(row.labels)
    assert row.learnt == len(learnt)
    assert row.ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(learnt) == " Шаг есть.<eos>"
    assert tokenizer.decode(row.ids[1 : -len(learnt)]) == prompt
    assert row.ids[-len(learnt) :] == learnt


def test_a_row_whose_labels_are_all_masked_is_named(tokenizer: Any) -> None:
    class Silent:
        bos_token_id, eos_token_id = 2, 1

        def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
            return {"input_ids": [] if text.startswith(" ") else [5, 6]}

    with pytest.raises(RegisterError, match="rows without a reply to learn from: ru-1, ru-2; every label"):
        encode_rows(Silent(), [example(), example(id="ru-2")], max_tokens=100)


def test_a_row_that_is_too_long_is_refused_and_not_cut(tokenizer: Any) -> None:
    with pytest.raises(
        RegisterError, match=r"rows longer than max_tokens: 60: ru-9 \(\d+\); shorten them, or raise it"
    ):
        encode_rows(tokenizer, [example("слово " * 50, "ru-9")], max_tokens=60)


def test_echoes_stand_in_the_asked_share_of_prompts(tokenizer: Any) -> None:
    rows = [example(id=f"ru-{i}", text=f"слово {i}") for i in range(200)]
    plain = encode_rows(tokenizer, rows, max_tokens=1000)
    echoing = encode_rows(tokenizer, rows, max_tokens=1000, echo_share=0.25, seed=3)
    longer = sum(len(e.ids) > len(p.ids) for e, p in zip(echoing, plain, strict=True))
    assert 30 <= longer <= 70
    assert echoing == encode_rows(tokenizer, rows, max_tokens=1000, echo_share=0.25, seed=3)
    assert echoing != encode_rows(tokenizer, rows, max_tokens=1000, echo_share=0.25, seed=4)
