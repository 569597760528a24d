"""What needs no engine: ``/v1/scenes``, ``/v1/tokenize``, ``/v1/memory/search``, ``/v1/explain``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request as HttpRequest

from scenepipe.context import Failure, offload
from scenepipe.errors import ConfigError
from scenepipe.registry import default_registry
from scenepipe.scene import Origin, Scene, new_scene
from scenepipe.server.auth import Caller
from scenepipe.server.embeddings import texts_of
from scenepipe.server.limits import check_text, read_body
from scenepipe.server.makers import preview_context
from scenepipe.server.openai_types import ExplainBody, SearchBody, TextsBody
from scenepipe.server.problem import invalid
from scenepipe.server.service import Service, caller_of, service_of
from scenepipe.server.sse import Answer, Reach
from scenepipe.steps import StageFailed

LANE = "reading"
_TOKENIZED = ("language", "pieces", "symbols", "hypertokens")
_RUN = "asked"


async def scenes(request: HttpRequest) -> Answer:
    """Texts become scenes by the pipeline's own reading stages; no model is called and nothing is remembered."""
    service, caller = service_of(request), caller_of(request)
    body = await read_body(request, TextsBody, service.settings)
    texts = texts_of(body.input, service)

    async def found() -> dict[str, Any]:
        read = await service.reader.read([_scene(text, caller) for text in texts])
        return {"object": "list", "data": [_shown(each, vectors=body.vectors) for each in read]}

    return _answer(service, caller, found)


async def tokenize(request: HttpRequest) -> Answer:
    """Language, pieces, symbols and hypertokens of each text: what ``remote-tokenizer`` of another pipeline asks for."""
    service, caller = service_of(request), caller_of(request)
    body = await read_body(request, TextsBody, service.settings)
    texts = texts_of(body.input, service)
    step = next((step for step in service.pipeline.steps if "symbols" in step.writes), None)
    if step is None:
        raise invalid(f"pipeline '{service.pipeline.name}' has no tokenizer", code="no_tokenizer")

    async def found() -> dict[str, Any]:
        ctx = preview_context(service.pipeline, _RUN)
        waiting = [asyncio.ensure_future(step.run(_scene(text, caller), ctx)) for text in texts]  # they share batches
        try:
            return {"object": "list", "data": [_tokens(scene) for scene in await asyncio.gather(*waiting)]}
        except StageFailed as failed:
            raise failed.error from None
        finally:
            for each in waiting:
                each.cancel()

    return _answer(service, caller, found)


def _tokens(scene: Scene) -> dict[str, Any]:
    fields = scene.model_dump(mode="json", include=set(_TOKENIZED))
    return fields | {"count": None if scene.pieces is None else len(scene.pieces)}


async def search(request: HttpRequest) -> Answer:
    """What a text calls back from the memory, with the score and every reason."""
    service, caller = service_of(request), caller_of(request)
    body = await read_body(request, SearchBody, service.settings)
    service.remembering()
    text = check_text(body.input, "input", service.settings)
    recall = _recall(body)

    async def found() -> dict[str, Any]:
        origin = Origin(namespace=caller.namespace, chat=body.chat, run=_RUN)
        (read,) = await service.reader.read([new_scene(text, origin)])
        if isinstance(read, Failure):
            raise invalid(read.message, "input")
        done: Scene = await recall.run(read, preview_context(service.pipeline, _RUN))
        echoes = [echo.model_dump(mode="json") for echo in done.echoes or ()]
        strength = done.resonance.model_dump(mode="json") if done.resonance else None
        return {"object": "list", "data": echoes, "resonance": strength}

    return _answer(service, caller, found)


def _recall(body: SearchBody) -> Any:
    stage = default_registry().load("stage", "recall")
    try:
        return stage(
            top_k=body.limit,
            kinds=body.kinds,
            since=body.since,
            until=body.until,
            within="archive" if body.chat is None else "chat",
            registers=body.registers,
            codes=body.codes,
            ranges=body.ranges,
            turns=0,
        )
    except ConfigError as error:
        fault = error.faults[0]
        raise invalid(f"{fault.where}: {fault.message}", fault.where, "invalid_value") from None


async def explain(request: HttpRequest) -> Answer:
    """What would happen to a text: the scene, the mixture with its reasons, the exact prompt. No model is called."""
    service, caller = service_of(request), caller_of(request)
    body = await read_body(request, ExplainBody, service.settings)
    mixture = service.voices.mixture(body.model)
    text = check_text(body.input, "input", service.settings)
    if body.scene is not None:
        spoken = Scene.from_json(json.dumps(body.scene))

        async def known() -> dict[str, Any]:
            return await offload(_of_spoken, spoken, service)

        return _answer(service, caller, known)

    async def found() -> dict[str, Any]:
        scene = _scene(text, caller)
        told = await service.pipeline.aexplain(scene if mixture is None else scene.with_(registers=mixture))
        rest = told.model_dump(mode="json", exclude={"scene"})
        return {"object": "explanation", "scene": json.loads(told.scene.to_json()), **rest}

    return _answer(service, caller, found)


def _of_spoken(scene: Scene, service: Service) -> dict[str, Any]:
    """What the stages that write replies were told of this scene, its memories as they were then."""
    ctx = preview_context(service.pipeline, _RUN)
    spoke = [step for step in service.pipeline.steps if "reply" in step.writes and hasattr(step.stage, "preview")]
    return {
        "object": "explanation",
        "scene": json.loads(scene.to_json()),
        "ran": [step.name for step in service.pipeline.steps],
        "left_out": [],
        "previews": {step.name: step.stage.preview(scene, ctx) for step in spoke},
    }


def _scene(text: str, caller: Caller) -> Scene:
    return new_scene(text, Origin(namespace=caller.namespace, run=_RUN))


def _shown(read: Scene | Failure, *, vectors: bool) -> dict[str, Any]:
    if isinstance(read, Failure):
        error = {"message": read.message, "type": "invalid_request_error", "param": "input", "code": read.error}
        return {"object": "error", "error": error}
    shown: dict[str, Any] = json.loads(read.to_json(vectors=vectors))
    return {"object": "scene", **shown}


def _answer(service: Service, caller: Caller, found: Callable[[], Awaitable[dict[str, Any]]]) -> Answer:
    async def work(reach: Reach) -> None:
        async with service.admission.place(caller.name, LANE):
            answer = await found()
        await reach.whole(answer)

    return Answer(work, stall_s=service.settings.stall_s)
