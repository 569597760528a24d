"""``scenepipe model``: the catalogue and what of it is on this disk."""

from __future__ import annotations

from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """List the models scenepipe knows by name."""
    from scenepipe.cli.console import print_json, stdout

    found = models()
    if as_json:
        print_json(found)
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("model", "size", "languages", "licence", "on this disk"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "model")
    for row in found:
        size = f"{row['size'] / 1e6:.0f} MB"
        table.add_row(row["id"], size, ", ".join(row["languages"]), row["licence"], row["fault"] or row["path"] or "no")
    stdout().print(table)


def models() -> list[dict[str, Any]]:
    """Every model of the catalogue, with its path where it is here and the fault where it is damaged."""
    from scenepipe.errors import ModelError
    from scenepipe.models import catalogue, fetch

    found = []
    for entry in catalogue.catalogue().values():
        path, fault = None, None
        try:
            local = fetch.local(entry.id)
            path = str(local.gguf) if local else None
        except ModelError as error:
            fault = str(error)
        facts = {"id": entry.id, "size": entry.size, "languages": list(entry.languages), "licence": entry.licence}
        found.append({**facts, "sha256": entry.sha256, "path": path, "fault": fault})
    return found


@app.command()
def pull(model: Annotated[str, typer.Argument(metavar="ID", help="Catalogue id.")]) -> None:
    """Fetch a model, check its SHA-256, keep it in the cache."""
    from scenepipe.cli.console import write_line
    from scenepipe.cli.meter import Meter
    from scenepipe.models import fetch

    with Meter() as meter:
        local = fetch.pull(model, progress=meter.progress, say=meter.say)
    write_line(f"{local.id} {local.gguf}")
