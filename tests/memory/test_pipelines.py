"""The shipped pipelines that remember in other stores: each runs with its store and recalls what the others recall."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from scenepipe import Scene
from scenepipe.build import build
from scenepipe.config import Component, load_config, parse_config
from scenepipe.models.catalogue import LocalModel
from scenepipe.rooms import find_pipeline

TEXTS = ("Мне страшно дома.", "Мне не страшно дома.", "Why can I not feel the step in me?", "Мне страшно дома.")
PIPELINE = """
scenepipe: 1
name: recall
model: gemma-3-270m
memory: {use: memory}
stages: [sentencepiece, rule-scene, {use: recall, top_k: 3}, remember]
"""


def memory_of(name: str, env: Mapping[str, str]) -> Component:
    memory = load_config(find_pipeline(name), env=env).memory
    assert memory is not None
    return memory


def recalled(memory: Component | None) -> list[tuple[Any, ...]]:
    """What each text recalls after those before it."""
    config = parse_config(PIPELINE)
    if memory is not None:
        config = config.model_copy(update={"memory": memory})

    async def main() -> list[Scene]:
        async with build(config) as pipe:
            return [scene async for scene in pipe.map(TEXTS, concurrency=1) if isinstance(scene, Scene)]

    def plain(scene: Scene) -> tuple[Any, ...]:
        assert scene.echoes is not None
        assert scene.resonance is not None
        return [(echo.text, echo.reasons, echo.score) for echo in scene.echoes], scene.resonance.encounters

    return [plain(scene) for scene in asyncio.run(main())]


@pytest.fixture
def expected(local_model: LocalModel) -> list[tuple[Any, ...]]:
    found = recalled(None)
    assert [len(echoes) for echoes, _ in found] == [0, 1, 0, 2]
    assert found[-1][0][0][1] == ("same words",)
    return found


@pytest.mark.model
@pytest.mark.parametrize("name", ["quickstart", "qdrant-edge"])
def test_stores_in_a_folder(name: str, expected: list[tuple[Any, ...]], tmp_path: Path) -> None:
    memory = memory_of(name, {"SCENEPIPE_HOME": str(tmp_path / "home")})
    assert recalled(memory) == expected
    assert (tmp_path / "home").exists()


@pytest.mark.model
def test_postgres(expected: list[tuple[Any, ...]], postgres_server: str) -> None:
    assert recalled(memory_of("postgres", {"SCENEPIPE_POSTGRES_URL": postgres_server})) == expected


@pytest.mark.model
def test_qdrant(expected: list[tuple[Any, ...]], qdrant_server: Callable[..., Any]) -> None:
    assert recalled(memory_of("qdrant", {"SCENEPIPE_QDRANT_URL": qdrant_server().url})) == expected


@pytest.mark.model
def test_redis(expected: list[tuple[Any, ...]], redis_url: str) -> None:
    assert recalled(memory_of("redis", {"SCENEPIPE_REDIS_URL": redis_url})) == expected


@pytest.mark.model
def test_weaviate(expected: list[tuple[Any, ...]], weaviate_server: Callable[..., Any]) -> None:
    server = weaviate_server()
    env = {"SCENEPIPE_WEAVIATE_URL": server.url, "SCENEPIPE_WEAVIATE_GRPC_PORT": str(server.grpc_port)}
    assert recalled(memory_of("weaviate", env)) == expected
