"""From errors to exit codes, in one place: no ScenepipeError ever shows a traceback unless ``--debug`` asks for it."""

from __future__ import annotations

import errno
from typing import Any

import typer
from typer.core import TyperGroup

from scenepipe.errors import ConfigError, MissingExtraError, ScenepipeError

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


class Refused(ScenepipeError):
    """The command line asks for something that cannot be done as asked; exit code 2."""


class Guarded(TyperGroup):
    """The root group: takes ``--debug`` anywhere before a ``--``, and turns errors into a line and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        ctx.obj = {"debug": "--debug" in args[:end]}
        return super().parse_args(ctx, [arg for i, arg in enumerate(args) if i >= end or arg != "--debug"])

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            say_error("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except (ScenepipeError, OSError) as error:
            if ctx.obj["debug"] or (isinstance(error, OSError) and error.errno == errno.EPIPE):
                raise
            report(error)
            raise typer.Exit(exit_code(error)) from None


def exit_code(error: BaseException) -> int:
    """2 where configuration or usage is wrong, 1 where something failed."""
    return USAGE if isinstance(error, (Refused, ConfigError, MissingExtraError)) else FAILED


def report(error: BaseException) -> None:
    """The error's text and its notes on stderr."""
    kind = "" if isinstance(error, ScenepipeError) else f"{type(error).__name__}: "
    say_error(kind + str(error), *getattr(error, "__notes__", ()))


def say_error(message: str, *notes: str) -> None:
    """A red ``error:`` line on stderr, with dim notes below it."""
    from rich.text import Text

    from scenepipe.cli.console import stderr

    console = stderr()
    console.print(Text.assemble(("error: ", "bold red"), message), soft_wrap=True)
    for note in notes:
        console.print(Text(f"  {note}", style="dim"), soft_wrap=True)
