"""One file over HTTP: streamed, resumed after a break, checked by its hash, renamed when it is whole."""

from __future__ import annotations

import os
import re
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from scenepipe.models.package_index import SourceError
from scenepipe.models.store import disk_full_named, remove, sha256_file, sync

TRIES = 3
BACKOFF_SECONDS = 0.5
WORTHWHILE_BYTES = 1 << 20
_CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")


def new_client() -> httpx.Client:
    """A client that follows redirects, proxies of the environment, and the certificates pip is told to use."""
    return httpx.Client(
        follow_redirects=True,
        timeout=httpx.Timeout(60.0, connect=15.0),
        verify=_certificates(),
        headers={"User-Agent": "scenepipe", "Accept-Encoding": "identity"},
    )


def _certificates() -> ssl.SSLContext | bool:
    for name in _CERTIFICATES:
        file = os.environ.get(name)
        if file and Path(file).is_file():
            return ssl.create_default_context(cafile=file)
    return True


def download(
    client: httpx.Client, url: str, target: Path, *, sha256: str, limit: int, progress: Callable[[int], None]
) -> None:
    """Fetch ``url`` into ``target``, going on from ``<target>.part`` where an earlier download broke off.

    Gives up after three tries in a row that brought less than 1 MiB each.

    Args:
        sha256: of the whole file.
        limit: most bytes that are taken.
        progress: called with the number of bytes that are there.

    Raises:
        SourceError: the server does not give the file, or gives another one.
        ModelError: the disk is full.
    """
    part = target.with_name(target.name + ".part")
    failures = 0
    while True:
        before = _size(part)
        try:
            with disk_full_named(part, limit):
                _attempt(client, url, part, limit, progress)
            break
        except (httpx.TransportError, _Retry) as error:
            failures = failures + 1 if _size(part) - before < WORTHWHILE_BYTES else 1
            if failures >= TRIES:
                raise SourceError(f"{_said(error)}, {TRIES} times") from None
            time.sleep(BACKOFF_SECONDS * 2 ** (failures - 1))
        except httpx.HTTPStatusError as error:
            raise SourceError(f"it answered {error.response.status_code} for {error.request.url.path}") from None
    found = sha256_file(part)
    if found == sha256:
        part.replace(target)
        return
    remove(part)
    if before:  # what an earlier run left may have been of another file: once more, from the first byte
        download(client, url, target, sha256=sha256, limit=limit, progress=progress)
        return
    raise SourceError(f"{target.name} has SHA-256 {found[:12]}…, {sha256[:12]}… was expected; the file was thrown away")


class _Retry(Exception):
    """An answer that another try may turn into a better one."""


def _attempt(client: httpx.Client, url: str, part: Path, limit: int, progress: Callable[[int], None]) -> None:
    """One request, from where the part file ends; a server that ignores ``Range`` starts it over."""
    have = _size(part)
    headers = {"Range": f"bytes={have}-"} if have else {}
    with client.stream("GET", url, headers=headers) as response:
        if have and response.status_code == 416:
            return  # nothing is left to send: the hash decides
        if response.status_code == 429 or response.status_code >= 500:
            raise _Retry(f"it answered {response.status_code}")
        response.raise_for_status()
        resumed = response.status_code == 206 and _starts_at(response) == have
        if response.status_code == 206 and not resumed:
            remove(part)
            raise _Retry("it resumed at another place than asked")
        _write(response, part, have if resumed else 0, limit, progress)


def _write(response: httpx.Response, part: Path, have: int, limit: int, progress: Callable[[int], None]) -> None:
    with part.open("ab" if have else "wb") as file:
        for block in response.iter_bytes():
            have += len(block)
            if have > limit:
                raise SourceError(f"it sends more than the {limit} bytes that {part.stem} has")
            file.write(block)
            progress(have)
        sync(file)


def _starts_at(response: httpx.Response) -> int | None:
    found = re.match(r"bytes (\d+)-", response.headers.get("content-range", ""))
    return int(found[1]) if found else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
