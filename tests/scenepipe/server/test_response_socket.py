"""``responses.connect()`` of the openai package against the running server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from websockets.sync.client import connect

from tests.scenepipe.server.conftest import KEYS, Endless, wait_until


def spoken(connection: Any) -> list[Any]:
    """Events up to the one that ends a response."""
    found = []
    for event in connection:
        found.append(event)
        if event.type in ("response.completed", "response.incomplete", "response.failed", "error"):
            return found
    raise AssertionError("the connection ended first")


@pytest.mark.filterwarnings("ignore:connect\\(\\) must be used:DeprecationWarning")  # openai 3.52 with websockets 17
def test_responses_over_one_connection_are_those_of_the_stream(serving: Callable[..., Any]) -> None:
    started = serving()
    client = started.openai()
    wanted = {"model": "poet@0.5", "input": "Who knocks?", "max_output_tokens": 8}
    with client.responses.connect() as connection:
        connection.response.create(**wanted, store=False)
        told = spoken(connection)
        streamed = list(client.responses.create(**wanted, store=False, stream=True))
        assert [event.type for event in told] == [event.type for event in streamed]
        assert told[-1].response.output_text == streamed[-1].response.output_text
        connection.response.create(model="toy", input="Who knocks?")
        first = spoken(connection)[-1].response
        connection.response.create(model="toy", input="And now?", previous_response_id=first.id)
        second = spoken(connection)[-1].response
    assert second.previous_response_id == first.id
    assert len([e for e in started.encounters() if e.kind == "spoken"]) == 2
    assert len({e.chat for e in started.encounters()}) == 1


@pytest.mark.filterwarnings("ignore:connect\\(\\) must be used:DeprecationWarning")  # openai 3.52 with websockets 17
def test_errors_are_events_and_the_connection_goes_on(serving: Callable[..., Any]) -> None:
    started = serving()
    with started.openai().responses.connect() as connection:
        connection.response.create(model="tenor", input="Who knocks?")
        (error,) = spoken(connection)
        assert (error.status, error.error.code, error.error.param) == (404, "model_not_found", "model")
        connection.response.create(model="toy", input="BOOM")
        assert spoken(connection)[-1].type == "error"
        connection.response.steer(input="Louder.", previous_response_id="resp_1")
        assert spoken(connection)[-1].error.code == "unsupported"
        connection.response.create(model="toy", input="Who knocks?")
        assert spoken(connection)[-1].type == "response.completed"


def test_lanes_go_on_side_by_side_and_one_lane_in_turn(serving: Callable[..., Any]) -> None:
    backend = Endless()
    started = serving(backend=backend)
    with connect(f"ws://127.0.0.1:{started.server.port}/v1/responses", max_queue=None) as raw:
        for lane in ("a", "a", "b"):
            raw.send(json.dumps({"type": "response.create", "input": "Who knocks?", "stream_id": lane}))
        wait_until(lambda: backend.inside == 2, 5, "they did not begin")
        assert {json.loads(raw.recv(5))["stream_id"] for _ in range(40)} == {"a", "b"}
        assert backend.begun == 2
        for _ in range(20):
            raw.send(json.dumps({"type": "response.create", "input": "Who knocks?"}))
        refused: dict[str, Any] = {}
        while refused.get("type") != "error":
            refused = json.loads(raw.recv(5))
        assert refused["status"] == 429
    wait_until(lambda: backend.inside == 0 and not started.busy, 1, "the slots are still held")
    assert started.encounters() == []


def test_the_asynchronous_client_with_a_key(serving: Callable[..., Any]) -> None:
    started = serving(keys=KEYS)

    async def ask() -> str:
        client = openai.AsyncOpenAI(base_url=f"{started.url}/v1", api_key="sp-anna")
        async with client, client.responses.connect() as connection:
            await connection.response.create(model="toy", input="Who knocks?")
            async for event in connection:
                if event.type == "response.completed":
                    return event.response.output_text
        return ""

    assert asyncio.run(ask())
    assert {e.namespace for e in started.encounters()} == {"anna"}
