"""Make scene.svg, the picture of a scene: ``python docs/images/make_scene.py`` (needs the default model's vocabulary)."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import scenepipe
from scenepipe.drawing.scene import draw_scene

TEXT = "Почему я не чувствую шаг в себе?"


def main() -> None:
    """Read the text without its reply and save the scene's picture."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["SCENEPIPE_HOME"] = home
        with scenepipe.load("scenes") as pipe:
            scene = pipe.run(TEXT)
            titles = {name: register.titles["ru"] for name, register in pipe.resources.registers.items()}
    picture = Path(__file__).with_name("scene.svg")
    picture.write_text(draw_scene(scene, titles=titles), encoding="utf-8")


if __name__ == "__main__":
    main()
