"""``python -m scenepipe``: the command line."""

from scenepipe.cli import main

main()
