"""scenepipe: text becomes a scene, the scene chooses a mixture of LoRA registers, the registers speak it back.

    import scenepipe

    with scenepipe.load("quickstart") as pipe:
        scene = pipe.run("Why can I not feel the step in me?")
        print(scene.reply.text, scene.delta, scene.registers)

Importing this package loads pydantic and nothing heavier; engines, NumPy and the rest load where they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from scenepipe.build import load
    from scenepipe.context import Failure
    from scenepipe.errors import ScenepipeError
    from scenepipe.mixture import Mixture
    from scenepipe.pipeline import Pipeline
    from scenepipe.scene import Scene

_HOMES = {
    "load": "scenepipe.build",
    "Failure": "scenepipe.contracts",
    "ScenepipeError": "scenepipe.errors",
    "Mixture": "scenepipe.mixture",
    "Pipeline": "scenepipe.pipeline",
    "Scene": "scenepipe.scene",
}

__all__ = ["Failure", "Mixture", "Pipeline", "Scene", "ScenepipeError", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'scenepipe' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
