"""Registers of two themes, scenes read as a pipeline reads them, and the shipped registers' router."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest

from scenepipe.encoders.usem3 import Usem3Encoder
from scenepipe.models.store import cache_dir
from scenepipe.register import Register, find_registers
from scenepipe.rooms import room
from scenepipe.routing.inputs import read_scenes, scene_builder
from scenepipe.routing.router import Router, train_router
from scenepipe.scene import Scene

SHIPPED = ("poet", "logician", "body", "philosopher")
Labelled = Sequence[tuple[str, float]]
MakeRegister = Callable[..., Register]


@pytest.fixture(scope="session")
def make_register(tmp_path_factory: pytest.TempPathFactory) -> MakeRegister:
    """A register folder of (text, fit) rows."""

    def make(name: str, rows: Labelled, *, split: str = "train", language: str = "en", dev: Labelled = ()) -> Register:
        folder = tmp_path_factory.mktemp("registers") / name
        folder.mkdir()
        lines = [
            {"id": f"{language}-{part}-{i}", "language": language, "split": part, "text": text, "linkage": ["a", "b"],
             "reply": "A word.", "fit": fit}
            for part, labelled in ((split, rows), ("dev", dev)) for i, (text, fit) in enumerate(labelled)
        ]  # fmt: skip
        (folder / "examples.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n", "utf-8")
        return Register(name, folder, {"en": name}, {"en": name}, "*", "*", "CC0-1.0", {})

    return make


@pytest.fixture(scope="session")
def usem3() -> Usem3Encoder:
    return Usem3Encoder()


@pytest.fixture(scope="session")
def read(usem3: Usem3Encoder) -> Callable[..., list[Scene]]:
    """Texts to scenes, with the real encoder."""
    builder = scene_builder(usem3)
    return lambda *texts: read_scenes(texts, builder)


@pytest.fixture(scope="session")
def shipped() -> dict[str, Register]:
    return find_registers(SHIPPED, [room("registers")])


@pytest.fixture(scope="session")
def router(shipped: dict[str, Register], usem3: Usem3Encoder) -> Router:
    """Trained on the shipped registers; what is read of their inputs stays in the user's cache, as in a pipeline."""
    return train_router(shipped, usem3, cache_dir())
