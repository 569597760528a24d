"""Documents in an archive: exact spans, once each, recalled with a citation, never met."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from scenepipe.context import Context, Failure
from scenepipe.contracts import Encounter
from scenepipe.documents.citation import citation_of
from scenepipe.documents.ingest import Ingested, ingest
from scenepipe.errors import ConfigError
from scenepipe.memory.memory import MemoryArchive
from scenepipe.modules.decode import Decode
from scenepipe.modules.recall import Recall
from scenepipe.modules.remember import Remember
from scenepipe.pipeline import Pipeline
from scenepipe.scene import Scene
from scenepipe.testing.fake_backend import FakeBackend

BOOK = """\
# Книга входа

Тишина стоит у порога. Дрожь проходит насквозь.

## Шаг

Каждый шаг начинается в темноте, и темнота отвечает ему.\r
Ступень за ступенью.
"""


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "книга.md"
    path.write_bytes(BOOK.encode())
    return path


def read(pipeline: Pipeline, *files: Path, **options: Any) -> list[Ingested]:
    done = list(ingest(pipeline, [str(file) for file in files], **options))
    assert all(isinstance(each, Ingested) for each in done), done
    return [each for each in done if isinstance(each, Ingested)]


def log_of(archive: MemoryArchive) -> Sequence[Encounter]:
    return asyncio.run(archive.encounters())


def text_of(archive: MemoryArchive, encounter: Encounter) -> str:
    (scene,) = asyncio.run(archive.get([encounter.scene_id]))
    return scene.text


def test_every_part_is_a_scene_with_its_place(pipeline: Pipeline, archive: MemoryArchive, book: Path) -> None:
    (done,) = read(pipeline, book, characters=60)
    log = log_of(archive)
    assert (done.source, done.parts, done.new, done.failures) == (str(book), len(log), len(log), ())
    assert len(log) > 3
    for encounter in log:
        citation = citation_of(encounter)
        assert citation is not None
        assert encounter.kind == "read"
        assert BOOK[citation.span[0] : citation.span[1]] == text_of(archive, encounter)
        assert (citation.source, citation.title) == (str(book), "Книга входа")
        assert citation.sha256 == encounter.run == hashlib.sha256(BOOK.encode()).hexdigest()
        assert encounter.analysis is not None
    assert {encounter.data["heading"] for encounter in log} == {"Книга входа", "Шаг"}


def test_reading_again_changes_nothing_and_analyses_nothing(
    pipeline: Pipeline, archive: MemoryArchive, words: Any, book: Path, tmp_path: Path
) -> None:
    (first,) = read(pipeline, book)
    before, count = log_of(archive), words.read
    copy = tmp_path / "copy.md"
    copy.write_bytes(BOOK.encode())
    again, same = read(pipeline, book, copy)
    assert (again.new, same.new) == (0, 0)
    assert again.parts == same.parts == first.parts
    assert log_of(archive) == before
    assert words.read == count


def test_another_file_and_another_namespace_are_read_of_their_own(
    pipeline: Pipeline, archive: MemoryArchive, book: Path, tmp_path: Path
) -> None:
    read(pipeline, book)
    other = tmp_path / "other.md"
    other.write_bytes((BOOK + "\nЕщё.").encode())
    (done,) = read(pipeline, other)
    assert done.new == done.parts
    (done,) = read(pipeline, book, namespace="anna", user="anna")
    assert done.new == done.parts
    assert {(e.namespace, e.user) for e in log_of(archive)} == {("default", None), ("anna", "anna")}


def test_a_refrain_is_one_scene_read_twice(pipeline: Pipeline, archive: MemoryArchive, tmp_path: Path) -> None:
    song = tmp_path / "song.txt"
    song.write_text("Тишина у входа.\n\nШаг.\n\nТишина у входа.", encoding="utf-8")
    (done,) = read(pipeline, song, characters=16)
    assert (done.parts, done.new) == (3, 3)
    assert len({e.scene_id for e in log_of(archive)}) == 2


def test_sizes_have_an_effect(pipeline: Pipeline, archive: MemoryArchive, book: Path) -> None:
    (small,) = read(pipeline, book, characters=20, namespace="a")
    (large,) = read(pipeline, book, characters=1000, namespace="b")
    (counted,) = read(pipeline, book, tokens=5, namespace="c")
    assert small.parts > large.parts == 2
    assert counted.parts > 3
    assert all(len(text_of(archive, e)) <= 20 for e in log_of(archive) if e.namespace == "a")
    assert all(len(text_of(archive, e).split()) <= 5 for e in log_of(archive) if e.namespace == "c")


def test_rows_are_cited_by_line(pipeline: Pipeline, archive: MemoryArchive, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    texts = ["Тишина стоит у порога.", "Дрожь проходит насквозь. Ступень."]
    rows.write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    (done,) = read(pipeline, rows, characters=24)
    assert done.parts == 3
    found = [citation_of(e) for e in log_of(archive)]
    assert {(c.place, c.span) for c in found if c} == {
        (f"{rows}:1", (0, 22)),
        (f"{rows}:2", (0, 24)),
        (f"{rows}:2", (25, 33)),
    }


def test_what_was_read_is_recalled_and_cited_but_was_never_met(pipeline: Pipeline, book: Path) -> None:
    read(pipeline, book)
    done = pipeline.run("Почему тишина стоит у порога?")
    assert done.echoes is not None
    assert done.resonance is not None
    echo = done.echoes[0]
    assert (echo.source, BOOK[slice(*(echo.span or (0, 0)))]) == (str(book), echo.text)
    assert echo.reasons[0].startswith("shared symbols: ")
    assert "тишина" in echo.reasons[0]
    assert echo.met is None
    same = pipeline.run(echo.text)
    assert same.resonance is not None
    assert same.resonance.strength is None
    assert same.echoes is not None
    assert (same.echoes[0].text, same.echoes[0].reasons, same.echoes[0].source) == (
        echo.text,
        ("same words",),
        str(book),
    )
    again = pipeline.run(echo.text)
    assert again.resonance is not None
    assert again.resonance.encounters == 1


def test_a_file_that_cannot_be_read_leaves_the_others_alone(pipeline: Pipeline, book: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"\xff")
    first, second = ingest(pipeline, [str(bad), str(book)])
    assert isinstance(first, Failure)
    assert (first.row, first.stage) == (0, "input")
    assert "not UTF-8" in first.message
    assert isinstance(second, Ingested)
    assert second.new == second.parts


def test_a_part_that_fails_is_named_and_the_rest_is_read(
    pipeline: Pipeline, archive: MemoryArchive, tmp_path: Path
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("Первое слово.\n\nBOOM.\n\nПоследнее слово.", encoding="utf-8")
    (done,) = read(pipeline, path, characters=16)
    assert (done.parts, done.new) == (3, 2)
    assert [(f.row, f.stage) for f in done.failures] == [(1, "words")]
    assert "fail on BOOM" in done.failures[0].message


def test_no_model_is_called_and_no_engine_is_opened(words: Any, archive: MemoryArchive, book: Path) -> None:
    class Closed(FakeBackend):
        async def open(self, model: Any, registers: Any) -> Any:
            raise AssertionError("the engine was opened")

    stages = [("words", words), ("recall", Recall()), ("decode", Decode()), ("remember", Remember())]
    with Pipeline(stages, backend=Closed(), archive=archive) as pipe:
        (done,) = read(pipe, book)
    assert done.new == done.parts


def test_where_a_model_would_build_the_scene_the_rules_do(archive: MemoryArchive, book: Path) -> None:
    class Tokens:
        reads: ClassVar[frozenset[str]] = frozenset()
        writes: ClassVar[frozenset[str]] = frozenset({"language", "symbols"})

        async def run(self, scene: Scene, ctx: Context) -> Scene:
            from scenepipe.analysis.reading import read_text

            found = read_text(scene.text)
            return scene.with_(language=found.language, symbols=found.symbols)

    class Asks:
        reads: ClassVar[frozenset[str]] = frozenset({"language", "symbols"})
        writes: ClassVar[frozenset[str]] = frozenset({"linkage", "field"})
        needs: ClassVar[frozenset[str]] = frozenset({"backend"})

        async def run(self, scene: Scene, ctx: Context) -> Scene:
            raise AssertionError("the model was asked")

    with Pipeline([Tokens(), Asks(), Remember()], backend=FakeBackend(), archive=archive) as pipe:
        (done,) = read(pipe, book)
    assert done.failures == ()
    scenes = asyncio.run(archive.get([e.scene_id for e in log_of(archive)]))
    assert all(scene.linkage and scene.linkage.chain and scene.analysis for scene in scenes)


def test_a_pipeline_without_memory_or_tokenizer_is_refused(words: Any, book: Path, archive: MemoryArchive) -> None:
    with pytest.raises(ConfigError, match="remembers nothing"):
        ingest(Pipeline([words]), [str(book)])
    with pytest.raises(ConfigError, match="characters: 0 was given"):
        ingest(Pipeline([words], archive=archive), [str(book)], characters=0)
    words.count = None
    with Pipeline([words, Remember()], archive=archive) as pipe, pytest.raises(ConfigError, match="no stage counts"):
        list(ingest(pipe, [str(book)], tokens=5))


def test_it_is_iterated_asynchronously_too(words: Any, archive: MemoryArchive, book: Path) -> None:
    async def main() -> list[Ingested | Failure]:
        async with Pipeline([words, Remember()], archive=archive) as pipe:
            return [done async for done in ingest(pipe, [str(book)])]

    (done,) = asyncio.run(main())
    assert isinstance(done, Ingested)
    assert done.new == done.parts > 0
