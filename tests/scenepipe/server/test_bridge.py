"""The bridge: events both ways over real sockets, bounds that hold, runs that end with their connection."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from scenepipe.events import parse_event
from scenepipe.testing.fake_backend import FakeBackend
from tests.scenepipe.server.conftest import KEYS, Endless, wait_until


class Wire:
    """A client of the bridge."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def send(self, **message: Any) -> None:
        self.connection.send(json.dumps(message))

    def next(self, seconds: float = 10.0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.connection.recv(seconds))
        return found

    def until(self, kind: str, name: str | None = None) -> list[dict[str, Any]]:
        """Messages up to the first of a kind, and of a run."""
        found = [self.next()]
        while not (found[-1]["type"] == kind and (name is None or found[-1]["id"] == name)):
            found.append(self.next())
        return found

    def closed(self) -> int:
        """The code with which the server hangs up."""
        with pytest.raises(ConnectionClosed) as caught:
            for _ in range(100_000):
                self.next()
        assert caught.value.rcvd is not None
        return caught.value.rcvd.code


@contextlib.contextmanager
def wire(started: Any, *, ready: bool = True, **options: Any) -> Iterator[Wire]:
    url = f"ws://127.0.0.1:{started.server.port}/v1/bridge"
    given = {"compression": None, "max_size": None, "max_queue": None, "close_timeout": 2} | options
    with connect(url, **given) as connection:
        found = Wire(connection)
        if ready:
            assert found.next()["type"] == "ready"
        yield found


def test_a_run_tells_its_events_in_order_and_its_end(serving: Callable[..., Any]) -> None:
    started = serving()
    with wire(started) as client:
        client.send(type="run", id="1", text="Who knocks?", model="poet@0.5", chat="kitchen", max_tokens=8, seed=3)
        told = client.until("done")
    assert told[0] == {"type": "started", "id": "1", "chat": "kitchen", "run": told[0]["run"], "tip": told[0]["tip"]}
    frames = told[1:-1]
    assert {frame["type"] for frame in frames} == {"event"}
    assert {(frame["id"], frame["chat"]) for frame in frames} == {("1", "kitchen")}
    events = [parse_event(json.dumps(frame["event"])) for frame in frames]
    assert {event.run for event in events} == {told[0]["run"]}
    kinds = [event.type for event in events]
    assert (kinds[0], kinds[-1]) == ("run_started", "run_finished")
    assert {"stage_started", "scene_updated", "token", "reply_finished", "stage_finished"} <= set(kinds)
    spoken = "".join(event.text for event in events if event.type == "token")
    assert spoken.strip() == told[-1]["text"]
    assert events[-1].type == "run_finished"
    assert dict(events[-1].scene.registers.weights) == {"poet": 0.5}  # type: ignore[union-attr]
    spoken_ids = [e.id for e in started.encounters() if e.kind == "spoken"]
    assert spoken_ids == [told[-1]["tip"]] == [told[0]["tip"]]


def test_every_wish_of_a_run_is_heard(serving: Callable[..., Any]) -> None:
    started = serving()

    def said(client: Wire, **wishes: Any) -> dict[str, Any]:
        client.send(type="run", id="x", text="The rope waits in the silent harbour.", **({"remember": False} | wishes))
        return client.until("done")[-1]

    with wire(started) as client:
        plain = said(client)
        assert said(client) == plain
        for wish in ({"seed": 77}, {"max_tokens": 1}, {"model": "poet"}, {"temperature": 0.0}, {"system": "Sing."}):
            assert said(client, **wish)["text"] != plain["text"], wish
        stop = plain["text"].split()[2]
        assert stop not in said(client, stop=stop)["text"]
        assert started.encounters() == []
        first = said(client, remember=True, again="one")
        assert said(client, remember=True, again="one")["tip"] == first["tip"]
        assert len([e for e in started.encounters() if e.kind == "spoken"]) == 1
        chat = said(client, remember=True, chat="c")
        said(client, remember=True, chat="c", parent=chat["tip"])
        client.send(type="run", id="p", text="On.", chat="c", parent="no-such")
        assert client.until("error")[-1]["error"]["code"] == "parent_not_found"


def test_a_chat_is_heard_by_those_who_subscribe_and_by_nobody_else(serving: Callable[..., Any]) -> None:
    started = serving(keys=KEYS)
    anna, bert = ({"additional_headers": {"authorization": f"Bearer sp-{name}"}} for name in ("anna", "bert"))
    with wire(started, **anna) as first, wire(started, **anna) as other, wire(started, **bert) as stranger:
        for each in (first, stranger):
            each.send(type="subscribe", chat="kitchen")
            assert each.next() == {"type": "subscribed", "chat": "kitchen"}
        head = {"authorization": "Bearer sp-anna", "x-scenepipe-chat": "kitchen"}
        body = {"messages": [{"role": "user", "content": "Who knocks?"}]}
        answered = started.client().post("/v1/chat/completions", json=body, headers=head).json()
        frames = [first.next()]
        while frames[-1]["event"]["type"] != "run_finished":
            frames.append(first.next())
        assert {(frame["id"], frame["chat"]) for frame in frames} == {(None, "kitchen")}
        assert frames[-1]["event"]["scene"]["reply"]["text"] == answered["choices"][0]["message"]["content"]
        first.send(type="unsubscribe", chat="kitchen")
        assert first.next()["type"] == "unsubscribed"
        other.send(type="run", id="o", text="Again?", chat="kitchen")
        other.until("done")
        for silent in (first, stranger):
            silent.send(type="cancel", id="none")
            assert silent.next()["error"]["code"] == "run_not_found"


def test_several_runs_go_on_at_once_and_one_is_stopped(serving: Callable[..., Any]) -> None:
    backend = Endless()
    started = serving(backend=backend)
    with wire(started) as client:
        for name in ("a", "b"):
            client.send(type="run", id=name, text=f"Who knocks, {name}?")
        wait_until(lambda: backend.inside == 2, 5, "they did not begin")
        client.send(type="run", id="a", text="Twice.")
        assert client.until("error")[-1]["error"]["code"] == "duplicate_id"
        client.send(type="cancel", id="a")
        client.until("cancelled", "a")
        assert backend.inside == 1
        client.send(type="cancel", id="b")
        client.until("cancelled", "b")
    wait_until(lambda: not started.busy, 1, "a place is still held")
    assert started.encounters() == []


@pytest.mark.parametrize("how", ["close", "reset"])
def test_the_runs_of_a_connection_end_with_it_within_a_second(serving: Callable[..., Any], how: str) -> None:
    backend = Endless()
    started = serving(backend=backend, in_flight=2)
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(wire(started))
        for number in range(4):
            client.send(type="run", id=str(number), text=f"Who knocks {number}?")
        wait_until(lambda: backend.inside == 2 and started.service.admission.waiting == 2, 5, "they did not begin")
        if how == "reset":
            client.connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.connection.socket.close()
        else:
            client.connection.close()
        wait_until(lambda: backend.inside == 0 and not started.busy, 1, "the slots are still held")
    assert backend.begun == 2
    assert started.encounters() == []
    assert started.service.hub._listeners == {}
    wait_until(lambda: "scenepipe_sockets_open 0.0" in started.client().get("/metrics").text, 2, "it counts as open")


def test_what_is_whole_is_written_although_the_client_has_gone(serving: Callable[..., Any]) -> None:
    started = serving()
    archive = started.service.archive
    write, entered = archive.append, []

    async def slowly(*scenes: Any, **options: Any) -> Any:
        entered.append(True)
        await asyncio.sleep(0.3)
        return await write(*scenes, **options)

    archive.append = slowly
    with wire(started) as client:
        client.send(type="run", id="1", text="Who knocks?")
        wait_until(lambda: bool(entered), 5, "it is not being written")
    wait_until(lambda: not started.busy, 3, "it is still being written")
    assert [e.kind for e in started.encounters()] == ["met", "spoken"]


class Loud(FakeBackend):
    """A megabyte of reply in one piece."""

    async def generate(self, request: Any) -> Any:
        async for chunk in super().generate(request):
            yield chunk.model_copy(update={"text": "word " * 200_000}) if chunk.text else chunk


def test_a_slow_client_is_hung_up_on_and_the_others_go_on(serving: Callable[..., Any]) -> None:
    started = serving(backend=Loud(), unread_bytes=2_000_000, decode={"max_tokens": 4})
    with wire(started, max_queue=1) as slow, wire(started) as quick:
        slow.connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for number in range(3):
            slow.send(type="run", id=str(number), text="Who knocks?", remember=False)
        wait_until(lambda: started.service._sockets == 1, 5, "it is still served")
        quick.send(type="cancel", id="none")
        assert quick.next()["error"]["code"] == "run_not_found"


def test_a_flood_a_binary_message_and_a_long_one_end_the_connection(serving: Callable[..., Any]) -> None:
    started = serving(messages_s=5, body_bytes=4096)
    with wire(started) as flood:
        for _ in range(15):
            flood.send(type="cancel", id="none")
        assert flood.next()["error"]["code"] == "run_not_found"
        flood.send(type="cancel", id="none")
        flood.send(type="cancel", id="none")
        assert flood.closed() == 1008
    with wire(started) as binary:
        binary.connection.send(b"{}")
        assert binary.closed() == 1003
    with wire(started) as long:
        long.send(type="run", id="1", text="a" * 5000)
        assert long.closed() == 1009
    with wire(started) as honest:
        honest.send(type="run", id="1", text="Who knocks?")
        assert honest.until("done")


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("{", "invalid_json"),
        ("[]", "invalid_json"),
        ('{"a":' * 9000 + "1" + "}" * 9000, None),
        ('{"type": "dance"}', None),
        ('{"type": "run", "id": "1"}', None),
        ('{"type": "run", "id": "1", "text": "  "}', "missing"),
        ('{"type": "run", "id": "1", "text": "a\\u0000"}', "invalid_value"),
        ('{"type": "run", "id": "1", "text": "a", "volume": 11}', None),
        ('{"type": "run", "id": "1", "text": "a", "model": "tenor"}', "model_not_found"),
        ('{"type": "run", "id": "1", "text": "a", "max_tokens": 999999}', "invalid_value"),
        ('{"type": "run", "id": "1", "text": "BOOM"}', None),
        ('{"type": "subscribe", "chat": "history:1"}', None),
        ('{"type": "auth", "key": "k"}', None),
    ],
)
def test_what_cannot_be_done_is_said_and_the_connection_stays(serving_all: Any, raw: str, code: str | None) -> None:
    started = serving_all._started[0] if serving_all._started else serving_all()
    with wire(started) as client:
        client.connection.send(raw)
        told = client.until("error")[-1]
        assert 400 <= told["status"] < 600
        assert set(told["error"]) == {"message", "type", "param", "code"}
        assert code in (None, told["error"]["code"])
        client.send(type="run", id="2", text="Who knocks?")
        client.until("done", "2")


def test_a_connection_needs_a_key_in_one_of_three_forms(serving: Callable[..., Any]) -> None:
    started = serving(keys=KEYS, read_s=0.4)
    with wire(started, subprotocols=["scenepipe", "scenepipe-key.sp-anna"]) as client:
        assert client.connection.subprotocol == "scenepipe"
    with wire(started, additional_headers={"x-api-key": "sp-anna"}):
        pass
    with wire(started, ready=False) as client:
        client.send(type="auth", key="sp-anna")
        assert client.next()["type"] == "ready"
    for first in ({"type": "auth", "key": "wrong"}, {"type": "run", "id": "1", "text": "a"}, {"type": "dance"}, None):
        with wire(started, ready=False) as client:
            if first is not None:
                client.send(**first)
            assert client.closed() == 1008, first
    wrong: list[dict[str, Any]] = [
        {"additional_headers": {"authorization": "Bearer wrong"}},
        {"subprotocols": ["scenepipe", "scenepipe-key.wrong"]},
        {"subprotocols": ["scenepipe-key.sp-anna"], "additional_headers": {"x-api-key": "sp-anna"}},
    ]
    for options in wrong:
        with pytest.raises(InvalidStatus), wire(started, **options):
            pass
    with pytest.raises(InvalidStatus), connect(f"ws://127.0.0.1:{started.server.port}/v1/responses"):
        pass


def test_a_page_of_another_origin_is_refused(serving: Callable[..., Any]) -> None:
    started = serving(origins=("https://mine.example",))
    port = started.server.port
    for origin in (None, "https://mine.example", f"http://127.0.0.1:{port}"):
        with wire(started, origin=origin):
            pass
    named = {"additional_headers": {"host": "evil.example"}}
    for path in ("bridge", "responses"):
        for origin in ("https://evil.example", "null", f"http://127.0.0.1:{port + 1}"):
            with pytest.raises(InvalidStatus) as caught:
                connect(f"ws://127.0.0.1:{port}/v1/{path}", origin=origin)  # type: ignore[arg-type]
            assert caught.value.response.status_code == 403
    raw = socket.create_connection(("127.0.0.1", port))
    raw.sendall(
        b"GET /v1/bridge HTTP/1.1\r\nhost: evil.example\r\norigin: http://evil.example\r\nupgrade: websocket\r\n"
        b"connection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    assert b" 403 " in raw.recv(100), named
    raw.close()


def test_runs_wait_in_the_same_queue_as_requests(serving: Callable[..., Any]) -> None:
    backend = Endless()
    started = serving(backend=backend, in_flight=1, waiting=0)
    with wire(started) as client:
        client.send(type="run", id="1", text="Who knocks?")
        wait_until(lambda: backend.inside == 1, 5, "it did not begin")
        body = {"messages": [{"role": "user", "content": "And I?"}]}
        assert httpx.post(f"{started.url}/v1/chat/completions", json=body).status_code == 503
        client.send(type="run", id="2", text="And I?")
        told = client.until("error")[-1]
        assert (told["id"], told["status"], told["error"]["code"]) == ("2", 503, "queue_full")
        assert told["retry_after"] >= 1
        began = time.monotonic()
        started.drain()
        client.send(type="cancel", id="1")
        assert client.closed() == 1012
        assert time.monotonic() - began < 5
