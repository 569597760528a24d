"""An archive as a file and back: JSONL, one record a line, with a manifest that holds its SHA-256.

The lines stand in the order of the records' ids, so the same records make the same bytes whatever store they are in.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict, ValidationError

from scenepipe.contracts import Appended, Archive, Encounter
from scenepipe.errors import ArchiveError
from scenepipe.scene import Scene

VERSION = 1

_BATCH = 256
_BATCH_BYTES = 4_000_000


class Manifest(BaseModel):
    """What an export file must be, byte for byte.

    Args:
        scenepipe_export: version of the form of the lines.
        fault: why records are missing, when the archive was damaged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scenepipe_export: int = VERSION
    scenes: int
    encounters: int
    bytes: int
    sha256: str
    fault: str | None = None


def manifest_path(path: Path) -> Path:
    """Where the manifest of an export stands: beside it."""
    return path.with_name(f"{path.name}.manifest.json")


# --- Export ----------------------------------------------------------------------------------------------------------


async def export_archive(archive: Archive, path: Path) -> Manifest:
    """Write every record of an open archive to a file, and its manifest beside it; both whole or not at all.

    Of a damaged archive what can be read is written; the manifest's ``fault`` says so.

    Raises:
        ArchiveError: the file is there already, or cannot be written.
    """
    for there in (path, manifest_path(path)):
        if there.exists():
            raise ArchiveError(f"{there} is there already and is not overwritten; give another name, or remove it")
    counts = {"scenes": 0, "encounters": 0}
    digest, size, fault = hashlib.sha256(), 0, None
    with _replacing(path) as file:
        try:
            async for record in archive.export():
                line = _line(record)
                file.write(line)
                digest.update(line)
                size += len(line)
                counts["scenes" if isinstance(record, Scene) else "encounters"] += 1
        except ArchiveError as error:
            fault = str(error)
    manifest = Manifest(**counts, bytes=size, sha256=digest.hexdigest(), fault=fault)
    with _replacing(manifest_path(path)) as file:
        file.write(manifest.model_dump_json(indent=2, exclude_none=True).encode() + b"\n")
    return manifest


def _line(record: Scene | Encounter) -> bytes:
    if isinstance(record, Scene):
        return f'{{"scene":{record.to_json(vectors=True)}}}\n'.encode()
    return f'{{"encounter":{record.model_dump_json()}}}\n'.encode()


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name when it is complete and on disk."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise ArchiveError(f"{path} cannot be written: {error}") from error
    finally:
        part.unlink(missing_ok=True)


# --- Import ----------------------------------------------------------------------------------------------------------


async def import_archive(archive: Archive, path: Path) -> Appended:
    """Write every record of an export file to an open archive; what is there already stays as it is.

    The whole file is compared with its manifest before anything is written. An import that was broken off is simply
    done again.

    Returns:
        How many records were new.

    Raises:
        ArchiveError: file or manifest is missing, was changed or has a newer form, or a record is not valid.
    """
    read_manifest(path)
    scenes = encounters = 0
    if stones := _tombstones(
        path
    ):  # before the scenes, so that one that was met anew since is not taken for the old one
        encounters = (await archive.append([], stones)).encounters
    async for batch in _batches(path):
        done = await archive.append(
            [record for record in batch if isinstance(record, Scene)],
            [record for record in batch if isinstance(record, Encounter)],
        )
        scenes, encounters = scenes + done.scenes, encounters + done.encounters
    return Appended(scenes=scenes, encounters=encounters)


def read_manifest(path: Path) -> Manifest:
    """The manifest of an export file that is exactly what it says.

    Raises:
        ArchiveError: it is missing, not a manifest, of a newer form, or the file was changed.
    """
    place = manifest_path(path)
    try:
        given = json.loads(place.read_bytes())
        if isinstance(given, dict) and int(given.get("scenepipe_export", 0)) > VERSION:
            raise ArchiveError(
                f"{path} was exported by a newer scenepipe (form {given['scenepipe_export']}, this one knows "
                f"{VERSION}); upgrade scenepipe"
            )
        manifest = Manifest.model_validate(given)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArchiveError(
            f"{error.filename} cannot be read ({error.strerror}); an export is a file with its manifest beside it"
        ) from error
    except (ValueError, TypeError) as error:
        raise ArchiveError(f"{place} is no manifest of an export: {error}") from error
    if found != manifest.sha256:
        raise ArchiveError(
            f"{path} is not what its manifest says (SHA-256 {found[:12]}…, expected {manifest.sha256[:12]}…, "
            f"{path.stat().st_size} bytes, expected {manifest.bytes}); copy it again. Nothing was imported"
        )
    return manifest


def _tombstones(path: Path) -> list[Encounter]:
    """The tombstones of an export, found by words that stand unescaped in no text of a record."""
    with path.open("rb") as file:
        lines = [(number, line) for number, line in enumerate(file, start=1) if b'"kind":"forgotten"' in line]
    records = [_record(line, f"{path}, line {number}") for number, line in lines]
    return [record for record in records if isinstance(record, Encounter) and record.kind == "forgotten"]


async def _batches(path: Path) -> AsyncIterator[list[Scene | Encounter]]:
    """Records in the order of the file, few enough at a time to keep memory flat."""
    batch: list[Scene | Encounter] = []
    size = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if batch and (len(batch) == _BATCH or size + len(line) > _BATCH_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(_record(line, f"{path}, line {number}"))
            size += len(line)
    if batch:
        yield batch


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid")

    scene: Scene | None = None
    encounter: Encounter | None = None


def _record(line: bytes, place: str) -> Scene | Encounter:
    try:
        found = _Line.model_validate_json(line)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
        raise ArchiveError(f"{place}: not a record of an archive: {faults}") from None
    record = found.scene or found.encounter
    if record is None or (found.scene and found.encounter):
        raise ArchiveError(f"{place}: not a record of an archive: one of 'scene' and 'encounter' is expected")
    return record
