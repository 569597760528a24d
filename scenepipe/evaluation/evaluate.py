"""The whole evaluation: from drawn replies and a loaded scorer to every figure."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from scenepipe.evaluation.causality import loss_figures, swap_figures, symbol_figures
from scenepipe.evaluation.copying import Training
from scenepipe.evaluation.curves import Curve, curve, mixtures
from scenepipe.evaluation.drawing import Options, Progress, Replies, first_inputs
from scenepipe.evaluation.inputs import LANGUAGES, Written
from scenepipe.evaluation.judge import Judge, train_judge
from scenepipe.evaluation.losses import NONE, OTHER, OWN, Case, Losses, measure
from scenepipe.evaluation.matrix import case_id, matrix_figures
from scenepipe.evaluation.perplexity import Scorer
from scenepipe.evaluation.quality import quality_figures
from scenepipe.evaluation.replies import Drawn
from scenepipe.evaluation.voices import Said, judge_figures, log_odds

if TYPE_CHECKING:
    from scenepipe.contracts import Encoder
    from scenepipe.models.catalogue import LocalModel
    from scenepipe.register import Example, Register


def evaluate(
    registers: Sequence[Register], replies: Replies, scorer: Scorer, options: Options, progress: Progress
) -> dict[str, Any]:
    """Every figure, from replies that are drawn and a scorer that is loaded.

    Returns:
        Sections of `Figure` by name; `scenepipe.evaluation.report` writes them.
    """
    written = Written(registers)
    names = [register.name for register in registers]
    tests = {name: _limited(written.of(name, "test"), options) for name in names}
    progress("judge", 0, 1)
    judge = _judge(written, names)
    progress("judge", 1, 1)
    losses = measure(scorer, tests, lambda done, of: progress("losses", done, of))
    alone = [replies.by[case_id(name)] for name in names]
    drawn = [each for some in alone for each in some.values()]
    return {
        "matrix": {language: matrix_figures(losses, tests, language) for language in _languages(tests)},
        "judge": {
            "written": judge_figures(judge, _written_said(tests)),
            "drawn": judge_figures(judge, _drawn_said(names, alone)),
        },
        "curves": _curves(judge, names, replies, losses, tests, options),
        "quality": _quality(written, names, alone, tests, replies.encoder),
        "causality": {
            "loss": _causal_losses(losses, tests),
            "symbols": {
                language: symbol_figures([each for each in drawn if each.task.asked.language == language])
                for language in LANGUAGES
                if any(each.task.asked.language == language for each in drawn)
            }
            | {"all": symbol_figures(drawn)},
            "swaps": swap_figures(replies.first, replies.swapped, replies.again) if replies.swapped else {},
        },
    }


# --- sections --------------------------------------------------------------------------------------------------------


def _judge(written: Written, names: Sequence[str]) -> Judge:
    rows = [(name, row.reply) for name in names for row in written.of(name, "train")]
    return train_judge([reply for _, reply in rows], [name for name, _ in rows])


def _limited(rows: Sequence[Example], options: Options) -> list[Example]:
    """At most ``rows`` of each language, the same ids in every register that shares them."""
    ordered = sorted(rows, key=lambda row: row.id)
    return [row for code in LANGUAGES for row in [each for each in ordered if each.language == code][: options.rows]]


def _languages(tests: Mapping[str, Sequence[Example]]) -> list[str]:
    return [code for code in LANGUAGES if any(row.language == code for rows in tests.values() for row in rows)]


def _written_said(tests: Mapping[str, Sequence[Example]]) -> list[Said]:
    return [Said(name, row.id, row.language, row.text, row.reply) for name, rows in tests.items() for row in rows]


def _drawn_said(names: Sequence[str], alone: Sequence[Mapping[str, Drawn]]) -> list[Said]:
    return [
        Said(name, *each.task.asked, each.text)
        for name, some in zip(names, alone, strict=True)
        for each in some.values()
    ]


def _curves(
    judge: Judge,
    names: Sequence[str],
    replies: Replies,
    losses: Losses,
    tests: Mapping[str, Sequence[Example]],
    options: Options,
) -> list[Curve]:
    found = []
    for pair, code in itertools.product(itertools.combinations(names, 2), LANGUAGES):
        ids = [row.id for row in first_inputs(replies.asked, options.prompts) if row.language == code]
        places = {name: [i for i, row in enumerate(tests[name]) if row.language == code] for name in pair}
        if not ids or not all(places.values()):
            continue
        steps = [mixture.id for mixture in mixtures(pair)]
        heard = log_odds(judge, pair, [replies.by[step] for step in steps], ids)
        lost = {name: [[losses[Case(step, name)][i] for i in places[name]] for step in steps] for name in pair}
        found.append(curve(pair, code, heard, lost))
    return found


def _quality(
    written: Written,
    names: Sequence[str],
    alone: Sequence[Mapping[str, Drawn]],
    tests: Mapping[str, Sequence[Example]],
    encoder: Encoder | None,
) -> dict[str, Any]:
    """Over all, by language and by register."""
    said, own = _drawn_said(names, alone), _written_said(tests)
    training = Training([row.reply for name in names for row in written.of(name, "train")])
    parts: dict[str, tuple[str, str]] = {code: ("language", code) for code in LANGUAGES}
    parts |= {name: ("register", name) for name in names}
    found = {"all": quality_figures(said, own, training, encoder)}
    for part, (key, value) in parts.items():
        mine, theirs = ([each for each in some if getattr(each, key) == value] for some in (said, own))
        if mine and theirs:
            found[part] = quality_figures(mine, theirs, training, encoder)
    return found


def _causal_losses(losses: Losses, tests: Mapping[str, Sequence[Example]]) -> dict[str, Any]:
    """By language and register, what a register's own adapter loses under each linkage."""
    found: dict[str, Any] = {}
    for code in _languages(tests):
        for name, rows in tests.items():
            mine = [place for place, row in enumerate(rows) if row.language == code]
            if not mine:
                continue
            tables = {
                linkage: [losses[Case(case_id(name), name, linkage)][place] for place in mine]
                for linkage in (OWN, NONE, OTHER)
            }
            found.setdefault(code, {})[name] = loss_figures(tables, [rows[place].id for place in mine])
    return found


def facts(model: LocalModel, registers: Sequence[Register], options: Options, replies: Replies) -> dict[str, Any]:
    """What was measured with what: for the head of the results."""
    from scenepipe.register import adapter_of

    drawn = [each for some in replies.by.values() for each in some.values()]
    drawn += [*replies.first, *replies.swapped, *replies.again]
    return {
        "scenepipe": version("scenepipe"),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "model": {"id": model.id, "sha256": model.sha256},
        "adapters": {register.name: adapter_of(register, model).sha256 for register in registers},
        "speaks_with": dict(replies.settings),
        "inputs": options.inputs.name if options.inputs else "texts of the test split",
        "asked": {code: sum(row.language == code for row in replies.asked) for code in LANGUAGES},
        "options": {name: getattr(options, name) for name in ("replies", "prompts", "rows", "swaps", "seed", "dtype")},
        "drawn": len(drawn),
        "failed": sum(each.fault is not None for each in drawn),
    }
