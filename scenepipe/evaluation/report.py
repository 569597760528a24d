"""Results as JSON, as tables, and as files in a folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scenepipe.errors import InputError
from scenepipe.evaluation.curves import STEPS, Curve
from scenepipe.evaluation.goals import goals
from scenepipe.evaluation.intervals import Figure
from scenepipe.evaluation.pictures import confusion_picture, curves_picture, matrix_picture

if TYPE_CHECKING:
    from rich.console import RenderableType

RESULTS_FILE = "results.json"
REPLIES_FILE = "replies.jsonl"


def as_json(value: Any) -> Any:
    """Plain JSON values of results: every `Figure` as value, low, high, n."""
    if isinstance(value, Figure):
        return value.as_json()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: as_json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(inner) for inner in value]
    return value


def document(facts: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    """Everything: what was measured with what, the goals, every figure."""
    return {**facts, "goals": [goal.as_json() for goal in goals(results)], "weights": list(STEPS), **as_json(results)}


def free_folder(folder: Path) -> Path:
    """The folder, seen to hold no results yet: measured ones are never overwritten.

    Raises:
        InputError: it does.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output {folder} is a file; name a folder")
    if (folder / RESULTS_FILE).exists():
        raise InputError(f"{folder / RESULTS_FILE} exists and is never overwritten; give another --output")
    return folder


def write_replies(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Every drawn reply, one JSON line each; written before anything is measured on them."""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    _write(folder / REPLIES_FILE, lines)


def write_results(folder: Path, found: Mapping[str, Any], results: Mapping[str, Any]) -> list[Path]:
    """The pictures, then ``results.json``; returns the files."""
    pictures = {
        f"perplexity-{language}.svg": matrix_picture(part, language) for language, part in results["matrix"].items()
    }
    pictures["judge.svg"] = confusion_picture(results["judge"]["drawn"]["confusion"])
    pictures |= {f"curves-{code}.svg": curves_picture(some, code) for code, some in _by_language(results["curves"])}
    for name, picture in pictures.items():
        _write(folder / name, picture)
    _write(folder / RESULTS_FILE, json.dumps(found, ensure_ascii=False, indent=2) + "\n")
    return [folder / name for name in (*pictures, RESULTS_FILE)]


def _by_language(curves: Sequence[Curve]) -> Iterator[tuple[str, list[Curve]]]:
    for code in dict.fromkeys(curve.language for curve in curves):
        yield code, [curve for curve in curves if curve.language == code]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


# --- tables ----------------------------------------------------------------------------------------------------------


def tables(results: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What the command prints: the goals, then each part."""
    yield _table(
        "goals", ("", "figure", "n", "goal", ""), [
            (
                f"{goal.what} ({goal.case})" if goal.case else goal.what,
                goal.figure.show(3) if goal.figure else f"{goal.value:.3f}",
                str(goal.figure.n) if goal.figure else "",
                f"{goal.least} {goal.bound:g}",
                "reached" if goal.reached else "NOT reached",
            )
            for goal in goals(results)
        ],
    )  # fmt: skip
    for language, part in results["matrix"].items():
        speakers = list(next(iter(part["perplexity"].values())))
        rows = [
            (
                name,
                *(_two_lines(row[speaker], 1) for speaker in speakers),
                _two_lines(part["margin"][name], 2),
                str(row[name].n),
            )
            for name, row in part["perplexity"].items()
        ]
        yield _table(
            f"perplexity of written test replies, {language}",
            ("replies of", *speakers, "next best over own, less 1", "n"),
            rows,
        )
    yield from _judge_tables(results["judge"])
    yield _curve_table(results["curves"])
    yield from _causality_tables(results["causality"])
    yield _quality_table(results["quality"])


def _judge_tables(section: Mapping[str, Any]) -> Iterator[RenderableType]:
    rows = []
    for kind, part in section.items():
        cases = {"all": part["accuracy"], **part["by_language"], **part["by_register"]}
        rows += [(kind, case, figure.show(3), str(figure.n)) for case, figure in cases.items()]
    yield _table("judge: share of replies whose register it names", ("replies", "of", "accuracy", "n"), rows)
    names = list(next(iter(section["drawn"]["confusion"].values())))
    counts = [(name, *(str(row[other]) for other in names)) for name, row in section["drawn"]["confusion"].items()]
    yield _table("judge: what drawn replies were taken for", ("register", *names), counts)


def _curve_table(curves: Sequence[Curve]) -> RenderableType:
    heads = ("pair", "", *(f"{weight:g}" for weight in STEPS), "Spearman", "perplexity between / worse end")
    rows = [
        (
            f"{curve.pair[0]} over {curve.pair[1]}",
            curve.language,
            *(f"{figure.value:+.1f}" for figure in curve.log_odds),
            curve.spearman.show(2),
            ", ".join(f"{figure.value:.2f}" for figure in curve.excess.values()),
        )
        for curve in curves
    ]
    return _table("mixture curves: judge's mean log-odds by weight of the first", heads, rows)


def _causality_tables(section: Mapping[str, Any]) -> Iterator[RenderableType]:
    rows = [
        (
            name,
            language,
            *(figures[key].show(2) for key in ("own", "none", "other", "other_over_own")),
            str(figures["own"].n),
        )
        for language, registers in section["loss"].items()
        for name, figures in registers.items()
    ]
    heads = ("register", "", "own", "none", "another's", "another's − own", "n")
    yield _table("nats per token of written test replies, by linkage", heads, rows)
    cases = [(case, key, figure) for case, part in section["symbols"].items() for key, figure in part.items()]
    cases += [("swaps", key, figure) for key, figure in section["swaps"].items()]
    yield _table(
        "the scene in drawn replies", ("", "", "figure", "n"), [(c, k, f.show(3), str(f.n)) for c, k, f in cases]
    )


def _quality_table(section: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    keys = [key for key, value in section["all"].items() if isinstance(value, Figure)]
    rows = [(key.replace("_", " "), *(_two_lines(part[key], 3) for part in section.values())) for key in keys]
    rows.append(("n", *(str(part["fidelity"].n) for part in section.values())))
    return _table("replies, and the written ones beside them", ("", *section), rows)


def _two_lines(figure: Figure, digits: int) -> str:
    """The value with its interval below it."""
    return figure.show(digits).replace(" ", "\n", 1)


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for place, head in enumerate(heads):
        table.add_column(head, justify="left" if place == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
