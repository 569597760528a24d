"""The command line: one file per command group. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Entry point of ``scenepipe``; always exits. Codes: 0 fine, 1 failed, 2 wrong usage or configuration, 130 Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that cannot show a character gets '?', never a traceback
            stream.reconfigure(errors="replace")
    from scenepipe.cli.app import app

    app(prog_name="scenepipe")
    raise SystemExit(0)
