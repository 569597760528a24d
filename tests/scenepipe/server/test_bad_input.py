"""What strangers send: everything is a 4xx in the envelope, quickly, and the others go on."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenepipe.server.limits import too_deep
from scenepipe.server.problem import ApiError
from scenepipe.server.schemas import checked
from tests.scenepipe.server.conftest import wait_until

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "Who knocks?"}]
SMALL = {"body_bytes": 65_536, "text_characters": 1_000, "most_texts": 4, "head_bytes": 8_192}


@pytest.fixture(scope="module")
def small_one(serving_all: Callable[..., Any]) -> Any:
    return serving_all(**SMALL)


@pytest.fixture
def small(small_one: Any) -> Iterator[Any]:
    """A server with small bounds, which answers as before when the test is over."""
    yield small_one
    found = small_one.client().post(CHAT, json={"messages": MESSAGES})
    assert found.status_code == 200, "the others are harmed"
    wait_until(lambda: not small_one.busy, 10, "a place was not given back")


def raw(serving: Any, *parts: bytes, wait: float = 0.0, limit: float = 5.0) -> bytes:
    """Send bytes as they are, and read until the server hangs up or is silent."""
    with socket.create_connection(("127.0.0.1", serving.server.port), timeout=limit) as sock:
        for part in parts:
            try:
                sock.sendall(part)
            except OSError:
                break
            time.sleep(wait)
        found = b""
        try:
            while data := sock.recv(65_536):
                found += data
        except OSError:
            pass
        return found


def head(method: str, path: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: x", *lines, "", ""]).encode("latin-1")


def envelope(answer: bytes, status: int) -> dict[str, Any]:
    first, _, rest = answer.partition(b"\r\n")
    assert first.split()[1] == str(status).encode(), answer[:300]
    error: dict[str, Any] = json.loads(rest.partition(b"\r\n\r\n")[2])["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b"[]", 400, "invalid_json"),
        (b"null", 400, "invalid_json"),
        (b'"text"', 400, "invalid_json"),
        (b"\xff\xfe\x00", 400, "invalid_json"),
        (b'{"messages": "\xc3\x28"}', 400, "invalid_json"),
        (b'{"messages": [{"role":"user","content":"\\ud800"}]}', 400, None),
        (b'{"messages": [{"role":"user","content":"a\\u0000b"}]}', 400, None),
        (b'{"temperature": NaN}', 400, "invalid_json"),
        (b"[" * 10_000 + b"]" * 10_000, 400, None),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400, None),
        (b'{"x":' + b"[" * 100 + b"]" * 100 + b"}", 400, "too_deep"),
        (b"1" * 5_000, 400, "invalid_json"),
        (b'{"messages": ' + b" " * 70_000 + b"[]}", 413, "body_too_large"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_body_that_is_none(small: Any, body: bytes, status: int, code: str | None) -> None:
    found = small.client().post(CHAT, content=body)
    assert found.status_code == status, found.text
    error = found.json()["error"]
    assert error["message"]
    assert code is None or error["code"] == code
    assert len(found.content) < 2_000


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 9}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1e300}, "max_tokens"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"n": 10**6}, "n"),
        ({"n": 9}, "n"),
        ({"seed": 10**40}, "seed"),
        ({"stop": ["x"] * 10_000}, "stop"),
        ({"stop": ""}, "stop"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 1e9}}, "logit_bias"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": "x" * 1_001}]}, "messages"),
        ({"messages": [{"role": "user", "content": {"a": 1}}]}, "messages"),
        ({"model": ""}, "model"),
        ({"model": "x" * 10_000}, "model"),
        ({"model": "../../etc/passwd"}, "model"),
        ({"model": "poet@nan"}, "model"),
        ({"model": "poet@-1"}, "model"),
        ({"model": "+".join(["poet@0.01"] * 100)}, "model"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"scenepipe": {"chat": "\x00"}}, "scenepipe"),
        ({"scenepipe": {"chat": "history:x"}}, "scenepipe"),
        ({"stream": "maybe"}, "stream"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_a_value_out_of_its_range_is_named(small: Any, fields: dict[str, Any], param: str) -> None:
    found = small.client().post(CHAT, content=json.dumps({"messages": MESSAGES} | fields))
    assert found.status_code in (400, 404), found.text
    assert found.json()["error"]["param"].startswith(param)


def test_unknown_fields_are_passed_over(small: Any) -> None:
    body = {"messages": MESSAGES, "parallel_tool_calls": True, "service_tier": "auto", "zzz": {"a": [1]}}
    assert small.client().post(CHAT, json=body).status_code == 200


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/scenes", "/v1/tokenize", "/v1/memory/search", "/v1/explain"])
@pytest.mark.parametrize(
    "given", [None, "", " ", [], [1, 2], ["a"] * 5, [""], {"a": 1}, "x" * 1_001, "a\x00"], ids=repr
)
def test_texts_that_are_none(small: Any, path: str, given: Any) -> None:
    found = small.client().post(path, json={"input": given})
    assert found.status_code == 400, found.text
    assert set(found.json()["error"]) == {"message", "type", "param", "code"}


def test_a_body_that_claims_or_brings_100_mb_is_refused_before_it_is_read(small: Any) -> None:
    began = time.monotonic()
    claimed = raw(small, head("POST", CHAT, "content-length: 104857600"), b"{" * 1000)
    assert envelope(claimed, 413)["code"] == "body_too_large"
    chunk = b"10000\r\n" + b"[" * 0x10000 + b"\r\n"
    brought = raw(small, head("POST", CHAT, "transfer-encoding: chunked"), chunk, chunk, chunk)
    assert envelope(brought, 413)["code"] == "body_too_large"
    assert time.monotonic() - began < 3


def test_slow_heads_and_slow_bodies_are_cut_off(serving: Callable[..., Any]) -> None:
    hasty = serving(read_s=0.4)
    began = time.monotonic()
    slow = raw(hasty, *[bytes([byte]) for byte in b"POST /v1/chat/comp"], wait=0.05)
    assert envelope(slow, 408)["code"] == "head_timeout"
    silent = raw(hasty)
    assert envelope(silent, 408)["code"] == "head_timeout"
    body = raw(hasty, head("POST", CHAT, "content-length: 50"), *([b"{"] * 12), wait=0.05)
    assert envelope(body, 408)["code"] == "body_timeout"
    assert time.monotonic() - began < 4


def test_many_slow_clients_keep_nobody_waiting(small: Any) -> None:
    socks = [socket.create_connection(("127.0.0.1", small.server.port)) for _ in range(50)]
    for sock in socks:
        sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n")
    began = time.monotonic()
    assert small.client().post(CHAT, json={"messages": MESSAGES}).status_code == 200
    assert time.monotonic() - began < 2
    for sock in socks:
        sock.close()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"POST /v1/models HTTP/1.1\r\ncontent-length: -5\r\n\r\n", 400),
        (b"POST /v1/models HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\nabc", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\nbad\x00name: 1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nx: " + b"a" * 10_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"x: 1\r\n" * 2_000, 431),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_no_http_is_refused_in_the_envelope(small: Any, data: bytes, status: int) -> None:
    envelope(raw(small, data), status)


def test_hostile_headers_come_back_in_nothing(small: Any) -> None:
    http = small.client()
    for hostile in ("a b", "x" * 500, "<script>", "é"):
        found = http.get("/v1/models", headers={"X-Request-Id": hostile.encode("utf-8")})
        assert found.headers["x-request-id"] != hostile
        assert len(found.headers["x-request-id"]) == 32
    assert http.get("/v1/models", headers={"X-Request-Id": "my-id.1"}).headers["x-request-id"] == "my-id.1"
    chat = http.post(CHAT, json={"messages": MESSAGES}, headers={"X-Scenepipe-Chat": "дом\t1".encode()})
    assert chat.status_code == 400
    fine = http.post(CHAT, json={"messages": MESSAGES}, headers={"X-Scenepipe-Chat": "дом".encode()})
    assert fine.status_code == 200
    packed = http.post(CHAT, content=b"x", headers={"Content-Encoding": "gzip"})
    assert packed.status_code == 415


def test_what_is_not_served_is_a_404_or_a_405_in_the_envelope(small: Any) -> None:
    http = small.client()
    for path in ("/nothing", "/v2/models", "/v1/chat", "/v1/chat/completions/", "/..%2f..%2fetc/passwd", "/%00"):
        assert http.get(path).json()["error"]["code"] == "not_found"
    wrong = http.put("/v1/models")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    assert "GET" in wrong.headers["allow"]


# --- Schemas ---


def doubling(steps: int) -> dict[str, Any]:
    """References that unfold to two to the power of so many."""
    parts = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(steps)}
    return {"$ref": "#/$defs/a0", "$defs": parts | {f"a{steps}": {"type": "string"}}}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


BOMBS: list[dict[str, Any]] = [
    doubling(20),
    nested(26),
    {"$ref": "#"},
    {"allOf": [{"$ref": "#"}]},
    {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    {"$ref": "https://example.org/schema.json"},
    {"$ref": "#/$defs/nothing"},
    {"$ref": 5},
    {"type": "string", "minLength": 10**9},
    {"type": "array", "minItems": 10**9, "items": {"type": "string"}},
    {"type": "array", "maxItems": -1},
    {"type": "string", "pattern": "(a+)+$"},
    {"type": "string", "pattern": "(a{1000}){100000}"},
    {"type": "string", "pattern": "a" * 300},
    {"type": "string", "pattern": 5},
    {"patternProperties": {"(x*)*": {}}},
    {"enum": list(range(5_000))},
    {"properties": {str(n): {"type": "string"} for n in range(3_000)}},
    {"properties": {"a": 5}},
    {"items": [5]},
]


@pytest.mark.parametrize("schema", BOMBS, ids=lambda schema: repr(schema)[:50])
def test_a_schema_bomb_is_refused_at_once(schema: dict[str, Any]) -> None:
    began = time.monotonic()
    with pytest.raises(ApiError) as caught:
        checked(schema, "response_format")
    assert (caught.value.status, caught.value.code) == (400, "invalid_json_schema")
    assert time.monotonic() - began < 0.5


TREE = {
    "$defs": {
        "node": {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}}
    },
    "$ref": "#/$defs/node",
}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        TREE,
        {"type": "object", "properties": {"child": {"$ref": "#"}}},
        doubling(5),
        nested(20),
        {"type": "string", "pattern": "^[a-z]{1,20}(-[a-z]+)?$"},
        {"enum": ["a", None, 3]},
    ],
    ids=lambda schema: repr(schema)[:50],
)
def test_a_schema_of_ordinary_size_is_taken(schema: dict[str, Any]) -> None:
    assert checked(schema, "x") == schema


def test_a_schema_bomb_over_http(small: Any) -> None:
    for schema in (doubling(20), {"type": "string", "pattern": "(a+)+$"}):
        wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        found = small.client().post(CHAT, json={"messages": MESSAGES, "response_format": wanted})
        assert (found.status_code, found.json()["error"]["code"]) == (400, "invalid_json_schema")
        answer = {"format": {"type": "json_schema", "name": "x", "schema": schema}}
        found = small.client().post("/v1/responses", json={"input": "x", "text": answer})
        assert (found.status_code, found.json()["error"]["code"]) == (400, "invalid_json_schema")


json_values: Any = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
for _ in range(3):
    json_values = (
        json_values | st.lists(json_values, max_size=3) | st.dictionaries(st.text(max_size=4), json_values, max_size=3)
    )


@given(
    st.dictionaries(st.sampled_from(["type", "items", "properties", "$ref", "allOf", "enum", "pattern"]), json_values)
)
def test_any_value_as_a_schema_is_taken_or_refused_by_name(schema: dict[str, Any]) -> None:
    try:
        assert checked(schema, "x") == schema
    except ApiError as error:
        assert error.status == 400


@given(json_values)
def test_depth_is_counted_in_levels(value: Any) -> None:
    def depth(inner: Any) -> int:
        if isinstance(inner, dict):
            return 1 + max(map(depth, inner.values()), default=0)
        return 1 + max(map(depth, inner), default=0) if isinstance(inner, list) else 0

    for most in range(4):
        assert too_deep(value, most) == (depth(value) > most)
