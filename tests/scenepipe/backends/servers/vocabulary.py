"""What the fake servers have: registers under names of their own, and a vocabulary of words, of a model of which nothing
else is there."""

from __future__ import annotations

import io
import re
from pathlib import Path

import sentencepiece

from scenepipe.models.catalogue import LocalModel
from scenepipe.register import Register
from scenepipe.testing.backend_suite import RU
from scenepipe.testing.fake_model import PLACES, VERBS

NAMES = ("poet", "philosopher")
REGISTERS = [Register(name, Path(), {}, {}, "●", "🙂", "CC0-1.0", {}) for name in NAMES]
_MIXED = (*NAMES, "poet@0.5", "poet@0.5+philosopher@0.5", "poet@0.5+philosopher@0.3")
DEPLOYED = {mixture: f"lora-{number}" for number, mixture in enumerate(_MIXED)}
"""Every mixture that the suite asks for, by the name that it has at a server whose adapters have names."""


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
