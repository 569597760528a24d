"""The studio: what the page may do, that it is whole, and that it works in a real browser."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scenepipe.scene import new_scene
from scenepipe.server.auth import Caller, Keys, digest
from scenepipe.server.pages import FILES, FOLDER, STUDIO
from scenepipe.testing.fake_backend import FakeBackend

CODE = {name: (FOLDER / name).read_text(encoding="utf-8") for name in FILES}
SCRIPTS = [name for name in FILES if name.endswith(".js")]
WORDS = {code: json.loads(CODE[f"{code}.json"]) for code in ("ru", "en")}
TEXT = "Why do I not feel the step?"
HOSTILE = '<img src=x onerror="document.title=1"> <script>document.title = 2</script> & step'


@pytest.fixture(scope="module")
def shared(serving_all: Callable[..., Any]) -> Any:
    return serving_all(backend=FakeBackend())


# --- files -----------------------------------------------------------------------------------------------------------


def test_every_file_is_served_with_its_type_and_a_strict_policy(shared: Any) -> None:
    types = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".json": "application/json"}
    for path in STUDIO:
        found = shared.client().get(path)
        assert found.status_code == 200
        suffix = Path(path).suffix or ".html"
        assert found.headers["content-type"].startswith(types.get(suffix, "image/svg+xml"))
        assert found.headers.get_list("x-content-type-options") == ["nosniff"]
        assert found.headers["x-frame-options"] == "DENY"
        assert found.headers["referrer-policy"] == "no-referrer"
        assert found.headers["cross-origin-opener-policy"] == "same-origin"
        policy = dict(part.split(" ", 1) for part in found.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["require-trusted-types-for"] == "'script'"
        assert "unsafe" not in str(policy)


def test_the_page_answers_without_a_key_and_nothing_beside_it_is_reached(serving: Callable[..., Any]) -> None:
    http = serving(keys=Keys({digest("sp-k"): Caller("anna", "anna")})).client()
    assert http.get("/").status_code == 200
    assert http.post("/").status_code == 401
    for path in ("/studio/", "/studio/index.html", "/studio/../app.py", "/studio/%2e%2e/app.py", "/studio/nothing.js"):
        assert http.get(path).status_code == 401, path
        assert http.get(path, headers={"x-api-key": "sp-k"}).status_code == 404, path
    for path in ("/v1/draw", "/v1/memory/graph"):
        assert http.post(path, json={"input": TEXT}).status_code == 401


def test_whatever_a_file_refers_to_is_there() -> None:
    page = CODE["index.html"]
    referred = set(re.findall(r'(?:src|href)="studio/([^"]+)"', page))
    for name in SCRIPTS:
        referred |= set(re.findall(r'from "\./([^"]+)"', CODE[name]))
    assert referred <= set(FILES)
    assert set(FILES) == referred | {"index.html", "ru.json", "en.json"}
    ids = set(re.findall(r'\bid="([^"]+)"', page))
    for name in SCRIPTS:
        assert set(re.findall(r'\$\("([^"]+)"\)', CODE[name])) <= ids, name
    assert set(re.findall(r'(?:\bfor|aria-labelledby|aria-describedby)="([^"]+)"', page)) <= ids


@pytest.mark.parametrize("name", FILES)
def test_no_file_makes_markup_of_strings_or_reaches_elsewhere(name: str) -> None:
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function|localStorage|\bstyle="
    )
    assert not re.search(forbidden, CODE[name])
    assert not re.findall(r"(?:https?:)?//[\w-]+\.[\w.]+", CODE[name].replace("http://www.w3.org/2000/svg", ""))


def test_the_page_has_no_inline_script_or_style() -> None:
    page = CODE["index.html"]
    assert "<style" not in page
    assert not re.search(r"\son\w+=", page)
    assert re.findall(r"<script([^>]*)>([^<]*)</script>", page) == [(' type="module" src="studio/main.js"', "")]


def test_both_languages_have_every_text_that_is_asked_for() -> None:
    assert WORDS["ru"].keys() == WORDS["en"].keys()
    asked = set(re.findall(r'data-t(?:-\w+)?="(\w+)"', CODE["index.html"]))
    for name in SCRIPTS:
        asked |= set(re.findall(r'\bt\("(\w+)"', CODE[name])) | set(re.findall(r'\bpart\("(\w+)"', CODE[name]))
    assert asked <= WORDS["en"].keys()
    more = {"voice_a", "voice_b", "prompt_same", "prompt_other"}
    assert WORDS["en"].keys() == asked | more
    for key, text in WORDS["ru"].items():
        assert text.strip()
        assert re.findall(r"\{\w+\}", text) == re.findall(r"\{\w+\}", WORDS["en"][key])


# --- what it is drawn with -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["ru", "en"])
def test_a_scene_is_drawn_in_the_language_that_is_asked_for(shared: Any, language: str) -> None:
    http = shared.client()
    scene = http.post("/v1/scenes", json={"input": TEXT}).json()["data"][0]
    found = http.post("/v1/draw", json={"scene": scene, "language": language, "scheme": "dark"}).json()
    root = ET.fromstring(found["svg"])
    assert root.get("lang") == language
    assert root.get("class") == "scene-dark"
    assert ("Поэт" if language == "ru" else "Poet") in found["description"]


def test_what_is_no_scene_is_refused(shared: Any) -> None:
    for scene in ({}, {"id": "x"}, json.loads(new_scene("a").to_json()) | {"symbols": 3}):
        found = shared.client().post("/v1/draw", json={"scene": scene})
        assert found.status_code == 400
        assert "scene" in found.json()["error"]["message"]


def test_the_neighbourhood_shows_what_was_met_in_ones_own_namespace_alone(serving: Callable[..., Any]) -> None:
    names = ("anna", "ben")
    served = serving(keys=Keys({digest(f"sp-{name}"): Caller(name, name) for name in names}))
    anna, ben = (served.client(headers={"x-api-key": f"sp-{name}"}) for name in names)
    said = {"messages": [{"role": "user", "content": "The secret garden of the step"}]}
    assert anna.post("/v1/chat/completions", json=said).status_code == 200
    own, other = (http.post("/v1/memory/graph", json={"input": "My step"}).json()["svg"] for http in (anna, ben))
    assert "garden" in own
    assert "garden" not in other


def test_a_reply_is_explained_from_its_own_scene(shared: Any) -> None:
    http = shared.client()
    asked = {"messages": [{"role": "user", "content": TEXT}], "scenepipe": {"scene": True}}
    scene = http.post("/v1/chat/completions", json=asked).json()["scenepipe"]["scene"]
    told = http.post("/v1/explain", json={"input": TEXT, "scene": scene}).json()
    assert told["scene"]["reply"] == scene["reply"]
    prompt = told["previews"]["decode"]["prompt"]
    assert digest(prompt).hex() == scene["reply"]["receipt"]["prompt_sha256"]


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    pytest.importorskip("websockets")
    from tests.scenepipe.server import browser as room

    if room.CHROMIUM is None:
        pytest.skip("no Chromium is installed; apt-get install chromium")
    found = room.Browser(tmp_path / "profile")
    yield found
    found.close()


SENT = "!document.querySelector('#export').disabled && document.querySelector('#stop').hidden"


@pytest.mark.parametrize(("language", "send"), [("ru-RU", "Отправить"), ("en-US", "Send"), ("fr-FR", "Send")])
def test_a_text_is_answered_and_its_scene_drawn(shared: Any, browser: Any, language: str, send: str) -> None:
    browser.look(language=language)
    browser.open(shared.url)
    assert browser.run("document.querySelector('#send').textContent") == send
    assert browser.run("document.documentElement.lang") == ("ru" if language == "ru-RU" else "en")
    browser.type("#text", HOSTILE)
    browser.press("Enter", 13)
    browser.until(SENT)
    browser.until("document.querySelector('#scene img')?.naturalWidth > 0")
    assert browser.run("document.querySelector('#log .said').textContent") == HOSTILE
    assert browser.run("document.querySelector('#log .reply').textContent.length") > 3
    assert "onerror" in browser.run("document.querySelector('#scene details p').textContent")
    assert browser.run("document.querySelectorAll('#log img, #log script').length") == 0
    browser.click("#language")
    browser.until(f"document.querySelector('#send').textContent !== {send!r}")
    assert browser.complaints == []


def test_a_new_chat_takes_nothing_of_the_reply_that_it_cut_off(serving: Callable[..., Any], browser: Any) -> None:
    browser.open(serving(backend=FakeBackend(delay_s=0.2)).url)
    browser.type("#text", TEXT)
    browser.press("Enter", 13)
    browser.until("document.querySelector('#log .reply')?.textContent")
    browser.click("#fresh")
    browser.until("document.querySelector('#stop').hidden")
    assert browser.run("document.querySelector('#export').disabled"), "the old turn stands in the new chat"
    assert browser.complaints == []


def test_a_reply_without_a_scene_offers_no_trace(shared: Any, browser: Any) -> None:
    browser.open(shared.url)
    browser.type("#text", "Generate a short title for this conversation, five words at most.")
    browser.press("Enter", 13)
    browser.until(SENT)
    assert browser.run("document.querySelector('#log .reply').textContent.length") > 3
    assert browser.run("document.querySelectorAll('#log [data-t=trace]').length") == 0
    assert browser.complaints == []


def test_two_mixtures_side_by_side_and_the_trace_of_one(shared: Any, browser: Any) -> None:
    browser.look(scheme="dark")
    browser.open(shared.url)
    browser.click("#compare")
    browser.click("input[name=kind-a][value=mixture]")
    move = "((id, to) => {{ const s = document.getElementById(id); s.value = to; s.dispatchEvent(new Event('input')); return +s.value }})"
    move = move.replace("{{", "{").replace("}}", "}")
    assert browser.run(f"{move}('a-poet', 0.6)") == 0.6
    assert browser.run(f"{move}('a-philosopher', 0.9)") == 0.4, "weights sum to at most 1"
    browser.type("#text", TEXT)
    browser.press("Enter", 13)
    browser.until(SENT)
    replies = browser.run("[...document.querySelectorAll('#log .reply')].map((p) => p.textContent)")
    assert len(replies) == 2
    assert replies[0] != replies[1], "the fake engine's sentence depends on the mixture"
    browser.click("#log [data-t=trace]")
    browser.until("document.querySelector('#told pre') && document.querySelector('#told table')")
    shown = browser.run("document.querySelector('#told').textContent")
    assert '{"poet":0.6,"philosopher":0.4}' in shown or '{"philosopher":0.4,"poet":0.6}' in shown
    assert WORDS["en"]["prompt_same"] in shown
    assert browser.complaints == []


def test_the_archive_by_keyboard_and_a_key_that_stays_in_the_tab(serving: Callable[..., Any], browser: Any) -> None:
    served = serving(keys=Keys({digest("sp-k"): Caller("anna", "anna")}))
    said = {"messages": [{"role": "user", "content": TEXT}]}
    served.client(headers={"x-api-key": "sp-k"}).post("/v1/chat/completions", json=said)
    browser.look(width=390, height=844)
    browser.open(served.url)
    browser.until("document.querySelector('#access').open")
    assert browser.run("document.querySelector('#problem').textContent") == WORDS["en"]["key_needed"]
    browser.type("#key", "sp-k")
    browser.press("Enter", 13)
    browser.until("document.querySelector('#problem').hidden")
    browser.run("document.querySelector('[data-view=archive]').focus()")
    browser.press(" ", 32)
    browser.type("#query", "The step")
    browser.press("Enter", 13)
    browser.until("document.querySelector('#graph img')?.naturalWidth > 0")
    assert browser.run("document.querySelector('#found .said').textContent") == TEXT
    assert browser.run("document.querySelectorAll('#found .reasons li').length") > 0
    assert browser.run("Object.entries(sessionStorage).join()").count("sp-k") == 1
    assert browser.run("localStorage.length + document.cookie.length") == 0
    assert "sp-k" not in browser.run("location.href")
    assert browser.run("document.documentElement.scrollWidth") <= 390, "nothing is cut off on a phone"
    assert all("401" in each for each in browser.complaints), browser.complaints
