"""A vocabulary of words, as the fake servers have: a local model of which nothing else is there."""

from __future__ import annotations

import io
import re
from pathlib import Path

import sentencepiece

from scenepipe.models.catalogue import LocalModel
from scenepipe.testing.backend_suite import RU
from scenepipe.testing.fake_model import PLACES, VERBS


def word_model(folder: Path) -> LocalModel:
    words = {word for table in (VERBS, PLACES) for language in table.values() for word in language}
    words |= {*re.findall(r"\w+", RU), "тишина", "silence", "and", "Дрожь", "Тишина"}
    lines = [f"{word} {word}, {word}." for word in sorted(words)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, model_type="word", hard_vocab_limit=False, minloglevel=2
    )
    (folder / "words.model").write_bytes(model.getvalue())
    return LocalModel("words", folder / "words.gguf", "0" * 64, folder / "words.model", "0" * 64)
