"""Who may call: every route and method, every form of a key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from scenepipe.errors import ConfigError
from scenepipe.server.app import routes
from scenepipe.server.auth import Caller, Keys, digest, key_line, new_key, parse_keys, read_keys
from scenepipe.server.pages import STUDIO
from scenepipe.server.running import keys_of
from scenepipe.server.settings import Settings, is_local, refuse_open_bind

KEY = "sp-the-key"
KEYS = Keys({digest(KEY): Caller("anna", "anna"), digest("other"): Caller("ben", "ben")})
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
PATHS = sorted({route.path.replace("{model:path}", "toy") for route in routes()} | {"/", "/nothing", "/v1", "//health"})
WRONG: list[dict[str, str]] = [
    {},
    {"Authorization": ""},
    {"Authorization": KEY},
    {"Authorization": "Bearer"},
    {"Authorization": f"Basic {KEY}"},
    {"Authorization": "Bearer wrong"},
    {"Authorization": f"Bearer {KEY}x"},
    {"Authorization": f"Bearer {KEY[:-1]}"},
    {"x-api-key": ""},
    {"x-api-key": "wrong"},
    {"Cookie": f"key={KEY}"},
]


@pytest.fixture(scope="module")
def guarded(serving_all: Callable[..., Any]) -> Any:
    return serving_all(keys=KEYS)


def test_without_a_key_nothing_answers_but_the_probes(guarded: Any) -> None:
    with guarded.client() as http:
        for path in PATHS:
            for method in METHODS:
                found = http.request(method, guarded.url + path)
                public = (path in ("/health", "/ready") or path in STUDIO) and method in ("GET", "HEAD")
                assert (found.status_code == 401) is not public, (method, path, found.status_code)
                if not public and method != "HEAD":
                    assert found.json()["error"]["code"] == "invalid_api_key"
                    assert "toy" not in found.text


@pytest.mark.parametrize("headers", WRONG, ids=str)
def test_a_wrong_key_in_any_form_is_refused(guarded: Any, headers: dict[str, str]) -> None:
    with guarded.client(headers=headers) as http:
        for path in ("/v1/models", "/metrics", "/models"):
            assert http.get(path).status_code == 401
        assert http.get(f"/v1/models?key={KEY}&api_key={KEY}").status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer  {KEY}"},
        {"AUTHORIZATION": f"BEARER {KEY}"},
        {"x-api-key": KEY},
    ],
    ids=str,
)
def test_a_right_key_in_every_form_is_let_in(guarded: Any, headers: dict[str, str]) -> None:
    with guarded.client(headers=headers) as http:
        assert http.get("/v1/models").status_code == 200


def test_two_keys_in_one_request_are_refused(guarded: Any) -> None:
    twice = [("Authorization", f"Bearer {KEY}"), ("x-api-key", KEY)]
    assert httpx.get(f"{guarded.url}/v1/models", headers=twice).status_code == 401


def test_metrics_are_open_only_where_the_operator_says_so(serving: Callable[..., Any]) -> None:
    with serving(keys=KEYS, public_metrics=True).client() as http:
        assert http.get("/metrics").status_code == 200
        assert http.post("/metrics").status_code == 401
        assert http.get("/v1/models").status_code == 401


def test_without_keys_any_key_does(served: Any) -> None:
    with served.client(headers={"Authorization": "Bearer none"}) as http:
        assert http.get("/v1/models").status_code == 200


def test_cors_is_off_unless_an_origin_is_named(serving: Callable[..., Any]) -> None:
    ask = {"Origin": "https://there.example", "Access-Control-Request-Method": "POST"}
    with serving(keys=KEYS).client() as http:
        plain = http.options("/v1/chat/completions", headers=ask)
        assert plain.status_code == 401
        assert "access-control-allow-origin" not in plain.headers
    with serving(keys=KEYS, origins=("https://there.example",)).client() as http:
        assert http.options("/v1/models", headers=ask).headers["access-control-allow-origin"] == ask["Origin"]
        found = http.get("/v1/models", headers={"Origin": "https://elsewhere.example", "x-api-key": KEY})
        assert "access-control-allow-origin" not in found.headers


def test_a_named_page_reads_errors_and_sends_whatever_headers_its_client_has(serving: Callable[..., Any]) -> None:
    page = {"Origin": "https://there.example"}
    http = serving(keys=KEYS, origins=(page["Origin"],)).client()
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-stainless-os"}
    allowed = http.options("/v1/models", headers=page | ask)
    assert (allowed.status_code, allowed.headers["access-control-allow-headers"]) == (200, "x-stainless-os")
    for path, key, status in (("/v1/models", "wrong", 401), ("/v1/nothing", KEY, 404)):
        found = http.get(path, headers=page | {"x-api-key": key})
        assert (found.status_code, found.headers["access-control-allow-origin"]) == (status, page["Origin"])
        assert {"retry-after", "x-should-retry"} <= set(found.headers["access-control-expose-headers"].split(", "))


def test_without_keys_no_page_but_its_own_is_answered(serving: Callable[..., Any]) -> None:
    started = serving(origins=("https://there.example",))
    port = started.server.port
    http = started.client()

    def code(origin: str | None, host: str = f"127.0.0.1:{port}") -> Any:
        headers = {"Host": host, "Content-Type": "text/plain"} | ({"Origin": origin} if origin else {})
        found = http.post("/v1/tokenize", content='{"input": "step"}', headers=headers)
        return found.status_code if found.is_success else found.json()["error"]["code"]

    for origin in (None, f"http://127.0.0.1:{port}", "https://there.example"):
        assert code(origin) == 200
    for origin in ("https://elsewhere.example", "null", f"http://127.0.0.1:{port + 1}", "http://[", "file://"):
        assert code(origin) == "origin_refused", origin
    for host in (
        "rebound.example",
        f"rebound.example:{port}",
        "127.0.0.1.rebound.example",
        "localhost.example",
        "[::1",
    ):
        assert code(None, host) == "host_refused", host
        assert http.get("/", headers={"Host": host}).status_code == 403
    for host in ("localhost", "[::1]:80", "server:8000", "host.docker.internal", "there.example", "192.168.0.2"):
        assert code(None, host) == 200, host


def test_with_keys_the_key_alone_decides(serving: Callable[..., Any]) -> None:
    http = serving(keys=KEYS).client(
        headers={"x-api-key": KEY, "Origin": "https://elsewhere.example", "Host": "a.example"}
    )
    assert http.get("/v1/models").status_code == 200


def test_a_public_address_needs_keys() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        assert not is_local(host)
        with pytest.raises(ConfigError, match="scenepipe key"):
            refuse_open_bind(Settings(host=host), keys=0)
        refuse_open_bind(Settings(host=host), keys=1)
    for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        refuse_open_bind(Settings(host=host), keys=0)


def test_a_keys_file_without_a_key_opens_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    path.write_text("# anna has left\n\n")
    with pytest.raises(ConfigError, match="holds no key"):
        keys_of(Settings(keys=path))
    path.write_text(key_line("anna", "k") + "\n")
    assert keys_of(Settings(keys=path)).of("k") == Caller("anna", "anna")


def test_keys_are_kept_as_hashes(tmp_path: Path) -> None:
    key = new_key()
    assert new_key() != key
    path = tmp_path / "keys.txt"
    path.write_text(f"# ours\n\n{key_line('anna', key)}\n{key_line('bot', 'b', 'anna')}\n")
    keys = read_keys(path)
    assert key not in path.read_text()
    assert keys.of(key) == Caller("anna", "anna")
    assert keys.of("b") == Caller("bot", "anna")
    assert keys.of("") is None


@pytest.mark.parametrize("line", ["anna", "anna abc", "anna " + "g" * 64, "an/na " + "0" * 64, "a b c d"])
def test_a_line_that_is_no_key_is_refused_by_its_number_and_not_repeated(line: str) -> None:
    with pytest.raises(ConfigError, match=":2:1") as caught:
        parse_keys(["# comment", line], "keys.txt")
    assert line not in str(caught.value)
    with pytest.raises(ConfigError, match="twice"):
        parse_keys([key_line("a", "k"), key_line("b", "k")], "keys.txt")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_keys(Path("/nowhere/keys.txt"))
