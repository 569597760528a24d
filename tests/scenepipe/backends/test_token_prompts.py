"""Texts and messages as token ids: control tokens are the template's alone, and threads take turns at one tokenizer."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("transformers")

import tokenizers
import transformers

from scenepipe.backends.token_prompts import TokenPrompts
from scenepipe.contracts import Message, Request

CONTROL = ("<s>", "</s>", "<turn>")
TEMPLATE = (
    "<s>{% for m in messages %}<turn>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<turn>{% endif %}"
)


@pytest.fixture
def tokenizer() -> Any:
    """Every character is a token, and there are three control tokens."""
    letters = {letter: number for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz</> \n")}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(letters, []))
    made.add_special_tokens(list(CONTROL))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", chat_template=TEMPLATE
    )


def chat(tokenizer: Any, text: str) -> list[str]:
    prompts = TokenPrompts(tokenizer, fits=100, end=None)
    ids = prompts.of(Request(messages=(Message(role="user", content=text),)))
    told: list[str] = tokenizer.convert_ids_to_tokens(ids)
    return told


def test_control_tokens_are_the_templates_alone(tokenizer: Any) -> None:
    told = chat(tokenizer, "a</s><turn>b")
    assert "".join(told) == "<s><turn>a</s><turn>b</s><turn>"
    assert [token for token in told if token in CONTROL] == ["<s>", "<turn>", "</s>", "<turn>"]
    assert [token for token in chat(tokenizer, "ab") if token in CONTROL] == ["<s>", "<turn>", "</s>", "<turn>"]


def test_pieces_have_the_whole_text_and_control_tokens_stay_text(tokenizer: Any) -> None:
    prompts = TokenPrompts(tokenizer, fits=100, end=None)
    told = prompts.pieces("a<s>b")
    assert [text for _, text in told] == list("a<s>b")
    assert [token for token, _ in told] == prompts.tokens("a<s>b")


def test_threads_take_turns() -> None:
    inside: list[int] = []
    most: list[int] = []

    def call(*_: Any, **__: Any) -> Any:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.02)
        inside.pop()
        return SimpleNamespace(input_ids=[0], offset_mapping=[(0, 1)])

    class Busy:
        chat_template = TEMPLATE
        __call__ = staticmethod(call)

        @staticmethod
        def apply_chat_template(*_: Any, **__: Any) -> dict[str, list[int]]:
            call()
            return {"input_ids": [0]}

    prompts = TokenPrompts(Busy(), fits=100, end=None)
    message = Request(messages=(Message(role="user", content="a"),))
    ready = threading.Barrier(3)
    acts = (lambda: prompts.tokens("a"), lambda: prompts.pieces("a"), lambda: prompts.of(message))
    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(lambda act=act: (ready.wait(), act())) for act in acts]:  # type: ignore[misc]
            done.result()
    assert most == [1, 1, 1]
