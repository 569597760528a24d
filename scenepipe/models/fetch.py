"""Get a catalogue model onto this disk: from the first source that answers, checked, and prepared once.

<cache>/models/<id>/<file>.gguf, verified.json     the weights, and what was verified of them
<cache>/models/<id>/parts/                         downloads on their way; gone when the model is whole
<cache>/derived/<sha256>/                          facts.json, tokenizer.model: computed from the weights
<cache>/licences/<id>.txt                          the notice that was shown
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scenepipe.errors import ModelError
from scenepipe.models.catalogue import LocalModel, ModelEntry, catalogue, entry
from scenepipe.models.gguf_header import is_gguf
from scenepipe.models.store import cache_dir, sha256_file, write_atomic, write_json
from scenepipe.models.vocabulary import load_facts, prepare, tokenizer_path

__all__ = ["cache_dir", "local", "pull"]

Progress = Callable[[int, int], None]
Say = Callable[[str], None]


def local(id: str) -> LocalModel | None:
    """The model if it is on this disk, None if it is not. Takes milliseconds: a file that has kept its size and time
    since it was verified is not hashed again.

    Args:
        id: a catalogue id, or a path to a ``.gguf`` file.

    Raises:
        ModelError: the id is unknown, the path is no GGUF file, or the file is not the one it should be.
    """
    if id.lower().endswith(".gguf"):
        return _local_file(Path(id).expanduser())
    known = entry(id)
    gguf = _folder(known) / known.filename
    if not gguf.is_file():
        return None
    found = _verified_sha256(gguf, gguf.with_name("verified.json"))
    if found != known.sha256:
        raise ModelError(
            f"{gguf} has SHA-256 {found[:12]}…, the catalogue says {known.sha256[:12]}…; "
            f"it was changed or damaged: scenepipe model pull {id} fetches it again"
        )
    return _local_model(id, gguf, found)


def pull(id: str, *, progress: Progress | None = None, say: Say | None = None) -> LocalModel:
    """Fetch a model unless it is here already. Processes that pull the same model at once wait for each other.

    Args:
        id: a catalogue id; a path to a ``.gguf`` file is only looked at.
        progress: called with the bytes fetched and the bytes in all.
        say: called with the licence notice at the first pull of a model, and when something takes long.

    Raises:
        ModelError: every source failed (names each with what it said), or the disk is full.
    """
    if id.lower().endswith(".gguf"):
        return _local_file(Path(id).expanduser())
    try:
        return _pull(entry(id), progress or (lambda done, total: None), say)
    except OSError as error:
        raise ModelError(
            f"the cache {cache_dir()} cannot be used: {error}; set SCENEPIPE_CACHE to a folder that can be written"
        ) from None


def _pull(known: ModelEntry, progress: Progress, say: Say | None) -> LocalModel:
    from scenepipe.models.sources import fetch  # with the HTTP client, 0.15 s that a model on disk need not wait for

    with _lock(known, say):
        with contextlib.suppress(ModelError):  # a damaged file is fetched again
            if found := local(known.id):
                return found
        _show_licence(known, say)
        gguf = _folder(known) / known.filename
        fetch(known, gguf, progress)
        write_json(gguf.with_name("verified.json"), _record(gguf, known.sha256))
        return _local_model(known.id, gguf, known.sha256)


@contextlib.contextmanager
def _lock(known: ModelEntry, say: Say | None) -> Iterator[None]:
    from filelock import FileLock, Timeout

    path = cache_dir() / "locks" / f"{known.id}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0.2)
    except Timeout:
        if say:
            say(f"another process is fetching {known.id}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _show_licence(known: ModelEntry, say: Say | None) -> None:
    """Say the notice once; the cache keeps what was said, so a changed notice is said again."""
    path, notice = cache_dir() / "licences" / f"{known.id}.txt", known.licence_notice() + "\n"
    if say is None or (path.is_file() and path.read_text(encoding="utf-8") == notice):
        return
    say(notice.rstrip())
    write_atomic(path, notice.encode())


def _folder(known: ModelEntry) -> Path:
    return cache_dir() / "models" / known.id


def _local_file(path: Path) -> LocalModel:
    """A GGUF file of the user's own; known under its catalogue id where it is one of the catalogue's files."""
    if not is_gguf(path):
        state = "is not a GGUF file" if path.exists() else "does not exist"
        raise ModelError(f"{path} {state}; give a path to a .gguf file, or one of: {', '.join(catalogue())}")
    gguf = path.resolve()
    key = hashlib.sha256(os.fsencode(gguf)).hexdigest()[:32]
    sha256 = _verified_sha256(gguf, cache_dir() / "files" / f"{key}.json")
    same = [known.id for known in catalogue().values() if known.sha256 == sha256]
    return _local_model(same[0] if same else _id_of(gguf), gguf, sha256)


def _id_of(gguf: Path) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", gguf.stem.lower()).strip("-._") or "model"


def _local_model(id: str, gguf: Path, sha256: str) -> LocalModel:
    found = load_facts(sha256) or prepare(gguf, sha256)
    tokenizer = tokenizer_path(sha256) if found.tokenizer_kind == "llama" else None
    return LocalModel(id, gguf, sha256, tokenizer, found.tokenizer_sha256)


def _verified_sha256(gguf: Path, record: Path) -> str:
    """Hash of a file: the recorded one while its size and time are those of the record, else computed and recorded."""
    try:
        known = json.loads(record.read_bytes())
        if known == _record(gguf, str(known["sha256"])):
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    sha256 = sha256_file(gguf)
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, not the model
        write_json(record, _record(gguf, sha256))
    return sha256


def _record(gguf: Path, sha256: str) -> dict[str, Any]:
    stat = gguf.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256}
