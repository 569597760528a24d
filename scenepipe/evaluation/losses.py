"""Every loss that an evaluation needs, measured mixture by mixture: who scores which written replies, in which scene."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from scenepipe.evaluation.curves import mixtures
from scenepipe.evaluation.forms import said
from scenepipe.evaluation.perplexity import Loss, Scorer
from scenepipe.mixture import Mixture, of

if TYPE_CHECKING:
    from scenepipe.register import Example

Tests = Mapping[str, Sequence["Example"]]
OWN, NONE, OTHER = "own", "none", "other"


class Case(NamedTuple):
    """A mixture that scores a register's test replies, with their own linkage, with none, or with another text's."""

    mixture: str
    register: str
    linkage: str = OWN


Losses = Mapping[Case, Sequence[Loss]]


def cases(names: Sequence[str]) -> dict[Case, Mixture]:
    """What the matrix, the mixture curves and the causality need, each once."""
    found: dict[Case, Mixture] = {}
    for speaker in (of({}), *(of({name: 1.0}) for name in names)):
        found |= {Case(speaker.id, name): speaker for name in names}
    for name in names:
        found |= {Case(of({name: 1.0}).id, name, linkage): of({name: 1.0}) for linkage in (NONE, OTHER)}
    for pair in itertools.combinations(names, 2):
        found |= {Case(mixture.id, name): mixture for mixture in mixtures(pair) for name in pair}
    return found


def measure(scorer: Scorer, tests: Tests, tick: Callable[[int, int], None] | None = None) -> Losses:
    """Every case's losses, in the order of the register's test rows.

    Args:
        tests: test rows by register.
        tick: called with the rows that are done and that there are.
    """
    wanted = cases(list(tests))
    total, done = sum(len(tests[case.register]) for case in wanted), 0
    found: dict[Case, Sequence[Loss]] = {}
    for case, mixture in wanted.items():
        rows = [scorer.encode(row) for row in relinked(tests[case.register], case.linkage)]
        losses: dict[int, Loss] = {}
        for place, loss in scorer.losses(rows, mixture.weights):
            losses[place] = loss
            done += 1
            if tick is not None:
                tick(done, total)
        found[case] = [losses[place] for place in range(len(rows))]
    return found


def relinked(rows: Sequence[Example], linkage: str) -> list[Example]:
    """The rows with their own linkage, with none, or with another row's."""
    if linkage == OWN:
        return list(rows)
    own = [(row.language, row.linkage) for row in rows]
    chains = [()] * len(rows) if linkage == NONE else list(foreign(own, own))
    return [row.model_copy(update={"linkage": chain}) for row, chain in zip(rows, chains, strict=True)]


def foreign(
    own: Sequence[tuple[str, Sequence[str]]], pool: Sequence[tuple[str, Sequence[str]]]
) -> Iterator[tuple[str, ...]]:
    """For each (language, linkage), the next linkage of the same language in the pool that shares no symbol with it.

    Where every other shares one, the next that is not the same; where there is none, the own.
    """
    places = {(code, tuple(chain)): place for place, (code, chain) in enumerate(pool)}
    for code, given in own:
        chain = tuple(given)
        after = places.get((code, chain), -1) + 1
        rotated = (*pool[after:], *pool[:after])
        others = [tuple(other) for language, other in rotated if language == code and tuple(other) != chain]
        apart = (other for other in others if not said(" ".join(chain), other))
        yield next(apart, others[0] if others else chain)
