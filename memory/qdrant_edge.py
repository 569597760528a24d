"""The archive in a folder, in the engine of Qdrant that runs inside this process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from filelock import FileLock, Timeout
from pydantic import Field

from scenepipe.errors import ArchiveError
from scenepipe.memory.point_archive import PointArchive
from scenepipe.memory.point_engine import Kind, Payload, Point, Search, Space, Where
from scenepipe.memory.points import tags, tags_of

VERSION = 2
ENGINE = "0.9"

_MARK = "archive.json"
_LOCK = ".lock"
_SHARD = "shard"
_HALF = f"{_LOCK}.shard"
_OLD = f"{_LOCK}.old"
_OWED = f"{_LOCK}.forgotten"
_TERMS = "terms"
_TAGS = "tags"
_PAGE = 500
_MOST_COUNTS = 200_000
_MOST_ROWS = 250_000


class QdrantEdgeArchive(PointArchive):
    """Scenes and encounters in a shard of Qdrant Edge, in a folder that one process uses at a time.

    Every write is flushed to disk before it is acknowledged. Appends that wait are written together. The engine is
    young: its version is pinned, and an archive made by another one is refused; export it with the version that made
    it, import it with this one.

    Args:
        path: the folder; ``~`` is expanded, missing folders are made for their owner alone.
        index_every: after so many new scenes, and a tenth of what is there, the vector index is built anew; new ones
            are searched exactly until then. Building it takes about a millisecond a scene, during which later calls
            wait.
    """

    requires: ClassVar[dict[str, str]] = {"qdrant_edge": "qdrant-edge"}

    def __init__(self, *, path: str, index_every: Annotated[int, Field(ge=1)] = 10_000) -> None:
        super().__init__()
        self.path = path
        self.index_every = index_every
        self.name = path

    def _make_engine(self) -> EdgeEngine:
        return EdgeEngine(Path(self.path).expanduser().absolute(), self.index_every)


class EdgeEngine:
    """The shard of a folder; see `scenepipe.memory.point_engine.Engine`.

    Both collections are in one shard, and all that is filtered by is hashed into one payload field: a flush writes
    every file of every shard and index to disk, and took 150 ms with one index and 330 ms with five where one fsync
    took 8 ms.
    """

    shared = False

    def __init__(self, folder: Path, index_every: int) -> None:
        self.outdated = False
        self.folder = folder
        self.name = str(folder)
        self.index_every = index_every
        self._unindexed = 0
        self._counts: dict[str, int] = {}
        self._rows: _Rows | None = None
        self._lock = FileLock(folder / _LOCK, timeout=0)
        self._shard: Any = None
        self._spaces: set[str] = set()

    # --- Opening -----------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Lock the folder and load its shard, or make it.

        Raises:
            ArchiveError: the folder is another program's, in use, of a newer version, or cannot be read.
        """
        with self._named():
            self._take()
            self._identify()
            self._recover()
            self._shard = self._load()
            # How much is indexed, the engine does not say; asked at the first write, it does nothing if nothing is due.
            self._unindexed = self._shard.info().points_count
        self.compact()

    def _take(self) -> None:
        for folder in reversed((self.folder, *self.folder.parents)):
            if not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
        if not self.folder.is_dir():
            raise ArchiveError(f"archive {self.name}: it is a file; give 'path' a folder")
        self._refuse_foreign()
        try:
            self._lock.acquire()
        except Timeout:
            raise ArchiveError(
                f"archive {self.name}: another process has it open; a Qdrant Edge archive serves one process at a "
                "time. Use 'sqlite' or a Qdrant server for several"
            ) from None

    def _refuse_foreign(self) -> None:
        """Before anything is written into a folder that is not an archive's."""
        there = {entry.name for entry in self.folder.iterdir() if not entry.name.startswith(_LOCK)}
        if there and _MARK not in there:
            raise ArchiveError(
                f"archive {self.name}: the folder holds other files ({', '.join(sorted(there)[:5])}); give 'path' an "
                "empty or a new folder"
            )

    def _identify(self) -> None:
        mark = self.folder / _MARK
        if not mark.exists():
            self.mark_current()
        try:
            found = json.loads(mark.read_bytes())
            version, engine = int(found["version"]), str(found["engine"])
        except (ValueError, KeyError, TypeError) as error:
            raise ArchiveError(f"archive {self.name}: {_MARK} is damaged ({error}); restore it from a backup") from None
        if version > VERSION:
            raise ArchiveError(
                f"archive {self.name}: it was written by a newer scenepipe (version {version}, this one knows "
                f"{VERSION}); upgrade scenepipe"
            )
        if engine != ENGINE:
            raise ArchiveError(
                f"archive {self.name}: it was made by Qdrant Edge {engine}, this is for {ENGINE}; export it with "
                f'"qdrant-edge-py=={engine}.*" and import it into a new folder'
            )
        self.outdated = version < VERSION

    def mark_current(self) -> None:
        fresh = self.folder / f"{_LOCK}.new"
        _write_durably(fresh, json.dumps({"scenepipe": "qdrant-edge", "version": VERSION, "engine": ENGINE}))
        os.replace(fresh, self.folder / _MARK)
        self.outdated = False

    def _recover(self) -> None:
        """Of a shard that was being written anew when the process died, keep the one that is whole."""
        old, place = self.folder / _OLD, self.folder / _SHARD
        if old.exists() and not place.exists():
            os.replace(old, place)
        shutil.rmtree(old, ignore_errors=True)

    def _load(self) -> Any:
        import qdrant_edge as edge

        place = self.folder / _SHARD
        if not place.exists():
            self._make(place)
        # A vector of 512 numbers is 2 KB, in which the engine gives the size from which it builds an index.
        optimizers = edge.EdgeOptimizersConfig(indexing_threshold=2 * self.index_every)
        config = edge.EdgeConfig(sparse_vectors={_TERMS: edge.EdgeSparseVectorParams()}, optimizers=optimizers)
        shard = edge.EdgeShard.load(str(place), config)
        self._spaces = set(json.loads((place / "edge_config.json").read_bytes()).get("vectors") or ())
        return shard

    def _make(self, place: Path) -> None:
        """Make the shard beside its place and move it there whole, so that a crash leaves none half made."""
        shard = self._create_half()
        shard.flush()
        shard.close()
        os.replace(self.folder / _HALF, place)
        _sync_folder(self.folder)

    def _create_half(self) -> Any:
        """An empty shard beside the place of the real one."""
        import qdrant_edge as edge

        half = self.folder / _HALF
        if half.exists():
            shutil.rmtree(half)
        half.mkdir(mode=0o700)
        config = edge.EdgeConfig(vectors={}, sparse_vectors={_TERMS: edge.EdgeSparseVectorParams()})
        shard = edge.EdgeShard.create(str(half), config)
        shard.update(edge.UpdateOperation.create_field_index(_TAGS, edge.PayloadSchemaType.Keyword))
        return shard

    def close(self) -> None:
        """Flush and close the shard, then let others open the folder."""
        shard, self._shard = self._shard, None
        try:
            if shard is not None:
                with self._named():
                    shard.flush()
                    shard.close()
        finally:
            self._lock.release()

    # --- Writing -----------------------------------------------------------------------------------------------------

    def insert(self, scenes: Sequence[Point], encounters: Sequence[Point]) -> None:
        """Write what is new, scenes first; flushed when this returns."""
        with self._named():
            for space in {point.vector[0] for point in scenes if point.vector}:
                self._make_space(space)
            self._upsert([_point("scenes", point) for point in scenes])
            self._upsert([_point("encounters", point) for point in encounters])
            self._shard.flush()
        self._unindexed += len(scenes)
        if self._rows is not None:
            self._rows.add(scenes)
        for tag in (tag for point in scenes for tag in tags("scenes", point.payload) if tag in self._counts):
            self._counts[tag] += 1

    def replace(self, kind: Kind, fresh: Sequence[Point]) -> None:
        import qdrant_edge as edge

        with self._named():
            if fresh:
                self._shard.update(edge.UpdateOperation.upsert_points([_point(kind, point) for point in fresh]))
                self._shard.flush()
        self._forget_what_is_kept()

    def remove(self, scenes: Sequence[str], encounters: Sequence[str]) -> None:
        """Remove points; `compact` is owed from now on, also by the process that opens the folder after a crash."""
        import qdrant_edge as edge

        with self._named():
            _write_durably(self.folder / _OWED, "")
            _sync_folder(self.folder)
            self._shard.update(edge.UpdateOperation.delete_points([*scenes, *encounters]))
            self._shard.flush()
        self._forget_what_is_kept()

    def _forget_what_is_kept(self) -> None:
        self._counts.clear()
        self._rows = None

    def compact(self) -> None:
        """Where it is owed, write the shard anew: the engine's files and its log keep what was deleted.

        It takes as long as writing all points again.
        """
        owed = self.folder / _OWED
        if owed.exists():
            with self._named():
                self._copy_to_half()
                self._swap()
                owed.unlink()
                _sync_folder(self.folder)

    def _copy_to_half(self) -> None:
        import qdrant_edge as edge

        half = self._create_half()
        try:
            for name in self._spaces:
                dim = int(name.rpartition("-")[2])
                half.update(edge.UpdateOperation.create_dense_vector(name, dim, edge.Distance.Cosine))
            offset = None
            while True:
                request = edge.ScrollRequest(offset=offset, limit=_PAGE, with_payload=True, with_vector=True)
                found, offset = self._shard.scroll(request)
                copies = [edge.Point(each.id, each.vector, each.payload) for each in found]
                if copies:
                    half.update(edge.UpdateOperation.upsert_points(copies))
                if offset is None:
                    break
            half.flush()
        finally:
            half.close()

    def _swap(self) -> None:
        """Put the new shard in the place of the old one; whatever happens, one of them is there and open."""
        place, old = self.folder / _SHARD, self.folder / _OLD
        self._shard.close()
        try:
            os.replace(place, old)
            os.replace(self.folder / _HALF, place)
            _sync_folder(self.folder)
        finally:
            self._recover()
            self._shard = self._load()
        self._unindexed = self._shard.info().points_count

    def tidy(self) -> None:
        """Build the vector index when enough is new."""
        with self._named():
            if self._unindexed >= max(self.index_every, self._shard.info().points_count // 10):
                self._shard.optimize()
                self._unindexed = 0

    def _upsert(self, fresh: list[Any]) -> None:
        import qdrant_edge as edge

        if fresh:
            self._shard.update(edge.UpdateOperation.upsert_points(fresh, update_mode=edge.UpdateMode.InsertOnly))

    def _make_space(self, space: Space) -> None:
        import qdrant_edge as edge

        if space.name not in self._spaces:
            self._shard.update(edge.UpdateOperation.create_dense_vector(space.name, space.dim, edge.Distance.Cosine))
            self._spaces.add(space.name)

    # --- Reading -----------------------------------------------------------------------------------------------------

    def fetch(self, kind: Kind, ids: Sequence[str], fields: Sequence[str]) -> list[Payload]:
        with self._named():
            found = self._shard.retrieve(list(ids), with_payload=list(fields), with_vector=False)
            return [record.payload for record in found]

    def select(self, kind: Kind, where: Where, fields: Sequence[str]) -> Iterator[Payload]:
        import qdrant_edge as edge

        offset, names = None, list(fields)
        while True:
            with self._named():
                request = edge.ScrollRequest(
                    offset=offset, limit=_PAGE, filter=_filter(kind, where), with_payload=names, with_vector=False
                )
                found, offset = self._shard.scroll(request)
            yield from (record.payload for record in found)
            if offset is None:
                return

    def count(self, wheres: Sequence[Where], kind: Kind = "scenes") -> list[int]:
        """Scenes with one value are counted once; from then on this process, the only writer, keeps count."""
        with self._named():
            return [self._count(where) if kind == "scenes" else self._count_anew(kind, where) for where in wheres]

    def _count(self, where: Where) -> int:
        asked = tags_of("scenes", where)
        if len(asked) > 1 or len(asked[0]) > 1:
            return self._count_anew("scenes", where)
        [[tag]] = asked
        if tag not in self._counts:
            if len(self._counts) > _MOST_COUNTS:
                self._counts.clear()
            self._counts[tag] = self._count_anew("scenes", where)
        return self._counts[tag]

    def _count_anew(self, kind: Kind, where: Where) -> int:
        import qdrant_edge as edge

        return int(self._shard.count(edge.CountRequest(filter=_filter(kind, where), exact=True)))

    def search(self, searches: Sequence[Search], fields: Sequence[str]) -> list[list[tuple[Payload, float]]]:
        """Searches without payloads, then each payload once: reading one costs as much as finding twenty.

        Up to 250,000 scenes, the asked fields of all of them are read at the first search and kept, about a kilobyte each;
        this process is the only writer. At 100,000 scenes that takes a search from 28 to 8 ms, and the first one 5 s.
        """
        with self._named():
            found = [self._search(each) for each in searches]
            payloads = self._payloads({name for each in found for name, _ in each}, tuple(fields))
        return [[(payloads[name], score) for name, score in each if name in payloads] for each in found]

    def _payloads(self, ids: set[str], fields: tuple[str, ...]) -> Mapping[str, Payload]:
        if self._rows is None or self._rows.fields != fields:
            self._rows = self._read_rows(fields) if self._shard.info().points_count <= 2 * _MOST_ROWS else None
        if self._rows is not None and len(self._rows.by_id) <= _MOST_ROWS:
            return self._rows.by_id
        rows = self._shard.retrieve(list(ids), with_payload=list(fields), with_vector=False) if ids else []
        return {str(row.id): row.payload for row in rows}

    def _read_rows(self, fields: tuple[str, ...]) -> _Rows:
        import qdrant_edge as edge

        rows, offset = _Rows(fields), None
        while True:
            request = edge.ScrollRequest(
                offset=offset, limit=_PAGE, filter=_filter("scenes", {}), with_payload=list(fields), with_vector=False
            )
            found, offset = self._shard.scroll(request)
            rows.by_id |= {str(record.id): record.payload for record in found}
            if offset is None:
                return rows

    def _search(self, search: Search) -> list[tuple[str, float]]:
        import qdrant_edge as edge

        if search.vector is not None and search.vector[0].name not in self._spaces:
            return []
        where = self._telling(search)
        request = edge.QueryRequest(
            limit=search.limit,
            query=_query(search),
            filter=_filter("scenes", where) if where else None,
            with_payload=False,
        )
        return [(str(found.id), found.score) for found in self._shard.query(request)]

    def _telling(self, search: Search) -> Where:
        """The conditions without one that all scenes meet: checking it for each point takes most of a search."""
        everything = self._count({})
        return {
            field: values
            for field, values in search.where.items()
            if (search.terms is None and search.vector is None)
            or field != "namespace"
            or self._count({field: values}) < everything
        }

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Turn errors of the engine, which are plain exceptions, and of the file system into `ArchiveError`."""
        try:
            yield
        except BaseException as error:
            # The engine raises Exception itself, and a panic of its own type that is no Exception.
            if type(error) is not Exception and type(error).__name__ != "PanicException" and not _is_system(error):
                raise
            detail = str(error).strip().splitlines()
            raise ArchiveError(
                f"archive {self.name}: the engine failed ({detail[0] if detail else type(error).__name__}); if it does "
                "so again, restore a backup or import an export into a new folder"
            ) from error


class _Rows:
    """Some fields of every scene point, by point id."""

    def __init__(self, fields: tuple[str, ...]) -> None:
        self.fields = fields
        self.by_id: dict[str, Payload] = {}

    def add(self, fresh: Sequence[Point]) -> None:
        for point in fresh:
            self.by_id.setdefault(
                point.id, {name: point.payload[name] for name in self.fields if name in point.payload}
            )


def _is_system(error: BaseException) -> bool:
    return isinstance(error, (OSError, UnicodeEncodeError))


def _point(kind: Kind, point: Point) -> Any:
    import qdrant_edge as edge

    vectors: dict[str, Any] = {}
    if point.terms:
        vectors[_TERMS] = edge.SparseVector(list(point.terms), list(point.terms.values()))
    if point.vector:
        vectors[point.vector[0].name] = point.vector[1]
    return edge.Point(point.id, vectors, {**point.payload, _TAGS: tags(kind, point.payload)})


def _query(search: Search) -> Any:
    import qdrant_edge as edge

    if search.terms is not None:
        weights = edge.SparseVector(list(search.terms), list(search.terms.values()))
        return edge.Query.Nearest(weights, using=_TERMS)
    if search.vector is not None:
        return edge.Query.Nearest(search.vector[1], using=search.vector[0].name)
    return None


def _filter(kind: Kind, where: Where) -> Any:
    import qdrant_edge as edge

    conditions: list[Any] = [
        edge.FieldCondition(key=_TAGS, match=edge.MatchAny(any_of)) for any_of in tags_of(kind, where)
    ]
    return edge.Filter(must=conditions)


def _write_durably(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make a rename in the folder durable, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
