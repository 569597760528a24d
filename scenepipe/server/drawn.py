"""Scenes and their neighbourhoods as pictures: ``POST /v1/draw`` and ``/v1/memory/graph``.

The SVG comes inside of JSON: a document made of a stranger's text is never opened by a browser as a page of this server.
"""

from __future__ import annotations

import asyncio
import json
import xml.etree.ElementTree as ET
from typing import Any, Literal

from starlette.requests import Request as HttpRequest

from scenepipe.context import Failure
from scenepipe.drawing.graph import draw_graph
from scenepipe.drawing.scene import draw_scene
from scenepipe.neighbourhood import around_scene
from scenepipe.scene import Origin, Scene, new_scene
from scenepipe.server.limits import check_text, read_body
from scenepipe.server.openai_types import Body
from scenepipe.server.problem import invalid
from scenepipe.server.reading import LANE
from scenepipe.server.service import Service, caller_of, service_of
from scenepipe.server.sse import Answer, Reach

_DESC = "{http://www.w3.org/2000/svg}desc"
_RUN = "drawn"


class Look(Body):
    """How a picture is drawn: the language of its labels, and its scheme of colours."""

    language: Literal["ru", "en"] | None = None
    scheme: Literal["auto", "light", "dark"] = "auto"


class DrawBody(Look):
    """``POST /v1/draw``: a scene as any other route gave it."""

    scene: dict[str, Any]


class GraphBody(Look):
    """``POST /v1/memory/graph``: a text, whose scene stands in the middle."""

    input: str


async def draw(request: HttpRequest) -> Answer:
    """A scene as an SVG, with the same in words."""
    service, caller = service_of(request), caller_of(request)
    body = await read_body(request, DrawBody, service.settings)
    scene = Scene.from_json(json.dumps({name: value for name, value in body.scene.items() if name != "object"}))
    check_text(scene.text, "scene.text", service.settings)
    titles = {name: each.titles[code] for name, each in service.voices.registers.items()
              for code in (body.language or "en",) if code in each.titles}  # fmt: skip

    async def work(reach: Reach) -> None:
        async with service.admission.place(caller.name, LANE):
            svg = await asyncio.to_thread(draw_scene, scene, language=body.language, scheme=body.scheme, titles=titles)
        await reach.whole(_drawing(svg))

    return Answer(work, stall_s=service.settings.stall_s)


async def graph(request: HttpRequest) -> Answer:
    """What stands around a text in the caller's memory, as an SVG."""
    service, caller = service_of(request), caller_of(request)
    body = await read_body(request, GraphBody, service.settings)
    archive = service.remembering()
    text = check_text(body.input, "input", service.settings)

    async def work(reach: Reach) -> None:
        async with service.admission.place(caller.name, LANE):
            scene = await _read(service, text, caller.namespace)
            found = await around_scene(archive, scene)
            svg = await asyncio.to_thread(draw_graph, found, language=body.language, scheme=body.scheme)
        await reach.whole(_drawing(svg))

    return Answer(work, stall_s=service.settings.stall_s)


async def _read(service: Service, text: str, namespace: str) -> Scene:
    (read,) = await service.reader.read([new_scene(text, Origin(namespace=namespace, run=_RUN))])
    if isinstance(read, Failure):
        raise invalid(read.message, "input")
    return read


def _drawing(svg: str) -> dict[str, Any]:
    said = ET.fromstring(svg).findtext(_DESC)  # noqa: S314 - our own drawing, not a stranger's document
    return {"object": "drawing", "svg": svg, "description": said or ""}
