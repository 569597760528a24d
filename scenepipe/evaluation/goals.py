"""What the shipped voices are held to: each goal, the figure that decides it, and whether it is reached."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from scenepipe.evaluation.intervals import Figure

MARGIN = 0.10
ACCURACY, ACCURACY_PER_LANGUAGE = 0.85, 0.80
SPEARMAN_MEDIAN, SPEARMAN_LEAST = 0.9, 0.7
CARRIED, USED, CHANGED, NATS_OVER_OWN = 0.95, 2.0, 0.9, 0.5
APTNESS_SHARE = 0.75
UNKNOWN_MORE = 0.01
FIDELITY = 0.98
COPIED = 0.05


class Goal(NamedTuple):
    """One goal.

    Args:
        what: in words.
        value: the figure; the interval is that of the case that decides, None where it is of several cases.
        least: ``at least`` or ``at most`` ``bound``.
    """

    what: str
    value: float
    least: Literal["at least", "at most"]
    bound: float
    figure: Figure | None = None
    case: str = ""

    @property
    def reached(self) -> bool:
        return self.value >= self.bound if self.least == "at least" else self.value <= self.bound

    def as_json(self) -> dict[str, Any]:
        interval = self.figure.as_json() if self.figure else {"value": round(self.value, 5)}
        return {"what": self.what, **interval, "goal": f"{self.least} {self.bound:g}", "reached": self.reached} | (
            {"case": self.case} if self.case else {}
        )


def goals(results: Mapping[str, Any]) -> list[Goal]:
    """Every goal that these results can decide; of several cases the worst decides, and is named."""
    return [*_matrix(results), *_judge(results), *_curves(results), *_causality(results), *_quality(results)]


def _matrix(results: Mapping[str, Any]) -> Iterator[Goal]:
    margins = {
        f"{register}, {language}": figure
        for language, section in results["matrix"].items()
        for register, figure in section["margin"].items()
    }
    yield from _worst("perplexity of the next best adapter over the own, less 1", margins, "at least", MARGIN)


def _judge(results: Mapping[str, Any]) -> Iterator[Goal]:
    drawn = results["judge"]["drawn"]
    yield _one("judge's accuracy on drawn replies", drawn["accuracy"], "at least", ACCURACY)
    yield from _worst("the same, per language", drawn["by_language"], "at least", ACCURACY_PER_LANGUAGE)


def _curves(results: Mapping[str, Any]) -> Iterator[Goal]:
    named = {f"{curve.pair[0]}–{curve.pair[1]}, {curve.language}": curve for curve in results["curves"]}
    if not named:
        return
    median = statistics.median(curve.spearman.value for curve in named.values())
    yield Goal("mixture curves: Spearman, median", median, "at least", SPEARMAN_MEDIAN)
    yield from _worst("mixture curves: Spearman", {c: v.spearman for c, v in named.items()}, "at least", SPEARMAN_LEAST)
    excess = {f"{name}’s replies, {case}": f for case, v in named.items() for name, f in v.excess.items()}
    yield from _worst("mixture curves: perplexity between over the worse end", excess, "at most", 1.0)


def _causality(results: Mapping[str, Any]) -> Iterator[Goal]:
    section = results["causality"]
    symbols = section["symbols"]["all"]
    if "carried" in symbols:
        yield _one("replies with a symbol that the input lacks", symbols["carried"], "at least", CARRIED)
    yield _one("symbols of the linkage used", symbols["used"], "at least", USED)
    if section["swaps"]:
        yield _one("replies that another linkage changes", section["swaps"]["changed"], "at least", CHANGED)
    nats = {
        f"{name}, {language}": figures["other_over_own"]
        for language, registers in section["loss"].items()
        for name, figures in registers.items()
    }
    yield from _worst("nats that another's linkage costs", nats, "at least", NATS_OVER_OWN)


def _quality(results: Mapping[str, Any]) -> Iterator[Goal]:
    every = results["quality"]["all"]
    if "aptness_share" in every:
        yield _one("aptness in ten over the written replies’", every["aptness_share"], "at least", APTNESS_SHARE)
    yield _one("unknown words, more than in written replies", every["unknown_more"], "at most", UNKNOWN_MORE)
    yield _one("language fidelity", every["fidelity"], "at least", FIDELITY)
    yield _one("replies that copy 40 characters", every["copied"], "at most", COPIED)


def _one(what: str, figure: Figure, least: Literal["at least", "at most"], bound: float) -> Goal:
    return Goal(what, figure.value, least, bound, figure)


def _worst(
    what: str, cases: Mapping[str, Figure], least: Literal["at least", "at most"], bound: float
) -> Iterator[Goal]:
    """The goal that the worst case decides; none where there is no case."""
    if not cases:
        return
    pick = min if least == "at least" else max
    case = pick(cases, key=lambda name: cases[name].value)
    yield Goal(f"{what}, worst" if len(cases) > 1 else what, cases[case].value, least, bound, cases[case], case)
