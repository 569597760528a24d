"""Two toy registers, a pipeline on the fake engine, and a scorer without a model."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from scenepipe.config import PipelineConfig, parse_config
from scenepipe.context import Context
from scenepipe.errors import BackendError
from scenepipe.evaluation.perplexity import Loss
from scenepipe.prompt import ScenePrompt
from scenepipe.register import Example, Register, load_register
from scenepipe.registry import Registry
from scenepipe.scene import Language, Linkage, Scene
from scenepipe.training.rows import Row
from tests.scenepipe.training.conftest import base as tiny_base  # noqa: F401 - a fixture

PIPELINE = """\
scenepipe: 1
name: toy
backend: {use: fake, delay_s: 0.001}
encoder: {use: hash}
registers: []
stages:
  - use: toy-scene
  - {use: decode, mixture: exact, max_tokens: 30, seed: 5}
"""
NOUNS = {"ru": ("берег", "волна", "якорь", "парус"), "en": ("shore", "wave", "anchor", "sail")}
WORD = re.compile(r"\w{4,}")


class ToyScene:
    """Language by script; the linkage is the text's first long word and two nouns that depend on its length."""

    reads: ClassVar[frozenset[str]] = frozenset()
    writes: ClassVar[frozenset[str]] = frozenset({"language", "linkage"})

    async def run(self, scene: Scene, ctx: Context) -> Scene:
        if "BOOM" in scene.text:
            raise BackendError("the toy fails")
        code = "ru" if re.search("[а-яё]", scene.text) else "en"
        nouns, place = NOUNS[code], len(scene.text)
        chain = (*WORD.findall(scene.text.lower())[:1], nouns[place % 4], nouns[(place + 1) % 4])
        return scene.with_(language=Language(code=code, confidence=1.0), linkage=Linkage(chain=chain))


class StubScorer:
    """Losses made from the text: a register's own replies cost it least, and less with their own linkage."""

    def encode(self, example: Example) -> Row:
        prompt = ScenePrompt(example.text, example.language, example.linkage).render()
        self.seen[len(self.seen)] = (prompt, example.reply)
        return Row([len(self.seen) - 1], [len(self.seen) - 1])

    def __init__(self) -> None:
        self.seen: dict[int, tuple[str, str]] = {}

    def losses(self, rows: Sequence[Row], mixture: Mapping[str, float]) -> Iterator[tuple[int, Loss]]:
        for place, row in reversed(list(enumerate(rows))):
            prompt, reply = self.seen[row.ids[0]]
            mine = max((weight for name, weight in mixture.items() if name in reply), default=0.0)
            linked = 0.5 * sum(word in re.findall(r"\w+", reply) for line in prompt.splitlines() if "Link" in line or "Сцеп" in line
                               for word in re.findall(r"\w+", line))  # fmt: skip
            tokens = len(reply.split())
            jitter = hashlib.sha256(reply.encode()).digest()[0] / 2550
            yield place, Loss(tokens * (4 - mine - linked + jitter), tokens)


def write_register(parent: Path, name: str, replies: Mapping[str, str], *, rows: int = 12) -> Register:
    """A register whose replies are a pattern by language, with {noun} and {i}; every fourth row is a test row."""
    folder = parent / name
    folder.mkdir(parents=True)
    card = {
        "register": 1,
        "name": name,
        "titles": {"ru": name, "en": name},
        "description": {"ru": "Так.", "en": "So."},
        "symbol": "~",
        "emoji": "⚓",
        "licence": "CC0-1.0",
    }
    (folder / "register.yaml").write_text(yaml.safe_dump(card, allow_unicode=True), encoding="utf-8")
    lines = []
    for code, texts in (("ru", "Где же берег номер {}?"), ("en", "Where is shore number {}?")):
        for i in range(rows):
            noun = NOUNS[code][i % 4]
            split = "test" if i % 4 == 3 or i % 4 == 2 else "dev" if i == 1 else "train"
            lines.append(
                {"id": f"{code}-{i}", "language": code, "split": split, "text": texts.format(i), "linkage": [noun],
                 "reply": replies[code].format(noun=noun, i=i), "fit": 0.5}
            )  # fmt: skip
    (folder / "examples.jsonl").write_text(
        "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8"
    )
    return load_register(folder)


@pytest.fixture
def registers(tmp_path: Path) -> list[Register]:
    sailor = {"ru": "Моряк sailor видит {noun} вдали {i}.", "en": "The sailor sees a {noun} afar {i}."}
    baker = {"ru": "Тесто baker прячет {noun}\nв печи {i}.", "en": "The baker's dough hides a {noun}\nwarm {i}."}
    return [write_register(tmp_path, "sailor", sailor), write_register(tmp_path, "baker", baker)]


@pytest.fixture
def registry() -> Registry:
    registry = Registry(plugins=())
    registry.add("stage", "toy-scene", ToyScene)
    return registry


@pytest.fixture
def config(registry: Registry) -> PipelineConfig:
    return parse_config(PIPELINE, registry=registry)


@pytest.fixture
def silent() -> Any:
    def progress(part: str, done: int, of: int) -> None:
        assert 0 <= done <= of

    return progress
