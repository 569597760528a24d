"""Does the scene decide what is said? By losses of written replies, by symbols in drawn ones, and by swaps.

* loss: nats per token of the written test replies, with their own linkage, with none, with another text's
* carried: share of replies with a symbol of the linkage that the input does not contain, in any form
* used: symbols of the linkage in a reply, mean
* changed: share of replies that another linkage changes, at the same input and seed, each drawn alone; as a control,
  some are drawn a second time with nothing changed
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from scenepipe.evaluation.forms import fresh, said
from scenepipe.evaluation.intervals import SEED, Figure, bootstrap, mean, ratio
from scenepipe.evaluation.losses import NONE, OTHER, OWN, foreign
from scenepipe.evaluation.perplexity import Loss
from scenepipe.evaluation.replies import Drawn, Task


def loss_figures(losses: Mapping[str, Sequence[Loss]], groups: Sequence[str]) -> dict[str, Figure]:
    """Mean loss by linkage, and what the other linkages cost over the own.

    Args:
        losses: by linkage (own, none, other), of the same rows.
    """
    tokens = [loss.tokens for loss in losses[OWN]]
    nats = {linkage: [loss.nats for loss in losses[linkage]] for linkage in (OWN, NONE, OTHER)}
    figures = {linkage: ratio(values, tokens, groups=groups) for linkage, values in nats.items()}
    for linkage in (NONE, OTHER):
        rows = list(zip(nats[linkage], nats[OWN], tokens, strict=True))
        figures[f"{linkage}_over_own"] = bootstrap(rows, lambda t: (t[..., 0] - t[..., 1]) / t[..., 2], groups=groups)
    return figures


def symbol_figures(drawn: Sequence[Drawn]) -> dict[str, Figure]:
    """What the replies take from their linkages; replies whose linkage is all in the input carry nothing to see."""
    groups = [each.task.asked.id for each in drawn]
    used = [len(said(each.text, each.task.linkage)) for each in drawn]
    given = [len(each.task.linkage) for each in drawn]
    news = [fresh(each.task.linkage, each.task.asked.text) for each in drawn]
    carried = [
        (float(bool(said(each.text, new))), each.task.asked.id) for each, new in zip(drawn, news, strict=True) if new
    ]
    figures = {"used": mean(used, groups=groups), "given": mean(given, groups=groups)}
    if carried:
        figures["carried"] = mean([value for value, _ in carried], groups=[group for _, group in carried])
    return figures


def swap_tasks(drawn: Sequence[Drawn], most: int) -> list[tuple[Task, Task]]:
    """At most so many tasks, spread over registers and inputs, each beside the same one with another's linkage."""
    tasks = [each.task for each in spread(drawn, most)]
    every = sorted({(each.task.asked.language, each.task.linkage) for each in drawn})
    chains = foreign([(task.asked.language, task.linkage) for task in tasks], every)
    return [(task, task.relinked(chain)) for task, chain in zip(tasks, chains, strict=True) if chain != task.linkage]


def spread(drawn: Sequence[Drawn], most: int) -> list[Drawn]:
    """A random choice, the same each time, over registers, languages and inputs."""
    ordered = sorted(drawn, key=lambda each: (each.task.asked.id, each.task.mixture.id))
    return random.Random(SEED).sample(ordered, min(most, len(ordered)))


def swap_figures(first: Sequence[Drawn], swapped: Sequence[Drawn], again: Sequence[Drawn]) -> dict[str, Any]:
    """Shares of replies that change; and what swapped ones take from their new linkage.

    Args:
        again: the first of ``first``, drawn once more.
    """
    changed = [float(a.text != b.text) for a, b in zip(first, swapped, strict=True)]
    control = [float(a.text != b.text) for a, b in zip(first, again, strict=False)]
    figures = {"changed": mean(changed), "changed_by_nothing": mean(control)}
    return figures | {f"swapped_{name}": value for name, value in symbol_figures(swapped).items() if name != "given"}
