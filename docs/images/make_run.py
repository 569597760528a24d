"""Make run.svg, the picture of a real run: ``python docs/images/make_run.py`` (needs the default model)."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from rich.console import Console

import scenepipe
from scenepipe.cli.card import reply_card, scene_card
from scenepipe.cli.facts import Voices

TEXT = "Почему я не чувствую шаг в себе?"
WIDTH = 96


def main() -> None:
    """Run the text twice, so that the picture has an echo and a resonance, and save the second card."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["SCENEPIPE_HOME"] = home
        with scenepipe.load("quickstart") as pipe:
            pipe.run(TEXT)
            scene = pipe.run(TEXT)
            voices = Voices(pipe.resources.registers)
    assert scene.reply is not None
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115
    console.print(scene_card(scene, voices, title="quickstart", width=WIDTH))
    console.print(reply_card(scene.reply.text, scene, width=WIDTH))
    console.save_svg(str(Path(__file__).with_name("run.svg")), title='scenepipe run quickstart "…"')


if __name__ == "__main__":
    main()
