"""Documents become scenes of an archive: what was read is recalled beside what was met, and cited.

Each part of a file is a scene with an encounter of kind ``read``, whose data is its `Citation`. The encounter's id is made
from the file's bytes, the part's place and the namespace: reading the same file again adds nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

from scenepipe.context import Failure, offload
from scenepipe.contracts import Archive, Encounter, Value
from scenepipe.documents.citation import Citation
from scenepipe.documents.cut import Measure, cut
from scenepipe.documents.files import File, read_file
from scenepipe.documents.reader import Reader
from scenepipe.errors import ConfigError, Fault, InputError
from scenepipe.portal import Results
from scenepipe.recall import archived
from scenepipe.scene import SCENE_NAMESPACE, Origin, Scene, new_scene

if TYPE_CHECKING:
    from scenepipe.pipeline import Pipeline

CHARACTERS = 400
_BATCH = 64


class Ingested(Value):
    """What became of one file.

    Args:
        parts: how many it has.
        new: of them, how many were not read before.
        failures: parts that a stage failed; they are read by another try.
    """

    source: str
    sha256: str
    parts: int
    new: int
    failures: tuple[Failure, ...] = ()


def ingest(
    pipeline: Pipeline,
    files: Sequence[str],
    *,
    namespace: str = "default",
    characters: int = CHARACTERS,
    tokens: int | None = None,
    user: str | None = None,
) -> Results[Ingested | Failure]:
    """Read files into the archive of a pipeline, analysed by its own stages; no model speaks.

    Iterate it either way. In the place of a file that cannot be read stands a Failure; the others are read all the same.

    Args:
        files: paths; each is cited as it is given here.
        characters: size of a part, at most.
        tokens: size of a part by the pipeline's tokenizer instead.
        user: who reads.

    Raises:
        ConfigError: the pipeline has no memory, or no tokenizer to count with; a size is not positive.
    """
    faults = [Fault(name, f"{n} was given; at least 1") for name, n in _sizes(characters, tokens) if n < 1]
    if pipeline.resources.archive is None:
        faults.append(Fault("memory", "the pipeline remembers nothing; give it a 'memory:'"))
    if faults:
        raise ConfigError(faults, pipeline.name)
    origin = Origin(namespace=namespace, user=user)
    return Results(lambda: _ingest(pipeline, files, origin, characters, tokens), pipeline._sync)


def _sizes(characters: int, tokens: int | None) -> Iterator[tuple[str, int]]:
    yield "characters", characters
    if tokens is not None:
        yield "tokens", tokens


async def _ingest(
    pipeline: Pipeline, files: Sequence[str], origin: Origin, characters: int, tokens: int | None
) -> AsyncGenerator[Ingested | Failure, None]:
    reader = Reader(pipeline)
    await reader.open()
    try:
        measure, most = (len, characters) if tokens is None else (reader.counter(), tokens)
        for number, source in enumerate(files):
            yield await _ingest_one(reader, number, source, origin, most, measure)
    finally:
        await reader.aclose()


async def _ingest_one(
    reader: Reader, number: int, source: str, origin: Origin, most: int, measure: Measure
) -> Ingested | Failure:
    try:
        file = await offload(read_file, source)
    except InputError as error:
        return Failure(scene=None, row=number, stage="input", error="InputError", message=str(error))
    return await _ingest_file(reader, file, origin, most, measure)


@dataclass(frozen=True)
class _Read:
    """A part with the encounter that tells of it."""

    scene: Scene
    encounter: Encounter


async def _ingest_file(reader: Reader, file: File, origin: Origin, most: int, measure: Measure) -> Ingested:
    archive = reader.pipeline.resources.archive
    assert archive is not None, "checked by `ingest`"
    parts, count, new = _parts(file, origin, most, measure), 0, 0
    failures: list[Failure] = []
    while batch := await offload(lambda: list(islice(parts, _BATCH))):
        fresh = await _unknown(archive, batch)
        done = await reader.read([part.scene for part in fresh])
        failures += [
            result.model_copy(update={"row": count + batch.index(part)})
            for part, result in zip(fresh, done, strict=True)
            if isinstance(result, Failure)
        ]
        read = [(part, result) for part, result in zip(fresh, done, strict=True) if isinstance(result, Scene)]
        if read:
            log = [_analysed(part.encounter, scene) for part, scene in read]
            new += (await archive.append([archived(scene) for _, scene in read], log)).encounters
        count += len(batch)
    return Ingested(source=file.source, sha256=file.sha256, parts=count, new=new, failures=tuple(failures))


async def _unknown(archive: Archive, batch: Sequence[_Read]) -> list[_Read]:
    """The parts that were not read before."""
    known = {encounter.id for encounter in await archive.encounters(list({part.scene.id for part in batch}))}
    return [part for part in batch if part.encounter.id not in known]


def _parts(file: File, origin: Origin, most: int, measure: Measure) -> Iterator[_Read]:
    at = datetime.now(UTC)
    for document in file.documents:
        for part in cut(document.text, most=most, measure=measure, markdown=document.markdown):
            scene = new_scene(document.text[part.span[0] : part.span[1]], origin, created=at)
            citation = Citation(
                source=file.source,
                span=part.span,
                sha256=file.sha256,
                row=document.row,
                title=document.title,
                heading=part.heading,
            )
            yield _Read(scene, _encounter(scene, citation, at))


def _encounter(scene: Scene, citation: Citation, at: datetime) -> Encounter:
    place = f"{citation.sha256}\n{citation.row}\n{citation.span[0]}\n{citation.span[1]}\n{scene.origin.namespace}"
    return Encounter(
        id=str(uuid.uuid5(SCENE_NAMESPACE, f"read\n{place}")),
        scene_id=scene.id,
        kind="read",
        at=at,
        namespace=scene.origin.namespace,
        run=citation.sha256,
        user=scene.origin.user,
        data=citation.data(),
    )


def _analysed(encounter: Encounter, scene: Scene) -> Encounter:
    return encounter.model_copy(update={"analysis": scene.analysis.id if scene.analysis else None})
