"""``scenepipe register``: list, check, start and export registers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scenepipe.cli.guard import FAILED, Refused

if TYPE_CHECKING:
    from scenepipe.models.catalogue import LocalModel
    from scenepipe.register import Finding, Register

app = typer.Typer(no_args_is_help=True)
DEFAULT_MODEL = "gemma-3-270m"
ENOUGH_ROWS = 80
"""Training rows per language. The shipped voices have about a hundred, and were learnt from them."""

Paths = Annotated[
    list[Path] | None, typer.Option("--path", metavar="FOLDER", help="Folder of register folders; repeat it.")
]


@app.command("list")
def list_(path: Paths = None, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """List the registers that are here; one that cannot be read is named with its fault."""
    from scenepipe.cli.console import print_json, stdout

    found = [_described(folder) for folder in _known(path).values()]
    if as_json:
        print_json(found)
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("register", "", "titles", "adapters", "licence", "folder"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "register")
    for row in found:
        if row["fault"]:
            table.add_row(row["name"], "✗", row["fault"], "", "", row["folder"])
            continue
        titles = " / ".join(row["titles"].values())
        adapters = ", ".join(row["adapters"]) or "none yet"
        table.add_row(row["name"], row["emoji"], titles, adapters, row["licence"], row["folder"])
    stdout().print(table)


def _known(paths: list[Path] | None) -> dict[str, Path]:
    from scenepipe.register import available
    from scenepipe.rooms import room

    return available([*(paths or ()), room("registers")])


def _described(folder: Path) -> dict[str, Any]:
    from scenepipe.errors import RegisterError
    from scenepipe.register import load_register

    row: dict[str, Any] = {"name": folder.name, "folder": str(folder), "fault": None}
    try:
        found = load_register(folder)
    except RegisterError as error:
        return {**row, "fault": str(error)}
    adapters = {model: path.is_dir() for model, path in found.adapters.items()}
    there = [model for model, exists in adapters.items() if exists]
    facts = {"titles": found.titles, "description": found.description, "emoji": found.emoji, "symbol": found.symbol}
    return {**row, **facts, "licence": found.licence, "adapters": there}


def find(given: str, paths: list[Path] | None = None) -> Register:
    """A register by name or by folder.

    Raises:
        RegisterError: there is none, or its card has faults.
    """
    from scenepipe.register import find_registers, load_register
    from scenepipe.rooms import room

    path = Path(given).expanduser()
    if len(path.parts) > 1 or path.is_dir():
        return load_register(path)
    return find_registers([given], [*(paths or ()), room("registers")])[given]


@app.command()
def check(
    register: Annotated[str, typer.Argument(metavar="NAME|FOLDER", help="A register's name or its folder.")],
    model: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Prove with this model that its adapter speaks, and exports as it is."),
    ] = None,
    path: Paths = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Check a register's card, examples and adapters; exit code 1 where something is wrong."""
    import dataclasses

    from scenepipe.cli.console import print_json, stdout
    from scenepipe.register import check_register

    found = find(register, path)
    local = local_model(model) if model is not None else None
    findings = [*check_register(found, local), *few_rows(found)]
    if local is not None and not any(finding.level == "error" for finding in findings):
        from scenepipe.testing.register_suite import prove_register

        findings += prove_register(found, local)
    errors = [finding for finding in findings if finding.level == "error"]
    if as_json:
        facts = {"name": found.name, "folder": str(found.folder), "ok": not errors}
        print_json({**facts, "findings": [dataclasses.asdict(finding) for finding in findings]})
    else:
        console = stdout()
        for finding in findings:
            style = "red" if finding.level == "error" else "yellow"
            console.print(f"{finding.level}: {finding.where}: {finding.message}", style=style, soft_wrap=True)
        counts = _counted(len(errors), "error"), _counted(len(findings) - len(errors), "warning")
        console.print(f"{found.name}: {', '.join(counts)}", style="bold")
    if errors:
        raise typer.Exit(FAILED)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def few_rows(register: Register) -> list[Finding]:
    """A warning per language with too few rows for a voice to be learnt from; none where the rows cannot be read."""
    from scenepipe.errors import RegisterError
    from scenepipe.register import EXAMPLES_FILE, Finding, examples

    try:
        languages = [row.language for row in examples(register) if row.split == "train"]
    except RegisterError:
        return []
    return [
        Finding(
            "warning",
            EXAMPLES_FILE,
            f"{languages.count(code)} rows to learn from in '{code}'; extend it to {ENOUGH_ROWS}",
        )
        for code in ("ru", "en")
        if languages.count(code) < ENOUGH_ROWS
    ]


def local_model(given: str) -> Any:
    """The model of this catalogue id, fetched where it is not here yet."""
    from scenepipe.cli.meter import Meter
    from scenepipe.models import fetch

    with Meter() as meter:
        return fetch.local(given) or fetch.pull(given, progress=meter.progress, say=meter.say)


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Lower-case letters, digits, - and _.")],
    path: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder that shall hold the register's folder.")],
) -> None:
    """Start a register: a folder with a card, a README and a few rows to replace."""
    from scenepipe.cli.console import note, write_line
    from scenepipe.cli.skeleton import write_skeleton

    folder = write_skeleton(name, path)
    write_line(str(folder))
    note(f"next: write {folder / 'examples.jsonl'}, then: scenepipe register check {folder}")


@app.command()
def export(
    register: Annotated[str, typer.Argument(metavar="NAME|FOLDER", help="A register's name or its folder.")],
    output: Annotated[Path, typer.Option(metavar="FILE", help="What to write; never overwritten.")],
    model: Annotated[
        str, typer.Option(metavar="ID", help="The base model its adapter was trained for.")
    ] = DEFAULT_MODEL,
    merged: Annotated[
        bool, typer.Option("--merged", help="Write the whole model with the adapter merged, as a Transformers folder.")
    ] = False,
    prove: Annotated[
        bool, typer.Option(help="Compare what was written with the adapter's own distribution; needs Transformers.")
    ] = True,
    path: Paths = None,
) -> None:
    """Write a register's adapter as a GGUF LoRA for llama.cpp and everything built on it, or merged into its base."""
    from scenepipe.cli.console import note

    found, base = find(register, path), local_model(model)
    (_write_merged if merged else _write_gguf)(found, base, output)
    size = sum(file.stat().st_size for file in ([*output.rglob("*")] if merged else [output]))
    note(f"wrote {output}, {size / 1e6:.1f} MB")
    if prove:
        _prove(found, base, output if merged else None)


def _write_gguf(register: Register, model: LocalModel, output: Path) -> None:
    import shutil

    from scenepipe.models.gguf_lora import gguf_adapter

    written = gguf_adapter(register, model)
    try:
        with written.open("rb") as source, output.open("xb") as target:
            shutil.copyfileobj(source, target)
    except FileExistsError:
        raise Refused(f"{output} exists and is never overwritten; give another --output") from None
    except OSError as error:
        raise Refused(f"--output {output} cannot be written: {error.strerror}") from None


def _write_merged(register: Register, model: LocalModel, output: Path) -> None:
    from scenepipe.models.merge import write_merged
    from scenepipe.register import adapter_of

    try:
        write_merged(model, adapter_of(register, model).folder, output)
    except OSError as error:
        raise Refused(f"--output {output} cannot be written: {error.strerror or error}") from None


def _prove(register: Register, model: LocalModel, merged: Path | None) -> None:
    """Say how near the written form is to the adapter; a form that is not the adapter's ends the command with an error."""
    from scenepipe.cli.console import note
    from scenepipe.errors import MissingExtraError, RegisterError
    from scenepipe.evaluation.parity import parity

    try:
        near = parity(register, model, merged)
    except MissingExtraError as error:
        note(f"not proven: {error}")
        return
    if not near.same:
        raise RegisterError(f"what was written is {near}: more than rounding. Keep the adapter, and report this")
    note(f"proven: {near}")
