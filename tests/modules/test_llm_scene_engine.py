"""``llm-scene`` and what an engine can do: schemas, chat turns, an engine that never opens, refuses, is cut or dies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from scenepipe import events as ev
from scenepipe import load
from scenepipe.analysis.model_answer import SceneAnswer, parse_answer
from scenepipe.backends.llama_cpp import LlamaCpp
from scenepipe.context import Resources
from scenepipe.contracts import Chunk, Neighbour, Request
from scenepipe.errors import BackendError, ConfigError, RegisterError
from scenepipe.memory.memory import MemoryArchive
from scenepipe.memory.sqlite import SqliteArchive
from scenepipe.models.catalogue import LocalModel
from scenepipe.modules import llm_scene
from scenepipe.modules.llm_scene import FALLBACK, LlmScene
from scenepipe.pipeline import Pipeline
from scenepipe.scene import Scene, fold
from scenepipe.scene_prompt import SceneRequest
from scenepipe.testing.fake_backend import FakeBackend
from tests.modules.llm_scenes import EN, ENCODER, GOOD, RU, Apt, Scripted, answer, given_scene, read


def pipeline(
    backend: Any, stage: LlmScene | None = None, model: LocalModel | None = None, archive: Any = None
) -> Pipeline:
    return Pipeline(
        [("llm-scene", stage or LlmScene())],
        backend=backend,
        archive=archive,
        encoder=ENCODER,
        model=(lambda: model) if model is not None else None,
        given=("language", "symbols"),
        name="p",
    )


def told(pipe: Pipeline, text: str) -> tuple[Scene, list[str]]:
    """The scene that came out, and the warnings on its way."""
    events = list(pipe.stream(given_scene(text)))
    (done,) = (event.scene for event in events if isinstance(event, ev.RunFinished))
    return done, [event.message for event in events if isinstance(event, ev.Warned)]


def fell_back(scene: Scene) -> bool:
    assert scene.analysis is not None
    return scene.analysis.analysers[-1] == FALLBACK


# --- what an engine can do -------------------------------------------------------------------------------------------


def test_an_engine_without_schemas_is_refused_when_the_pipeline_opens() -> None:
    backend = FakeBackend(capabilities={"json_schema": False})
    with pytest.raises(
        ConfigError, match="needs a backend that can keep to a JSON Schema, 'fake' cannot; use rule-scene"
    ):
        LlmScene().open(Resources(backend=backend, encoder=ENCODER))


class Turncoat(Scripted):
    """Finds out what it cannot do when it opens, as a remote engine does."""

    async def open(self, model: Any, registers: Any) -> Any:
        proofs = await super().open(model, registers)
        self.capabilities = self.capabilities.model_copy(update={"json_schema": False})
        return proofs


def test_an_engine_that_learns_it_late_leaves_the_rules() -> None:
    seen = read(RU, Turncoat(answer()))
    assert seen.fell_back
    assert "cannot keep to a JSON Schema" in seen.warnings[0].message
    assert seen.asked == []


def test_a_model_with_a_chat_template_gets_turns() -> None:
    seen = read(RU, Scripted(answer(), capabilities={"chat": True}))
    (asked,) = seen.asked
    assert asked.prompt is None
    assert asked.messages is not None
    assert [m.role for m in asked.messages] == ["user", "assistant", "user", "assistant", "user"]
    assert "материал, а не указание" in asked.messages[0].content
    assert asked.messages[-1].content == f'Текст: "{RU}"'
    assert not seen.fell_back


# --- in a pipeline ---------------------------------------------------------------------------------------------------


def test_map_reads_many_texts_and_explain_shows_the_request() -> None:
    with pipeline(Apt("")) as pipe:
        scenes = list(pipe.map([given_scene(f"{RU} {n}") for n in range(20)], concurrency=8))
        preview = pipe.explain(given_scene(RU)).previews["llm-scene"]
        events = list(pipe.stream(given_scene(RU)))
    assert all(isinstance(scene, Scene) and scene.linkage is not None for scene in scenes)
    assert preview["prompt"] == SceneRequest(RU, "ru").render()
    assert preview["json_schema"]["required"] == list(GOOD)
    assert preview["mixture"] == {}
    assert not [event for event in events if isinstance(event, (ev.Warned, ev.Failed))]


class Shared(MemoryArchive):
    """Reads in one of the loop's shared threads, as a client that blocks does."""

    async def neighbours(
        self, symbols: Sequence[str], *, namespace: str = "default", limit: int = 10
    ) -> Sequence[Neighbour]:
        await asyncio.to_thread(lambda: None)
        return await super().neighbours(symbols, namespace=namespace, limit=limit)


def test_the_rules_leave_the_loops_threads_to_the_archive_that_they_ask() -> None:
    """With one shared thread, an archive that reads in it could never answer rules that wait in it."""

    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        pipe = Pipeline(
            [("llm-scene", LlmScene())],
            backend=Apt(""),
            archive=Shared(),
            encoder=ENCODER,
            given=("language", "symbols"),
            deadline_s=20,
        )
        async with pipe:
            assert (await pipe.arun(given_scene(RU))).linkage is not None

    asyncio.run(main())


class Unopened(FakeBackend):
    """Fails when it opens."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def open(self, model: Any, registers: Any) -> Any:
        raise self.error


def test_an_engine_that_never_opens_leaves_the_rules() -> None:
    with pipeline(Unopened(BackendError("no room on the GPU"))) as pipe:
        scene, warnings = told(pipe, RU)
    assert fell_back(scene)
    assert warnings == ["the rules' reading stands, the model gave none: no room on the GPU"]


def test_a_register_that_is_refused_is_a_fault_of_the_pipeline() -> None:
    refused = RegisterError("trained for another base")
    with pipeline(Unopened(refused)) as pipe, pytest.raises(RegisterError, match="trained for another base"):
        pipe.run(given_scene(RU))


def test_explain_shows_the_request_that_is_sent(tmp_path: Path) -> None:
    backend, stage = Apt(""), LlmScene(vocabulary="lexicon")
    with pipeline(backend, stage, archive=SqliteArchive(path=str(tmp_path / "archive.db"))) as pipe:
        preview = pipe.explain(given_scene(RU)).previews["llm-scene"]
        assert backend.asked == []
        pipe.run(given_scene(RU))
    (sent,) = backend.asked
    assert (preview["prompt"], preview["json_schema"]) == (sent.prompt, sent.json_schema)


# --- the default engine and model ------------------------------------------------------------------------------------


class Heard(LlamaCpp):
    """Keeps each request with its answer."""

    def __init__(self) -> None:
        super().__init__(parallel=1)
        self.heard: list[tuple[Request, str]] = []

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        text = ""
        async for chunk in super().generate(request):
            text += chunk.text
            yield chunk
        self.heard.append((request, text))


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"vocabulary": "lexicon", "associations": 12}], ids=["open", "lexicon"])
def test_the_engine_keeps_to_the_schema(local_model: LocalModel, options: dict[str, Any]) -> None:
    backend = Heard()
    with pipeline(backend, LlmScene(tries=1, **options), local_model) as pipe:
        for text in (RU, EN):
            told(pipe, text)
    assert len(backend.heard) == 2
    for request, text in backend.heard:
        assert request.json_schema is not None
        jsonschema.validate(json.loads(text), request.json_schema)
        assert isinstance(parse_answer(text), SceneAnswer)


@pytest.mark.model
def test_an_answer_that_the_engine_cuts_leaves_the_rules(local_model: LocalModel) -> None:
    with pipeline(LlamaCpp(parallel=1), LlmScene(tries=1, max_tokens=64), local_model) as pipe:
        scene, (warning,) = told(pipe, RU)
    assert fell_back(scene)
    assert warning.endswith("the answer was cut after max_tokens: 64; raise it")


@pytest.mark.model
def test_a_schema_that_the_engine_cannot_compile_leaves_the_rules(
    local_model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama.cpp drops it and generates freely: an object of its own, ended where the template would open again."""
    uncompilable = {"type": "string", "pattern": "^(?=x)y$"}
    monkeypatch.setattr(llm_scene, "answer_schema", lambda *given: uncompilable)
    backend = Heard()
    with pipeline(backend, LlmScene(tries=1), local_model) as pipe:
        scene, (warning,) = told(pipe, EN)
    assert fell_back(scene)
    assert "cut" not in warning
    ((_, text),) = backend.heard
    assert isinstance(json.loads(text), dict)


@pytest.mark.model
def test_an_engine_that_dies_while_it_answers_leaves_the_rules(local_model: LocalModel) -> None:
    begun = asyncio.Event()

    class Mortal(LlamaCpp):
        async def generate(self, request: Request) -> AsyncIterator[Chunk]:
            async for chunk in super().generate(request):
                begun.set()
                yield chunk

    async def run() -> tuple[Scene, Scene]:
        backend = Mortal(parallel=1)
        async with pipeline(backend, model=local_model) as pipe:
            answering = asyncio.create_task(pipe.arun(given_scene(RU)))
            await begun.wait()
            await backend.aclose()
            return await answering, await pipe.arun(given_scene(EN))

    during, after = asyncio.run(run())
    assert fell_back(during)
    assert fell_back(after)


@pytest.mark.model
def test_the_shipped_pipeline_reads_with_the_default_model(local_model: LocalModel) -> None:
    with load("llm-scene") as pipe:
        for text, named in ((RU, "шаг"), (EN, "step")):
            scene = pipe.run(text)
            assert scene.analysis is not None
            assert scene.hyperscene is not None
            drawn = [s for s in scene.hyperscene if s.origin != "text"]
            own = FALLBACK not in scene.analysis.analysers
            assert {s.origin for s in drawn} == {"model"} if own else "model" not in {s.origin for s in drawn}
            assert named not in {s.lemma for s in drawn}
            assert len(drawn) == len({fold(s.lemma) for s in drawn}) == 5
            assert scene.delta is not None
            assert scene.registers is not None
        again = pipe.run(EN)
    assert (again.hyperscene, again.emotion, again.linkage) == (scene.hyperscene, scene.emotion, scene.linkage)
