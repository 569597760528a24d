"""What replies are worth beside the written ones: language, words, repetition, copying, aptness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scenepipe.contracts import Encoder
from scenepipe.evaluation.aptness import aptness
from scenepipe.evaluation.copying import COPIED, Training
from scenepipe.evaluation.intervals import Figure, bootstrap, bootstrap_two, mean
from scenepipe.evaluation.voices import Said
from scenepipe.evaluation.words import ReplyWords, read_words


def quality_figures(
    replies: Sequence[Said],
    written: Sequence[Said],
    training: Training,
    encoder: Encoder | None,
) -> dict[str, Any]:
    """Figures of one set of replies, each beside that of the written test replies where one is.

    Args:
        replies, written: of the same language or languages.
        encoder: None leaves aptness out.
    """
    groups, own_groups = [reply.input_id for reply in replies], [reply.input_id for reply in written]
    counts, own_counts = _counts(replies), _counts(written)
    shared = [training.longest_shared(reply.text) for reply in replies]
    figures: dict[str, Any] = {
        "fidelity": mean([float(count.faithful) for count in counts], groups=groups),
        "repetition": mean([count.repetition for count in counts], groups=groups),
        "repetition_written": mean([count.repetition for count in own_counts], groups=own_groups),
        "copied": mean([float(length >= COPIED) for length in shared], groups=groups),
        "longest_shared": mean(shared, groups=groups),
        "longest_shared_most": max(shared),
        "words": mean([count.words for count in counts], groups=groups),
        "words_written": mean([count.words for count in own_counts], groups=own_groups),
        **_unknown(counts, own_counts, groups, own_groups),
    }
    return figures if encoder is None else figures | _apt(encoder, replies, written)


def _counts(replies: Sequence[Said]) -> list[ReplyWords]:
    return [read_words(reply.text, reply.language) for reply in replies]


def _unknown(
    counts: Sequence[ReplyWords], own: Sequence[ReplyWords], groups: Sequence[str], own_groups: Sequence[str]
) -> dict[str, Figure]:
    """Share of words that no dictionary has, drawn and written, and the first less the second."""
    drawn, written = ([(count.unknown, count.words) for count in each] for each in (counts, own))
    return {
        "unknown": bootstrap(drawn, _share, groups=groups),
        "unknown_written": bootstrap(written, _share, groups=own_groups),
        "unknown_more": bootstrap_two(drawn, written, lambda a, b: _share(a) - _share(b), groups=(groups, own_groups)),
    }


def _apt(encoder: Encoder, replies: Sequence[Said], written: Sequence[Said]) -> dict[str, Figure]:
    """Aptness in ten, drawn and written, and the first over the second."""
    drawn, own = ([(hit, 1.0) for hit in _hits(encoder, each)] for each in (replies, written))
    groups, own_groups = ([reply.input_id for reply in each] for each in (replies, written))
    return {
        "aptness": bootstrap(drawn, _share, groups=groups),
        "aptness_written": bootstrap(own, _share, groups=own_groups),
        "aptness_share": bootstrap_two(drawn, own, lambda a, b: _share(a) / _share(b), groups=(groups, own_groups)),
    }


def _share(totals: Any) -> Any:
    return totals[..., 0] / totals[..., 1]


def _hits(encoder: Encoder, replies: Sequence[Said]) -> list[float]:
    """Chance of a hit of each reply, among the inputs of its own set and language."""
    found: dict[int, float] = {}
    for language in {reply.language for reply in replies}:
        mine = [place for place, reply in enumerate(replies) if reply.language == language]
        pool = list(dict.fromkeys(replies[place].input for place in mine))
        own = [pool.index(replies[place].input) for place in mine]
        hits = aptness(encoder, [replies[place].text for place in mine], own, pool)
        found |= dict(zip(mine, hits, strict=True))
    return [found[place] for place in range(len(replies))]
