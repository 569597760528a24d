"""Faults of a register's examples that a schema cannot see: doubles, wrong language, a linkage the reply ignores.

Rows of a register of kind ``scene`` have their own checks in `scenepipe.models.check_scenes`.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from scenepipe.models.check_scenes import check_scene
from scenepipe.register import Example, prompt_and_answer
from scenepipe.scene import fold

if TYPE_CHECKING:
    from scenepipe.models.catalogue import LocalModel
    from scenepipe.register import Fit, Row

Fault = tuple[Literal["error", "warning"], str, str]

_WORD = re.compile(r"[^\W\d_]+(?:[-’'][^\W\d_]+)*")
_SCRIPTS = {"ru": re.compile("[а-яё]"), "en": re.compile("[a-z]")}


def check_examples(rows: Sequence[Row], model: LocalModel | None = None) -> list[Fault]:
    """Level, row id and message of every fault.

    Args:
        model: also see that each prompt leaves room for its reply in the model's context.
    """
    faults = [*_of_the_whole(rows)]
    for row in rows:
        faults += _of_a_row(row) if isinstance(row, Example) else check_scene(row)
    if model is not None and model.tokenizer is not None:
        faults += _too_long(rows, model)
    return faults


def _of_the_whole(rows: Sequence[Row]) -> Iterator[Fault]:
    for split in ("train", "dev", "test"):
        if not any(row.split == split for row in rows):
            yield "error", split, f"no row of split '{split}'; training, choosing and reporting need one each"
    for language in ("ru", "en"):
        if not any(row.language == language for row in rows):
            yield "warning", language, f"no row in language '{language}'"
    for id, count in Counter(row.id for row in rows).items():
        if count > 1:
            yield "error", id, f"this id is used {count} times"
    first: dict[str, str] = {}
    for row in rows:
        if first.setdefault(fold(row.text), row.id) != row.id:
            yield (
                "error",
                row.id,
                f"the same text as {first[fold(row.text)]}; over two splits it would be learnt by heart",
            )


def check_fits(rows: Sequence[Fit], examples: Sequence[Row]) -> list[Fault]:
    """The same of inputs without replies; none may repeat an example, whose own fit says it already."""
    faults: list[Fault] = []
    for id, count in Counter(row.id for row in (*rows, *examples)).items():
        if count > 1:
            faults.append(("error", id, f"this id is used {count} times"))
    first = {fold(row.text): row.id for row in reversed(examples)}
    for row in rows:
        if first.setdefault(fold(row.text), row.id) != row.id:
            faults.append(("error", row.id, f"the same text as {first[fold(row.text)]}; leave one of them out"))
        if not row.text.strip():
            faults.append(("error", row.id, "its text is empty"))
        elif _script(row.text) not in (row.language, None):
            faults.append(
                ("error", row.id, f"its text is written in another script than its language '{row.language}'")
            )
    return faults


def _of_a_row(row: Example) -> Iterator[Fault]:
    for field in ("text", "reply"):
        text: str = getattr(row, field)
        if not text.strip():
            yield (
                "error",
                row.id,
                f"its {field} is empty" + ("; nothing is left to learn from" if field == "reply" else ""),
            )
        elif _script(text) not in (row.language, None):
            yield "error", row.id, f"its {field} is written in another script than its language '{row.language}'"
    if not row.linkage:
        yield "error", row.id, "its linkage is empty; name two or three noun lemmas of the reply"
    missing = [symbol for symbol in row.linkage if not _unfolded(symbol, row.reply, row.language)]
    if missing:
        yield (
            "warning",
            row.id,
            f"its reply does not use {', '.join(missing)}; a linkage names words that the reply unfolds",
        )


def _script(text: str) -> str | None:
    """``ru`` or ``en`` by the letters, None without any of either."""
    counts = {language: len(letters.findall(text.lower())) for language, letters in _SCRIPTS.items()}
    return max(counts, key=lambda language: counts[language]) if any(counts.values()) else None


def _unfolded(symbol: str, reply: str, language: str) -> bool:
    wanted = symbol.rpartition(":")[2].lower().replace("ё", "е")
    return any(wanted in _lemmas(word, language) for word in _WORD.findall(reply.lower()))


@functools.lru_cache(maxsize=65536)
def _lemmas(word: str, language: str) -> frozenset[str]:
    """The word's possible lemmas, ё as е, and the word itself."""
    if language == "ru":
        found = {str(parse.normal_form) for parse in _morphology().parse(word)}
    else:
        import simplemma

        found = {str(simplemma.lemmatize(word, lang="en")).lower()}
    return frozenset(lemma.replace("ё", "е") for lemma in found | {word})


@functools.cache
def _morphology() -> Any:
    import pymorphy3

    return pymorphy3.MorphAnalyzer()


def _too_long(rows: Sequence[Row], model: LocalModel) -> Iterator[Fault]:
    """Rows whose reply would lie beyond the model's context, counted with the model's own vocabulary."""
    import sentencepiece

    from scenepipe.models.vocabulary import facts

    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model.tokenizer))
    context = facts(model).context
    for row in rows:
        tokens = len(pieces.encode(" ".join(prompt_and_answer(row)))) + 2  # begin and end of text
        if tokens > context:
            yield "error", row.id, f"prompt and reply are {tokens} tokens, the model's context is {context}"
