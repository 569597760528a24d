"""Where output goes: results on stdout, everything else on stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def stdout() -> Console:
    """A console over the present stdout; no markup and no highlighting, so that texts stay what they are."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def stderr() -> Console:
    """The same over stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def note(message: str) -> None:
    """A message for the person, on stderr."""
    stderr().print(message, soft_wrap=True, style="dim")


def write_line(line: str) -> None:
    """One line of data on stdout, UTF-8 whatever the terminal's encoding, flushed."""
    sys.stdout.flush()
    data = line.encode() + b"\n"
    stream = getattr(sys.stdout, "buffer", None)
    if stream is None:
        sys.stdout.write(data.decode())
    else:
        stream.write(data)
        stream.flush()


def print_json(value: Any) -> None:
    """A value as indented JSON on stdout; Russian stays readable."""
    import json

    write_line(json.dumps(value, ensure_ascii=False, indent=2))


def is_rich() -> bool:
    """Whether stdout is a terminal that can show the card: box lines, bars, Russian."""
    console = stdout()
    return console.is_terminal and not console.is_dumb_terminal and console.encoding.startswith("utf")
