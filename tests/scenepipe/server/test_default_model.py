"""The default model behind the server: a reply, a stream, a schema, and a client that leaves."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

import scenepipe
from scenepipe.models.catalogue import LocalModel
from tests.scenepipe.server.conftest import wait_until

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def quickstart(serving_all: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    home = tmp_path_factory.mktemp("home")
    return serving_all(pipeline=scenepipe.load("quickstart", env={"SCENEPIPE_HOME": str(home)}))


def test_the_quickstart_answers_openai_clients(quickstart: Any, local_model: LocalModel) -> None:
    client = quickstart.openai(timeout=120)
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": "Почему я не чувствую шаг в себе?"}], "seed": 1}
    whole = client.chat.completions.create(model="quickstart", max_tokens=12, **asked)
    assert whole.choices[0].message.content
    assert whole.usage.completion_tokens <= 12
    chunks = list(client.chat.completions.create(model="poet", max_tokens=12, stream=True, **asked))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")
    schema = {
        "type": "object",
        "properties": {"word": {"enum": ["door", "hand"]}},
        "required": ["word"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "word", "schema": schema}}
    shaped = client.chat.completions.create(model="base", max_tokens=40, response_format=wanted, **asked)
    assert json.loads(shaped.choices[0].message.content)["word"] in ("door", "hand")


def test_the_slot_of_a_client_that_left_falls_free(quickstart: Any, local_model: LocalModel) -> None:
    body = json.dumps(
        {"messages": [{"role": "user", "content": "Tell me of the sea."}], "stream": True, "max_tokens": 800}
    ).encode()
    with socket.create_connection(("127.0.0.1", quickstart.server.port), timeout=60) as sock:
        sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        assert b"200" in sock.recv(100)
    wait_until(lambda: not quickstart.busy, 5)
