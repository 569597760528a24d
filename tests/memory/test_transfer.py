"""Export and import: the same bytes between any two stores, and files that are not what they say."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scenepipe.contracts import Appended, Archive, Encounter
from scenepipe.errors import ArchiveError
from scenepipe.memory import transfer
from scenepipe.memory.memory import MemoryArchive
from scenepipe.memory.sqlite import SqliteArchive
from scenepipe.memory.transfer import Manifest, export_archive, import_archive, manifest_path
from scenepipe.scene import Scene
from scenepipe.testing.archive_suite import NOON, TEXTS, common_archive, encounter_of, scene_of

T = TypeVar("T")
STORES = ("memory", "sqlite", "postgres", "qdrant", "qdrant-edge", "redis", "weaviate")


def use(archive: Archive, body: Callable[[Archive], Awaitable[T]]) -> T:
    async def main() -> T:
        await archive.open()
        try:
            return await body(archive)
        finally:
            await archive.aclose()

    return asyncio.run(main())


async def fill(archive: Archive) -> None:
    scenes, log = common_archive()
    odd = [scene_of(text, [text[:50]], linkage=[text[:50]], vector=[1, n]) for n, text in enumerate(TEXTS)]
    data = {"b": [1, 2.5, 1e300, -0.0], "a": None, "nested": {"z": "\u2028\x00", "y": 10**30}}
    zone = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    extra = [encounter_of(s, f"odd-{n}", data=data, at=zone, user="я", turn=n) for n, s in enumerate(odd)]
    await archive.append([*scenes, *odd], [*log, *extra])


def exported(archive: Archive, path: Path) -> bytes:
    use(archive, lambda opened: export_archive(opened, path))
    return path.read_bytes()


# --- Between stores --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", STORES)
@pytest.mark.parametrize("source", STORES)
def test_an_export_is_the_same_bytes_after_an_import(
    store: Callable[[str], Archive], tmp_path: Path, source: str, target: str
) -> None:
    async def out(archive: Archive) -> Manifest:
        await fill(archive)
        return await export_archive(archive, tmp_path / "a.jsonl")

    async def back(archive: Archive) -> tuple[Appended, Manifest]:
        done = await import_archive(archive, tmp_path / "a.jsonl")
        return done, await export_archive(archive, tmp_path / "b.jsonl")

    first = use(store(source), out)
    done, second = use(store(target), back)
    assert (done.scenes, done.encounters) == (first.scenes, first.encounters) == (18, 20)
    assert second == first
    content = (tmp_path / "a.jsonl").read_bytes()
    assert (tmp_path / "b.jsonl").read_bytes() == content
    assert first.sha256 == hashlib.sha256(content).hexdigest()
    assert first.bytes == len(content)


def test_every_store_writes_the_same_bytes(store: Callable[[str], Archive], tmp_path: Path) -> None:
    def written(kind: str) -> bytes:
        archive = store(kind)

        async def body(opened: Archive) -> bytes:
            await fill(opened)
            await export_archive(opened, tmp_path / f"{kind}.jsonl")
            return (tmp_path / f"{kind}.jsonl").read_bytes()

        return use(archive, body)

    assert len({written(kind) for kind in STORES}) == 1


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",)), max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.text(st.characters(exclude_categories=("Cs",)), min_size=1).filter(str.strip), max_size=4),
    st.dictionaries(st.text(st.characters(exclude_categories=("Cs",)), max_size=5), _JSON, max_size=3),
    st.datetimes(timezones=st.timezones()),
)
def test_any_record_survives(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], data: dict[str, Any], at: Any
) -> None:
    folder = tmp_path_factory.mktemp("any")
    scenes = [scene_of(text, [text], linkage=[text]) for text in texts]

    async def body(opened: Archive) -> None:
        await opened.append(scenes, [encounter_of(s, f"{n}{s.text}", at=at, data=data) for n, s in enumerate(scenes)])
        await export_archive(opened, folder / "a.jsonl")

    use(MemoryArchive(), body)
    target = SqliteArchive(path=str(folder / "a.db"))
    use(target, lambda opened: import_archive(opened, folder / "a.jsonl"))
    assert exported(target, folder / "b.jsonl") == (folder / "a.jsonl").read_bytes()


def test_importing_again_and_importing_a_second_archive(tmp_path: Path) -> None:
    async def other(archive: Archive) -> None:
        await archive.append([scene_of("другое")], [])
        await export_archive(archive, tmp_path / "other.jsonl")

    async def both(archive: Archive) -> list[Appended]:
        await fill(archive)
        await export_archive(archive, tmp_path / "a.jsonl")
        return [await import_archive(archive, tmp_path / name) for name in ("a.jsonl", "other.jsonl", "other.jsonl")]

    use(MemoryArchive(), other)
    done = use(MemoryArchive(), both)
    assert [(one.scenes, one.encounters) for one in done] == [(0, 0), (1, 0), (0, 0)]


def test_an_import_goes_in_small_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_BATCH", 7)
    sizes: list[int] = []

    class Counting(MemoryArchive):
        async def append(self, scenes: Any, encounters: Any) -> Appended:
            sizes.append(len(scenes) + len(encounters))
            return await super().append(scenes, encounters)

    async def out(archive: Archive) -> None:
        await fill(archive)
        await export_archive(archive, tmp_path / "a.jsonl")

    use(MemoryArchive(), out)
    use(Counting(), lambda archive: import_archive(archive, tmp_path / "a.jsonl"))
    assert sizes == [7, 7, 7, 7, 7, 3]


# --- Files that are not what they say --------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    async def out(archive: Archive) -> None:
        await fill(archive)
        await export_archive(archive, tmp_path / "a.jsonl")

    use(MemoryArchive(), out)
    return tmp_path / "a.jsonl"


def refusal(path: Path) -> str:
    async def body(archive: Archive) -> str:
        with pytest.raises(ArchiveError) as caught:
            await import_archive(archive, path)
        assert (await archive.verify()).scenes == 0, "nothing may be written"
        return str(caught.value)

    return use(MemoryArchive(), body)


def resign(path: Path) -> None:
    """Make the manifest fit a file that was changed."""
    manifest = json.loads(manifest_path(path).read_text())
    manifest |= {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
    manifest_path(path).write_text(json.dumps(manifest))


def test_an_export_never_overwrites(file: Path) -> None:
    before = file.read_bytes()
    for gone in (None, file):
        if gone:
            gone.unlink()
        with pytest.raises(ArchiveError, match="is not overwritten"):
            exported(MemoryArchive(), file)
    assert before
    assert sorted(entry.name for entry in file.parent.iterdir()) == ["a.jsonl.manifest.json"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"nowhere/a\.jsonl cannot be written"):
        exported(MemoryArchive(), tmp_path / "nowhere" / "a.jsonl")


def test_changed_cut_and_missing_files_are_refused(file: Path) -> None:
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (bytes(flipped), whole[:-10], whole + whole[-30:], b""):
        file.write_bytes(content)
        assert "is not what its manifest says" in refusal(file)
    file.write_bytes(whole)
    manifest = manifest_path(file).read_bytes()
    for content in (b"", b"[]", b'{"sha256": 1}', manifest.replace(b'"scenes"', b'"other"')):
        manifest_path(file).write_bytes(content)
        assert "is no manifest of an export" in refusal(file)
    manifest_path(file).write_bytes(manifest.replace(b'"scenepipe_export": 1', b'"scenepipe_export": 2'))
    assert "newer scenepipe (form 2" in refusal(file)
    manifest_path(file).unlink()
    assert "a.jsonl.manifest.json cannot be read" in refusal(file)
    manifest_path(file).write_bytes(manifest)
    file.unlink()
    assert "a.jsonl cannot be read" in refusal(file)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not JSON", "line 1: not a record"),
        ("{}", "one of 'scene' and 'encounter' is expected"),
        ('{"pickle": 1}', "pickle: Extra inputs"),
        ('{"scene": {"text": "x"}}', r"scene.id: Field required"),
        ('{"scene": {"scene_version": 2}}', "scene.scene_version"),
    ],
)
def test_lines_that_are_no_records_are_named(file: Path, line: str, message: str) -> None:
    file.write_text(line + "\n")
    resign(file)
    assert message in refusal(file)


def test_of_a_damaged_archive_the_readable_part_is_exported(tmp_path: Path) -> None:
    scenes = [scene_of(f"текст {n}") for n in range(3)]

    class Damaged(MemoryArchive):
        async def export(self) -> Any:
            async for record in super().export():
                if not isinstance(record, Scene) or record.text != "текст 1":
                    yield record
            raise ArchiveError("1 record(s) cannot be read")

    async def body(archive: Archive) -> Manifest:
        await archive.append(scenes, [Encounter(id="1", scene_id=scenes[0].id, kind="met", at=NOON)])
        return await export_archive(archive, tmp_path / "a.jsonl")

    manifest = use(Damaged(), body)
    assert (manifest.scenes, manifest.encounters, manifest.fault) == (2, 1, "1 record(s) cannot be read")
    done = use(MemoryArchive(), lambda archive: import_archive(archive, tmp_path / "a.jsonl"))
    assert done == Appended(scenes=2, encounters=1)
