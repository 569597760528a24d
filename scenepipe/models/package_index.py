"""The simple page of a Python package index: which file a version's wheel is, and what the index says of its hash.

HTML pages follow PEP 503, JSON pages PEP 691; both are asked for and either is read.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit

import httpx

DEFAULT_INDEX = "https://pypi.org/simple"
ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_LARGEST_PAGE = 32 * 1024 * 1024


class SourceError(Exception):
    """What one source said instead of giving the file; the next source may still have it."""


@dataclass(frozen=True)
class IndexFile:
    """A file that an index offers."""

    url: str
    filename: str
    sha256: str | None


def index_url() -> str:
    """The index in use: ``PIP_INDEX_URL``, ``UV_INDEX_URL``, else the Python package index."""
    for name in ("PIP_INDEX_URL", "UV_INDEX_URL"):
        if given := os.environ.get(name, "").strip():
            return given.rstrip("/")
    return DEFAULT_INDEX


def without_credentials(url: str) -> str:
    """The URL as it may be printed: user name and password left out."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def find_wheel(client: httpx.Client, index: str, distribution: str, version: str) -> IndexFile:
    """The wheel of one version of a distribution.

    Raises:
        SourceError: the index has no such wheel, or its page cannot be read.
        httpx.HTTPError: the index did not answer.
    """
    page = f"{index.rstrip('/')}/{_normal(distribution)}/"
    response = client.get(page, headers={"Accept": ACCEPT})
    if response.status_code == 404:
        raise SourceError(f"it has no package {distribution}")
    response.raise_for_status()
    if len(response.content) > _LARGEST_PAGE:
        raise SourceError(f"its page of {distribution} is {len(response.content)} bytes long")
    for file in _files(response):
        if _is_wheel_of(file.filename, distribution, version):
            return file
    raise SourceError(f"it has no wheel of {distribution} {version}")


def _files(response: httpx.Response) -> list[IndexFile]:
    base = str(response.url)
    if "json" in response.headers.get("content-type", ""):
        return _json_files(response, base)
    parser = _Links()
    parser.feed(response.text)
    base = urljoin(base, parser.base) if parser.base else base
    return [_from_link(urljoin(base, link)) for link in parser.links]


def _json_files(response: httpx.Response, base: str) -> list[IndexFile]:
    try:
        found: list[dict[str, Any]] = response.json()["files"]
        return [
            IndexFile(urljoin(base, file["url"]), file["filename"], (file.get("hashes") or {}).get("sha256"))
            for file in found
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SourceError("its JSON page does not follow PEP 691") from None


def _from_link(link: str) -> IndexFile:
    url, fragment = urldefrag(link)
    kind, _, digest = fragment.partition("=")
    return IndexFile(url, unquote(urlsplit(url).path.rpartition("/")[2]), digest if kind == "sha256" else None)


def _is_wheel_of(filename: str, distribution: str, version: str) -> bool:
    parts = filename.removesuffix(".whl").split("-")
    return (
        filename.endswith(".whl")
        and len(parts) >= 5
        and (_normal(parts[0]), parts[1]) == (_normal(distribution), version)
    )


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


class _Links(HTMLParser):
    """Collects the ``href`` of every anchor, and of ``base``."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.base = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        link = dict(attrs).get("href")
        if tag == "a" and link:
            self.links.append(link)
        elif tag == "base" and link and not self.base:
            self.base = link
