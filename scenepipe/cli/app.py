"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from scenepipe.cli import (
    check,
    doctor,
    draw,
    evaluation,
    explain,
    memory,
    model,
    register,
    run,
    schema,
    serve,
    training,
)
from scenepipe.cli.guard import Guarded

app = typer.Typer(
    cls=Guarded,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Text becomes a scene, the scene chooses a mixture of LoRA registers, the registers speak it back.",
)
app.command("run", no_args_is_help=True)(run.run)
app.command("explain", no_args_is_help=True)(explain.explain)
app.command("check", no_args_is_help=True)(check.check)
app.command("draw", no_args_is_help=True)(draw.draw)
app.command("schema")(schema.schema)
app.command("doctor")(doctor.doctor)
app.command("serve", no_args_is_help=True)(serve.serve)
app.command("key", no_args_is_help=True)(serve.key)
app.add_typer(model.app, name="model", help="Models of the catalogue: list them, pull one.")
register.app.command("train")(training.train)
register.app.command("eval")(evaluation.evaluate)
app.add_typer(register.app, name="register", help="Registers: list, start a new one, train, check, export.")
app.add_typer(memory.app, name="memory", help="What an archive remembers.")


def _version(asked: bool) -> None:
    if asked:
        from scenepipe import __version__

        typer.echo(f"scenepipe {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Tracebacks of errors; may stand anywhere.")] = False,
) -> None:
    """Options before the command."""
