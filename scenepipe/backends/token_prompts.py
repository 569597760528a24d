"""Prompts and messages as token ids, by a tokenizer of Transformers: what every engine that takes ids shares."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from scenepipe.contracts import Request
from scenepipe.errors import BackendError


class TokenPrompts:
    """One model's tokenizer with what fits its context; for any thread.

    Transformers sets the tokenizer's mode, control tokens read or not, before each call: calls take turns.

    Args:
        fits: tokens of prompt and reply together.
        end: the token that stands for an empty prompt where the model has no beginning-of-text token.
    """

    def __init__(self, tokenizer: Any, *, fits: int, end: int | None) -> None:
        self._tokenizer = tokenizer
        self._turn = threading.Lock()
        self._end = end
        self.fits = fits
        self.chat = getattr(tokenizer, "chat_template", None) is not None

    def tokens(self, text: str, *, special: bool = False) -> list[int]:
        """Token ids of a text; what looks like a control token in it stays text.

        Args:
            special: with the model's beginning-of-text token in front, where it has one.
        """
        ids: list[int] = self._encoded(text, add_special_tokens=special).input_ids
        return ids

    def pieces(self, text: str) -> list[tuple[int, str]]:
        """Token ids of a text with their characters; a character that several tokens share belongs to the last of them."""
        told = self._encoded(text, add_special_tokens=False, return_offsets_mapping=True)
        return list(zip(told.input_ids, _cut(text, [end for _, end in told.offset_mapping]), strict=True))

    def _encoded(self, text: str, **options: bool) -> Any:
        with self._turn:
            return self._tokenizer(text, split_special_tokens=True, **options)

    def of(self, request: Request) -> list[int]:
        """Token ids of a request's prompt or messages, at least one.

        Raises:
            BackendError: neither or both, messages without a chat template, or too long for the context.
        """
        if (request.prompt is None) == (request.messages is None):
            raise BackendError("a request has a prompt or messages, exactly one of them")
        if request.prompt is not None:
            ids = self.tokens(request.prompt, special=True)
        elif not self.chat:
            raise BackendError("this model has no chat template, so it takes a prompt, not messages")
        else:
            ids = self._chat(request)
        self.must_fit(len(ids) + 1, "prompt and one token of reply have")
        return ids or [self._start()]

    def _chat(self, request: Request) -> list[int]:
        """Token ids by the template. Its control tokens are the only ones: 5.23 sees to that, 5.19 does not yet."""
        messages = [message.wire() for message in request.messages or ()]
        try:
            with self._turn:
                told = self._tokenizer.apply_chat_template(
                    messages, add_generation_prompt=True, return_dict=True, sanitize_control_tokens=True
                )
        except Exception as error:  # a template is a program of the model's: it may raise anything
            raise BackendError(f"the model's chat template refused these messages: {error}") from None
        ids: list[int] = told["input_ids"]
        return ids

    def _start(self) -> int:
        told = self._tokenizer.bos_token_id
        told = self._end if told is None else told
        if told is None:
            raise BackendError("the prompt is empty, and this model has no token to begin with; give it a prompt")
        return int(told)

    def must_fit(self, tokens: int, what: str) -> None:
        """Refuse what is longer than the context.

        Raises:
            BackendError: with both figures.
        """
        if tokens > self.fits:
            raise BackendError(
                f"{what} {tokens} tokens and {self.fits} fit; raise backend.context, recall fewer echoes, or shorten "
                "the text"
            )


def token_names(tokenizer: Any, count: int) -> list[str]:
    """Names of the first tokens of a vocabulary, as many as there are."""
    names: list[str] = tokenizer.convert_ids_to_tokens(list(range(min(count, len(tokenizer)))))
    return names


def _cut(text: str, ends: Sequence[int]) -> list[str]:
    """A text cut at token ends."""
    pieces, start = [], 0
    for number, end in enumerate(ends):
        shared = number + 1 < len(ends) and ends[number + 1] == end
        pieces.append("" if shared else text[start:end])
        start = start if shared else end
    return pieces
